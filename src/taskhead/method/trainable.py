"""Which parameters of a backbone finetuning trains: all, the last blocks, biases, or adapters."""

import re

from torch import nn

from taskhead.method.checks import find_package
from taskhead.method.features import last_blocks
from taskhead.method.seeds import seeded

TRAINABLE = ("all", "bias", "last-K", "lora-R")


def restrict(backbone: nn.Module, trainable: str, *, seed: int = 0) -> nn.Module:
    """Return the backbone, changed in place, such that only some of its parameters are trained.

    `trainable` is "all"; "bias" for all biases, which are the shifts of BatchNorm, too (Ben Zaken
    et al. 2022); "last-K" for its last K blocks; or "lora-R" for low-rank adapters of rank R beside
    every linear and convolutional layer (Hu et al. 2022), at first zero, with the package peft.
    `seed` is that of the adapters; the global random state is not changed.

    Raises `ValueError` if `trainable` is none of these, the backbone does not have what it names,
    or peft is missing.
    """
    kind, number = parse_trainable(trainable)
    if kind == "lora":
        return _with_adapters(backbone, number, seed)
    if kind == "all":
        return backbone
    if kind == "bias":
        chosen = [each for name, each in backbone.named_parameters() if name.endswith("bias")]
        if not chosen:
            raise ValueError("the backbone has no biases to train; choose another trainable")
    else:
        chosen = [each for block in last_blocks(backbone, number) for each in block.parameters()]
    backbone.requires_grad_(False)
    for each in chosen:
        each.requires_grad_(True)
    return backbone


def release(backbone: nn.Module) -> nn.Module:
    """Return a restricted backbone as it was, all trainable, adapters added to its weights."""
    if hasattr(backbone, "merge_and_unload"):
        backbone = backbone.merge_and_unload()  # pyright: ignore[reportCallIssue]
    return backbone.requires_grad_(True)


def parse_trainable(trainable: str) -> tuple[str, int]:
    """Return what is trained, and its number, 0 where there is none.

    Raises `ValueError` if it is not one of `TRAINABLE`, with numbers of 1 or more.
    """
    found = re.fullmatch(r"(all|bias)|(?:(last|lora)-([1-9]\d*))", str(trainable))
    if not found:
        raise ValueError(
            f"unknown trainable {trainable!r}; valid: {', '.join(TRAINABLE)} with a number K of "
            "blocks or R of ranks, as last-1 or lora-8"
        )
    return found[1] or found[2], int(found[3] or 0)


def _with_adapters(backbone: nn.Module, rank: int, seed: int) -> nn.Module:
    find_package(f"trainable 'lora-{rank}'", "peft", extra="lora")
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    adapted = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not adapted:
        raise ValueError("the backbone has no linear or convolutional layers to adapt")
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=adapted)
    with seeded(seed):
        return LoraModel(backbone, config, "default")
