"""Prepare task heads for finetuning: the library behind the reproducible companion.

Ren, Guo, Bae and Sutherland, "How to prepare your task head for finetuning", ICLR 2023.

Your pretrained backbone, and images (N, C, H, W) with labels (N,); here noise whose brightness is
the class:

>>> import torch
>>> from torch import nn
>>> from taskhead import HeadPreparation, LabelledImages, extract_features
>>> from taskhead import finetune, measure, prepare_heads
>>> _ = torch.manual_seed(0)
>>> labels = torch.arange(400) % 4
>>> images = torch.rand(400, 3, 16, 16) * (labels + 1)[:, None, None, None] / 4
>>> backbone = nn.Sequential(
...     nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
... )
>>> train = LabelledImages(images[:300], labels[:300])
>>> val = LabelledImages(images[300:], labels[300:])

Probe the head down to an energy, or for long, and finetune from there on images of the same kind:

>>> preparations = [HeadPreparation(energy=0.7), HeadPreparation(tau=64)]
>>> seen = {"augment": "crop-flip", "seed": 0}
>>> mild, long = prepare_heads(backbone, train, preparations, val=val, **seen)
>>> round(mild.aie, 3), mild.aie > long.aie
(0.7, True)
>>> result = finetune(mild.backbone, mild.head, train, val, epochs=5, lr=0.01, **seen)
>>> z0, zT = (extract_features(b, val.images) for b in (backbone, result.last.backbone))
>>> measure(z0, zT).euclidean > 0
True
>>> result.val_accuracy, result.best, result.history  # doctest: +ELLIPSIS
(...)
"""

import lazy_loader

__version__ = "0.1.0"
# Public names stand in __init__.pyi; each is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
