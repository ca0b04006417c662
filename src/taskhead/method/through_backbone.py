"""Probing with the backbone in the loop: where its statistics drift, or its last blocks train."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.method.augmentation import Augment
from taskhead.method.batches import LabelledImages, shuffled_batches
from taskhead.method.checks import (
    as_taus,
    check_choice,
    check_optimiser,
    check_positive,
    check_share,
)
from taskhead.method.features import BN_MODES, has_batchnorm, last_blocks, set_mode
from taskhead.method.probing import Probed, sgd


def probe_through_backbone(
    backbone: nn.Module,
    head: nn.Module,
    data: LabelledImages,
    *,
    taus: Sequence[int],
    lr: float,
    augment: Augment | None = None,
    eps: float = 0.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    bn_mode: str = "eval",
    trained_blocks: int = 0,
    seed: int = 0,
) -> Iterator[tuple[nn.Module, Probed]]:
    """Probe a head with the backbone in the loop; yield copies of both at every tau.

    The head is trained as by `probe_head`. In `bn_mode` "train", which is what the authors' code
    does, each batch is normalised by its own statistics and moves the running ones; in "eval" the
    backbone stays as it is. The last `trained_blocks` blocks of the backbone, drawn anew before,
    are trained together with the head, their BatchNorm in train mode, as its statistics start from
    nothing.
    """
    taus = as_taus(taus)
    check_choice("bn_mode", bn_mode, BN_MODES)
    check_share("eps", eps)
    check_positive("lr", lr)
    check_optimiser(momentum, weight_decay, batch_size)
    backbone, head = copy.deepcopy(backbone).requires_grad_(False), copy.deepcopy(head)
    set_mode(backbone, bn_mode)
    blocks = last_blocks(backbone, trained_blocks) if trained_blocks else []
    for block in blocks:
        set_mode(block.requires_grad_(True), "train")
    optimiser = sgd(nn.ModuleList([*blocks, head]), lr, momentum, weight_decay)
    generator, merge = torch.Generator().manual_seed(seed), has_batchnorm(backbone)
    steps = 0
    for epoch in range(taus[-1] + 1):
        if epoch in taus:
            standing = copy.deepcopy(backbone).requires_grad_(True).eval()
            yield standing, Probed(copy.deepcopy(head).eval(), epoch, steps, lr)
        if epoch == taus[-1]:
            return
        for batch in shuffled_batches(
            len(data), batch_size, generator, data.labels.device, merge_single=merge
        ):
            images = data.images[batch]
            logits = head(backbone(augment(images, generator) if augment else images))
            loss = cross_entropy(logits, data.labels[batch], label_smoothing=eps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            steps += 1
