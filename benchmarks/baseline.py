"""The fair baseline: the energy sweep as a user would write it, in plain PyTorch.

Images go through torchvision's transforms and a DataLoader in every epoch of probing and of
finetuning, every tau is probed from scratch through the frozen backbone, and a second frozen copy
gives z_0. Optimiser, rates, splits, batch order of probing and BatchNorm policy are the library's.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset
from torchvision import transforms

from taskhead.method.adaptation import Adaptation, measure
from taskhead.method.batches import LabelledImages
from taskhead.method.seeds import stream
from taskhead.tasks.task import Task

EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Variant:
    """B0 is fp32 as written; B1 is tuned: channels_last and, on a GPU, bf16 autocast."""

    name: str
    tuned: bool

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.tuned else torch.contiguous_format


B0, B1 = Variant("B0", tuned=False), Variant("B1", tuned=True)


@dataclass(frozen=True)
class Recipe:
    """What both sides share: rates, batch size, normalisation, augmentation, loader processes."""

    hp_lr: float
    ft_lr: float
    normalise: transforms.Normalize | None
    workers: int
    batch_size: int = 128
    weight_decay: float = 5e-4
    augment: bool = True


class Images(Dataset):
    """As torchvision's CIFAR10: an array in memory, a PIL image and transforms for each access."""

    def __init__(self, data: LabelledImages, transform: transforms.Compose) -> None:
        self.array = data.images.permute(0, 2, 3, 1).squeeze(-1).contiguous().cpu().numpy()
        self.labels, self.transform = data.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.array[index])), self.labels[index]


class Shuffled(Sampler[int]):
    """The library's batch order: RandomSampler would draw a second permutation every epoch."""

    def __init__(self, length: int) -> None:
        self.length, self.generator = length, torch.Generator()

    def restart(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.length, generator=self.generator).tolist())


class Baseline:
    """One task and one pretrained network under a recipe and a variant, on one device."""

    def __init__(
        self,
        task: Task,
        backbone: nn.Module,
        recipe: Recipe,
        variant: Variant,
        device: torch.device,
    ) -> None:
        self.recipe, self.variant, self.device = recipe, variant, device
        frozen = copy.deepcopy(backbone).to(device).to(memory_format=variant.memory_format)
        self.frozen = frozen.eval()
        self.order = Shuffled(len(task.train))
        self.train, self.augmented = (
            self.loader(task.train, augment=augment, order=self.order)
            for augment in (False, recipe.augment)
        )
        self.val, self.test = (self.loader(part) for part in (task.val, task.test))

    def loader(
        self, data: LabelledImages, *, augment: bool = False, order: Shuffled | None = None
    ) -> DataLoader:
        if data.images.is_floating_point():  # small arrays that need no transform
            images: Dataset = TensorDataset(data.images.cpu(), data.labels.cpu())
        else:
            size, steps = data.images.shape[-1], []
            if augment:
                steps += [transforms.RandomCrop(size, padding=size // 8)]
                steps += [transforms.RandomHorizontalFlip()]
            steps += [transforms.ToTensor()]
            steps += [self.recipe.normalise] if self.recipe.normalise else []
            images = Images(data, transforms.Compose(steps))
        return DataLoader(
            images,
            batch_size=self.recipe.batch_size if order else EVALUATION_BATCH,
            sampler=order,
            num_workers=self.recipe.workers,
            persistent_workers=self.recipe.workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def put(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.variant.memory_format
        images = images.to(self.device, memory_format=memory, non_blocking=True)
        return images, labels.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        on = self.variant.tuned and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=on)

    def optimiser(self, module: nn.Module, lr: float, weight_decay: float) -> torch.optim.SGD:
        return torch.optim.SGD(
            module.parameters(), lr, momentum=0.9, weight_decay=weight_decay, nesterov=True
        )

    def probe(self, head: nn.Module, tau: int, *, augment: bool = False) -> nn.Module:
        """Probe a copy of the head for tau epochs from scratch."""
        batches = self.augmented if augment else self.train
        head = copy.deepcopy(head).to(self.device)
        optimiser = self.optimiser(head, self.recipe.hp_lr, 0)
        self.order.restart(0)
        for _ in range(tau):
            for images, labels in (self.put(*batch) for batch in batches):
                with self.autocast():
                    with torch.no_grad():
                        features = self.frozen(images)
                    loss = cross_entropy(head(features), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return head

    def finetune(self, head: nn.Module, epochs: int) -> tuple[Adaptation, float]:
        """Finetune copies; return the movement of validation features, and test accuracy."""
        network = nn.Sequential(copy.deepcopy(self.frozen), copy.deepcopy(head)).to(self.device)
        optimiser = self.optimiser(network, self.recipe.ft_lr, self.recipe.weight_decay)
        n_steps = epochs * len(self.augmented)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        self.order.restart(stream(0, "finetuning"))
        best_rank, best = (-1.0, 0.0), network
        for _ in range(epochs):
            network.train()
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
            for images, labels in (self.put(*batch) for batch in self.augmented):
                with self.autocast():
                    loss = cross_entropy(network(images), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            accuracy, loss = self.evaluate(network, self.val)
            if (accuracy, -loss) > best_rank:
                best_rank, best = (accuracy, -loss), copy.deepcopy(network)
        z0, zT = (self.outputs(part.eval(), self.val)[0] for part in (self.frozen, network[0]))
        return measure(z0, zT), self.evaluate(best, self.test)[0]

    @torch.no_grad()
    def outputs(self, network: nn.Module, batches: DataLoader) -> tuple[Tensor, Tensor]:
        outputs, targets = [], []
        for images, labels in (self.put(*batch) for batch in batches):
            with self.autocast():
                outputs.append(network(images).float())
            targets.append(labels)
        return torch.cat(outputs), torch.cat(targets)

    def evaluate(self, network: nn.Module, batches: DataLoader) -> tuple[float, float]:
        logits, labels = self.outputs(network.eval(), batches)
        accuracy = (logits.argmax(dim=1) == labels).double().mean()
        return float(accuracy), float(cross_entropy(logits, labels))
