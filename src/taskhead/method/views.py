"""Views: the training images as finetuning sees them, augmented and in its mode, as features."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskhead.method.augmentation import Augment
from taskhead.method.batches import blocks, forward_batches, shuffled_batches
from taskhead.method.checks import as_features
from taskhead.method.features import forward, has_batchnorm, set_mode
from taskhead.method.seeds import seeded


@torch.no_grad()
def extract_views(
    backbone: nn.Module,
    images: Tensor,
    augment: Augment | None,
    *,
    count: int,
    bn_mode: str = "eval",
    dropout: bool = False,
    batch_size: int = 128,
    seed: int = 0,
) -> Tensor:
    """Return features (V, N, h) of V views of each of N images, as finetuning sees them.

    There are `count` views, or one where nothing differs between views: without augmentation and
    `dropout`, and with running BatchNorm statistics. In `bn_mode` "train" each view is normalised
    by the statistics of the batches of `batch_size` images that it is cut into, each view in an
    order of its own; the running statistics of the backbone stay as they are. All V N h features
    are kept in memory on the device of the images.

    Raises `ValueError` or `TypeError` if the backbone does not take these images, or does not
    return features (N, h).
    """
    by_batch = bn_mode == "train" and has_batchnorm(backbone)
    network, generator = copy.deepcopy(backbone), torch.Generator().manual_seed(seed)
    set_mode(network, bn_mode, dropout=dropout)

    def features(parts: Sequence[Tensor]) -> Tensor:
        seen = [augment(part, generator) if augment else part for part in parts]
        return as_features(forward(network, torch.cat(seen) if len(seen) > 1 else seen[0]))

    def view() -> Tensor:
        if not by_batch:  # drawn block by block, the augmentation is the same on every device
            return torch.cat([features(blocks(batch)) for batch in forward_batches(images)])
        order = shuffled_batches(
            len(images), batch_size, generator, images.device, merge_single=True
        )
        shuffled = torch.cat([features([images[batch]]) for batch in order])
        return shuffled[torch.cat(order).argsort()]

    with seeded(seed):
        first = view()
        views = first.new_empty(count if augment or by_batch or dropout else 1, *first.shape)
        views[0] = first
        for each in views[1:]:
            each.copy_(view())
    return views
