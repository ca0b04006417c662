"""Finetuning (FT): train backbone and head together."""

import copy
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LRScheduler

from taskhead.method.augmentation import Augment, as_augmentation
from taskhead.method.batches import LabelledImages, as_labelled, shuffled_batches
from taskhead.method.checks import (
    check_choice,
    check_module,
    check_optimiser,
    check_positive,
    check_samples,
    check_seed,
    check_share,
    check_trainable,
    check_training_set,
    check_whole,
)
from taskhead.method.evaluation import evaluate
from taskhead.method.features import BN_MODES, BnMode, has_batchnorm, set_mode
from taskhead.method.heads import check_head, last_layer
from taskhead.method.optimisers import (
    DECAYS,
    OPTIMISERS,
    Decay,
    OptimiserName,
    make_groups,
    make_optimiser,
    make_schedule,
)
from taskhead.method.seeds import seeded, stream
from taskhead.method.trainable import parse_trainable, release, restrict

Watch = Callable[[int, nn.Sequential], object]


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
    """Trained networks, which map images to logits and have parts `backbone` and `head`.

    `last` holds the weights after the last epoch: feature adaptation is measured on them. `best`
    holds those of `best_epoch`, chosen on the validation split by accuracy, then by loss;
    `val_accuracy` is its accuracy, in [0, 1].
    """

    last: nn.Sequential
    best: nn.Sequential
    best_epoch: int
    history: tuple[Epoch, ...]
    val_accuracy: float


