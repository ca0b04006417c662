"""Task heads q = g(z; v): linear or MLP, with a seeded and scalable initialisation."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
from torch import Generator, Tensor, nn

from taskhead.method.checks import (
    as_features,
    check_choice,
    check_positive,
    check_seed,
    check_whole,
)
from taskhead.method.features import eval_mode, forward

Init = Literal["uniform", "normal"]
INITS = get_args(Init)
_STD = 0.02  # of transformers' classifiers


def make_head(
    n_features: int,
    n_classes: int,
    *,
    hidden: Sequence[int] = (),
    init: Init = "uniform",
    init_scale: float = 1.0,
    seed: int = 0,
) -> nn.Sequential:
    """Return a task head that maps features (N, n_features) to logits (N, n_classes).

    Parameters
    ----------
    n_features, n_classes
        Sizes h and K, at least 1 and 2.
    hidden
        Units of each hidden layer, as (512, 512): an MLP with ReLU. Empty for a linear head.
    init
        "uniform" within 1 / sqrt(fan-in), as PyTorch's linear layers start; or "normal" with a
        standard deviation of 0.02 and no bias, as the classifiers of Hugging Face's transformers.
    init_scale
        Factor on the initial weights and biases of the last layer, at least 0. With 0 all classes
        start with probability 1 / K.
    seed
        Seed of the initialisation; the global random state is neither read nor changed.

    Raises
    ------
    ValueError
        If a size or the scale is out of range.
    """
    if n_features < 1 or n_classes < 2:
        raise ValueError(
            f"a head needs n_features >= 1 and n_classes >= 2, got {n_features} and {n_classes}"
        )
    for units in hidden:
        check_whole("hidden", units, least=1)
    check_choice("init", init, INITS)
    check_positive("init_scale", init_scale, zero=True)
    check_seed(seed)
    sizes = [n_features, *hidden, n_classes]
    layers: list[nn.Module] = []
    generator = torch.Generator().manual_seed(seed)
    for fan_in, fan_out in pairwise(sizes):
        layers += [_linear(fan_in, fan_out, init, generator), nn.ReLU()]
    head = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in head[-1].parameters():
            parameter *= init_scale
    return head


@torch.no_grad()
def rescale_inputs(head: nn.Module, factor: float) -> nn.Module:
    """Return a copy of a head that maps features z to what the head makes of factor * z."""
    head = copy.deepcopy(head)
    first = next(module for module in head.modules() if isinstance(module, nn.Linear))
    first.weight *= factor
    return head


@torch.no_grad()
def check_head(head: nn.Module, backbone: nn.Module, images: Tensor) -> None:
    """Raise in one line unless a backbone takes images and a head what it returns, as it is.

    Both stay as they are.
    """
    with eval_mode(backbone), eval_mode(head):
        features = forward(backbone, images)
        as_features(features)
        try:
            head(features)
        except RuntimeError as error:
            raise ValueError(
                f"the head does not take features of shape {tuple(features.shape)} and "
                f"{features.dtype}: {' '.join(str(error).split())[:300]}; give a backbone that "
                f"returns features (N, h) in the precision of the head"
            ) from None


def last_layer(head: nn.Module) -> nn.Linear:
    """Return the linear layer that gives the logits.

    Raises `TypeError` if the head has no linear layer.
    """
    linears = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise TypeError(f"the head has no linear layer: {head}")
    return linears[-1]


@torch.no_grad()
def last_layer_norm(head: nn.Module) -> float:
    """Return the Frobenius norm of the last layer's weight V (bias left out)."""
    return float(last_layer(head).weight.norm())


def _linear(fan_in: int, fan_out: int, init: Init, generator: Generator) -> nn.Linear:
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, fan_in, fan_out))
    if init == "normal":
        nn.init.normal_(layer.weight, std=_STD, generator=generator)
        nn.init.zeros_(layer.bias)
        return layer
    bound = fan_in**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer
