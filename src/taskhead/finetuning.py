"""Finetuning (FT): train backbone and head together."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from taskhead.checks import check_choice, check_samples, check_training_set
from taskhead.data import LabelledImages, Task, forward_batches, shuffled_batches
from taskhead.energy import accuracy

BnMode = Literal["eval", "train"]
BN_MODES = ("eval", "train")


@dataclass(frozen=True)
class Epoch:
    """One epoch's record: mean training loss during it, validation measures after it.

    Losses are cross-entropies in nats, the accuracy lies in [0, 1].
    """

    epoch: int
    train_loss: float
    val_accuracy: float
    val_loss: float


@dataclass(frozen=True)
class FinetuneResult:
    """Trained copies and what they score.

    `backbone` and `head` hold the weights after the last epoch: feature adaptation is measured on
    them. `best_backbone` and `best_head` hold the weights of `best_epoch`, chosen on the
    validation split by accuracy, then by loss; the accuracies and the test loss are theirs.
    """

    backbone: nn.Module
    head: nn.Module
    best_backbone: nn.Module
    best_head: nn.Module
    best_epoch: int
    history: tuple[Epoch, ...]
    val_accuracy: float
    test_accuracy: float
    test_loss: float


def finetune(
    backbone: nn.Module,
    head: nn.Module,
    task: Task,
    *,
    epochs: int,
    backbone_lr: float,
    head_lr: float,
    bn_mode: BnMode = "eval",
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 128,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = 0,
) -> FinetuneResult:
    """Finetune copies of backbone and head on the training split.

    SGD with Nesterov momentum; both rates follow one cosine to zero over all steps.

    Parameters
    ----------
    backbone
        Maps images (N, C, H, W) to features (N, h). It is not changed.
    head
        Maps features (N, h) to logits (N, K). It is not changed.
    task
        The three splits, on the device to train on.
    epochs
        At least 1.
    backbone_lr, head_lr
        Initial rates; 0 keeps that part as it is.
    bn_mode
        "eval" keeps the running statistics of the backbone's BatchNorm layers as pretrained (their
        scale and shift still train), "train" normalises by the batch and updates the statistics.
    momentum, weight_decay, batch_size
        Of the optimiser.
    augment
        Called on every batch of training images, such as `augmentation.CropAndFlip()`.
    seed
        Seed of the batch order, of the augmentation and of dropout; the global random state is not
        changed.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter or the data of a split is out of range.
    FloatingPointError
        If the loss becomes NaN or infinite; the message names epoch and rates.
    """
    check_choice("bn_mode", bn_mode, BN_MODES)
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    for name, rate in (("backbone_lr", backbone_lr), ("head_lr", head_lr)):
        if not 0 <= rate < math.inf:
            raise ValueError(f"{name} must be finite and at least 0, got {rate}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_training_set(task.train.images, task.train.labels, task.n_classes)
    for part in (task.val, task.test):
        check_samples(part.images, part.labels, task.n_classes)

    device = task.train.labels.device
    network = nn.Sequential(copy.deepcopy(backbone), copy.deepcopy(head)).to(device)
    optimiser = torch.optim.SGD(
        [
            {"params": network[0].parameters(), "lr": backbone_lr},
            {"params": network[1].parameters(), "lr": head_lr},
        ],
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=momentum > 0,
        fused=True,
    )
    n_steps = epochs * math.ceil(len(task.train) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    generator = torch.Generator().manual_seed(seed)

    history: list[Epoch] = []
    best_rank, best_epoch, best_state = (-math.inf, -math.inf), 0, {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            _set_train_mode(network, bn_mode)
            total = torch.zeros((), device=device)
            for batch in shuffled_batches(len(task.train), batch_size, generator, device):
                images = task.train.images[batch]
                if augment:
                    images = augment(images, generator)
                loss = cross_entropy(network(images), task.train.labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.detach() * len(batch)
            train_loss = float(total) / len(task.train)
            val_accuracy, val_loss = evaluate(network, task.val)
            if not math.isfinite(train_loss) or not math.isfinite(val_loss):
                raise FloatingPointError(
                    f"finetuning diverged in epoch {epoch} (training loss {train_loss}, validation "
                    f"loss {val_loss}) with backbone_lr={backbone_lr}, head_lr={head_lr}; "
                    f"lower them"
                )
            history.append(Epoch(epoch, train_loss, val_accuracy, val_loss))
            rank = (val_accuracy, -val_loss)
            if rank > best_rank:
                best_rank, best_epoch, best_state = rank, epoch, _copy_state(network)
    best = copy.deepcopy(network).eval()
    best.load_state_dict(best_state)
    test_accuracy, test_loss = evaluate(best, task.test)
    return FinetuneResult(
        backbone=network[0],
        head=network[1],
        best_backbone=best[0],
        best_head=best[1],
        best_epoch=best_epoch,
        history=tuple(history),
        val_accuracy=best_rank[0],
        test_accuracy=test_accuracy,
        test_loss=test_loss,
    )


@torch.no_grad()
def evaluate(network: nn.Module, data: LabelledImages) -> tuple[float, float]:
    """Return accuracy in [0, 1] and mean cross-entropy of a network in eval mode on a split."""
    network.eval()
    logits = torch.cat([network(batch) for batch in forward_batches(data.images)])
    return accuracy(logits, data.labels), float(cross_entropy(logits, data.labels))


def _copy_state(network: nn.Module) -> Mapping[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _set_train_mode(network: nn.Module, bn_mode: BnMode) -> None:
    network.train()
    if bn_mode == "eval":
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
