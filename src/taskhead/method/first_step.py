"""The first step of finetuning, alone: one step of full-batch gradient descent."""

import copy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.method.augmentation import Augment
from taskhead.method.batches import LabelledImages, shuffled_batches
from taskhead.method.features import set_mode
from taskhead.method.seeds import seeded, stream
from taskhead.method.trainable import release, restrict


def first_step(
    backbone: nn.Module,
    head: nn.Module,
    train: LabelledImages,
    *,
    lr: float,
    label_smoothing: float = 0.0,
    augment: Augment | None = None,
    bn_mode: str = "eval",
    dropout: bool = False,
    batch_size: int = 128,
    trainable: str = "all",
    seed: int = 0,
) -> nn.Module:
    """Return a copy of the backbone after one step of gradient descent on all training images.

    The loss is the mean cross-entropy over one view of each image. `batch_size` bounds the memory,
    and is that of BatchNorm in `bn_mode` "train"; the other parameters are those of
    `finetune`. Backbone and head are not changed.
    """
    backbone = restrict(copy.deepcopy(backbone), trainable, seed=stream(seed, "adapters"))
    head = copy.deepcopy(head)
    for part in (backbone, head):
        set_mode(part, bn_mode, dropout=dropout)
    generator = torch.Generator().manual_seed(seed)
    device, merge = train.labels.device, bn_mode == "train"
    batches = shuffled_batches(len(train), batch_size, generator, device, merge_single=merge)
    with seeded(seed):
        for batch in batches:
            images = train.images[batch]
            logits = head(backbone(augment(images, generator) if augment else images))
            total = cross_entropy(
                logits, train.labels[batch], reduction="sum", label_smoothing=label_smoothing
            )
            (total / len(train)).backward()
    torch.optim.SGD([each for each in backbone.parameters() if each.requires_grad], lr).step()
    return release(backbone)
