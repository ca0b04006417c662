"""Features z = f(x; B): extract them, tell backbones apart, re-initialise their last blocks."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from taskhead.method.batches import forward_batches
from taskhead.method.checks import as_features
from taskhead.method.seeds import seeded

BnMode = Literal["eval", "train"]
BN_MODES = get_args(BnMode)
_CONTRACT = (
    "a backbone maps a batch of images, as a rule float32 (N, C, H, W), to a tensor of features "
    "(N, h)"
)


@torch.no_grad()
def extract_features(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return features (N, h) of images (N, ...) in eval mode, without gradients.

    The training mode of every module is restored afterwards.

    Raises `ValueError` or `TypeError` if the backbone does not take these images, or does not
    return features (N, h).
    """
    with eval_mode(backbone):
        return torch.cat([as_features(forward(backbone, b)) for b in forward_batches(images)])


def forward(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return what a backbone makes of a batch; what goes wrong ends in one line that says how."""
    try:
        features = backbone(images)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"the backbone does not take images of shape {tuple(images.shape)} and {images.dtype}: "
            f"{' '.join(str(error).split())[:300]}; {_CONTRACT}"
        ) from None
    if not isinstance(features, Tensor):
        raise TypeError(f"the backbone returned {type(features).__name__}; {_CONTRACT}")
    return features


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode within this context; each part's own mode is restored."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def set_mode(network: nn.Module, bn_mode: str, *, dropout: bool = False) -> None:
    """Put a network into finetuning's mode, with or without dropout and stochastic depth.

    BatchNorm layers use their running statistics in `bn_mode` "eval", and normalise by the batch
    and move them in "train".
    """
    network.train(dropout)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train(bn_mode == "train")


def has_batchnorm(module: nn.Module) -> bool:
    """Say whether a module holds a BatchNorm layer."""
    return any(isinstance(part, _BatchNorm) for part in module.modules())


def fingerprint(backbone: nn.Module) -> str:
    """Return 12 hex digits of the SHA-256 of a backbone's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in backbone.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def last_blocks(backbone: nn.Module, blocks: int) -> list[nn.Module]:
    """Return the last blocks, at least 1, of the last stage of a backbone.

    Its stages are `layer1`, `layer2`, ..., each a sequence of blocks; it may be wrapped.

    Raises `ValueError` if the backbone has no such stages, or the last has fewer blocks.
    """
    stages = {
        int(found[1]): module
        for name, module in backbone.named_modules()
        if (found := re.fullmatch(r"(?:.*\.)?layer(\d+)", name))
        and isinstance(module, nn.Sequential)
    }
    if not stages:
        raise ValueError("the backbone has no stages named layer1, layer2, ..., so no last blocks")
    last = list(stages[max(stages)])
    if not 1 <= blocks <= len(last):
        raise ValueError(f"blocks must be 1 .. {len(last)}, got {blocks}")
    return last[-blocks:]


def reinitialise_last_blocks(backbone: nn.Module, blocks: int, *, seed: int = 0) -> None:
    """Draw new parameters for the last blocks of the last stage, in place.

    The architecture stays as it is. Every module inside the blocks is reset by its own
    `reset_parameters`, BatchNorm statistics included. `seed` is that of the draw; the global random
    state is not changed. The other parameters and the errors are those of `last_blocks`.
    """
    with seeded(seed):
        for block in last_blocks(backbone, blocks):
            for module in block.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