@torch.enable_grad()
def finetune(
    backbone: nn.Module,
    head: nn.Module,
    train: Any,
    val: Any,
    *,
    epochs: int,
    lr: float,
    head_lr: float | None = None,
    early_lr: float | None = None,
    label_smoothing: float = 0.0,
    bn_mode: BnMode = "eval",
    dropout: bool = False,
    optimiser: OptimiserName = "sgd",
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    warmup: float = 0.0,
    decay: Decay = "cosine",
    batch_size: int = 128,
    trainable: str = "all",
    augment: str | Augment | None = None,
    seed: int = 0,
    after_epoch: Watch | None = None,
) -> FinetuneResult:
    """Finetune copies of backbone and head on the training split.

    By default SGD with Nesterov momentum, whose rates follow one cosine to zero over all steps.

    Parameters
    ----------
    backbone
        Maps a batch of images to features (N, h). It is not changed.
    head
        Maps features (N, h) to logits (N, K). It is not changed.
    train, val
        `LabelledImages`, a pair of tensors (images, labels), a map-style `Dataset` or a
        `DataLoader`. `train` lies on the device to train on.
    epochs
        At least 1.
    lr, head_lr, early_lr
        Initial rates of the backbone, of the head, and of the first half of the backbone's
        parameters in their order; at least 0, and the backbone's where None. A rate of 0 keeps the
        parameters of that part as they are; with `bn_mode` "train" the running statistics of a
        backbone move all the same.
    label_smoothing
        Share of every label that is spread over all classes, in [0, 1).
    bn_mode
        "eval" keeps the running statistics of all BatchNorm layers as they come (their scale and
        shift still train), "train" normalises by the batch and updates the statistics. A last
        batch of a single image is then merged with the one before it.
    dropout
        Whether dropout and stochastic depth act in training; off, as the energy is then that of the
        first step but for the draw of views.
    optimiser
        "sgd" with Nesterov momentum, or "adamw", which takes no momentum.
    momentum, weight_decay, batch_size
        Of the optimiser.
    warmup, decay
        The share of all steps, in [0, 1), over which the rates rise, and whether they then fall to
        zero as a "cosine" or "linear".
    trainable
        What is trained of the backbone: "all", "bias", its last K blocks ("last-K"), or adapters of
        rank R ("lora-R"), which are merged into its weights in the end; see `restrict`.
    augment
        Called on every batch of training images: the name "crop-flip", or a callable such as
        `augmentation.CropAndFlip()`; None trains on the images as they are.
    seed
        Seed of the batch order, the augmentation and dropout; the global random state is not
        changed.
    after_epoch
        Called with the number of each epoch, and with 0 before the first, and with the network as
        it stands then, in eval mode. It must not change the network.

    Raises
    ------
    ValueError, TypeError
        If a hyper-parameter, the data of a split or the backbone's output is out of range, or a
        parameter is frozen or not finite.
    FloatingPointError
        If the loss becomes NaN or infinite; the message names epoch and rates.
    """
    check_choice("bn_mode", bn_mode, BN_MODES)
    check_choice("optimiser", optimiser, OPTIMISERS)
    check_choice("decay", decay, DECAYS)
    check_share("warmup", warmup)
    parse_trainable(trainable)
    check_whole("epochs", epochs, least=1)
    check_optimiser(momentum, weight_decay, batch_size)
    check_seed(seed)
    check_share("label_smoothing", label_smoothing)
    head_lr = lr if head_lr is None else head_lr
    early_lr = lr if early_lr is None else early_lr
    check_positive("the early rate of the backbone", early_lr, zero=True)
    for name, rate, part in (("backbone", lr, backbone), ("head", head_lr, head)):
        check_module(name, part)
        check_positive(f"the rate of the {name}", rate, zero=True)
        check_trainable(name, part, frozen=rate == 0)
    if bn_mode == "train" and batch_size < 2 and has_batchnorm(backbone):
        raise ValueError("batch_size must be at least 2 in bn_mode 'train', got 1")
    train, val = as_labelled(train), as_labelled(val)
    device, n_classes = train.labels.device, last_layer(head).out_features
    val = val.to(device)
    check_training_set(train.images, train.labels, n_classes)
    check_samples(val.images, val.labels, n_classes)

    adapted = restrict(copy.deepcopy(backbone), trainable, seed=stream(seed, "adapters"))
    network = nn.Sequential(OrderedDict(backbone=adapted, head=copy.deepcopy(head))).to(device)
    check_head(network[1], network[0], train.images[:2])
    groups = make_groups(network, lr=lr, head_lr=head_lr, early_lr=early_lr)
    stepping = make_optimiser(optimiser, groups, momentum=momentum, weight_decay=weight_decay)
    merge = bn_mode == "train"
    order = torch.Generator().manual_seed(stream(seed, "finetuning"))
    n_steps = epochs * max(1, math.ceil((len(train) - merge) / batch_size))
    schedule = make_schedule(stepping, n_steps, decay=decay, warmup=warmup)

    draw = {"augment": as_augmentation(augment), "generator": order}
    history: list[Epoch] = []
    best_rank, best_epoch, best_state = (-math.inf, -math.inf), 0, {}
    watch = after_epoch or (lambda epoch, network: None)
    watch(0, network.eval())
    with seeded(stream(seed, "dropout")):
        for epoch in range(1, epochs + 1):
            set_mode(network, bn_mode, dropout=dropout)
            batches = shuffled_batches(len(train), batch_size, order, device, merge_single=merge)
            total = take_steps(network, train, batches, stepping, schedule, label_smoothing, **draw)
            train_loss = float(total) / len(train)
            val_accuracy, val_loss = evaluate(network, val)
            if not math.isfinite(train_loss) or not math.isfinite(val_loss):
                raise FloatingPointError(
                    f"finetuning diverged in epoch {epoch} (training loss {train_loss}, validation "
                    f"loss {val_loss}) with rates {lr:g} (backbone) and {head_lr:g} (head); "
                    "lower them"
                )
            history.append(Epoch(epoch, train_loss, val_accuracy, val_loss))
            if (rank := (val_accuracy, -val_loss)) > best_rank:
                best_rank, best_epoch = rank, epoch
                best_state = {name: each.clone() for name, each in network.state_dict().items()}
            watch(epoch, network.eval())
    best = copy.deepcopy(network).eval()
    best.load_state_dict(best_state)
    if trainable != "all":
        for each in (network, best):
            each.backbone = release(each[0])
    return FinetuneResult(network.eval(), best, best_epoch, tuple(history), best_rank[0])


def take_steps(
    network: nn.Module,
    train: LabelledImages,
    batches: Iterable[Tensor],
    optimiser: torch.optim.Optimizer,
    schedule: LRScheduler,
    label_smoothing: float,
    augment: Augment | None,
    generator: torch.Generator,
) -> Tensor:
    """Take a step on each batch of indices, and return the sum of the losses of all their images.

    No step waits for the device: what the next one needs is never read from it.
    """
    total = torch.zeros((), device=train.labels.device)
    for batch in batches:
        images = train.images[batch]
        logits = network(augment(images, generator) if augment else images)
        loss = cross_entropy(logits, train.labels[batch], label_smoothing=label_smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.detach() * len(batch)
    return total
