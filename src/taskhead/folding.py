"""Fold BatchNorm in eval mode into the convolution before it: the same function in fewer passes."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


@contextmanager
def folded_batchnorm(network: nn.Module, images: Tensor) -> Iterator[None]:
    r"""Within this context, run each convolution with the BatchNorm after it as one convolution.

    In eval mode BatchNorm is affine, so with its scale and shift :math:`\gamma, \beta` and running
    statistics :math:`\mu, \sigma^2`

    .. math:: \gamma \frac{w * x - \mu}{\sigma} + \beta
        = \frac{\gamma w}{\sigma} * x + \Big(\beta - \frac{\gamma \mu}{\sigma}\Big).

    The parameters stay those of the two layers and receive the same gradients, up to rounding. The
    pairs are found by running the network; if it then gives another output, because a convolution
    also feeds another layer, nothing is folded.

    Parameters
    ----------
    network
        A network in eval mode. Its BatchNorm layers must stay in eval mode within the context.
    images
        A small batch to run it on.
    """
    plain, pairs = _find_pairs(network, images)
    _fold(pairs)
    try:
        if not _close(_output(network, images), plain):
            _unfold(pairs)
            pairs = []
        yield
    finally:
        _unfold(pairs)


def _find_pairs(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Pair]]:
    """Run the network and return its output and the pairs of layers whose tensor is one object."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensors are kept, so that ids differ
    pairs: list[Pair] = []

    def after_convolution(layer: nn.Conv2d, _: tuple, output: Tensor) -> None:
        outputs[id(output)] = layer, output

    def before_norm(layer: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], layer))

    hooks = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            hooks.append(layer.register_forward_hook(after_convolution))
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine and layer.track_running_stats:
            hooks.append(layer.register_forward_pre_hook(before_norm))
    try:
        plain = _output(network, images)
    finally:
        for hook in hooks:
            hook.remove()
    uses = Counter(layer for pair in pairs for layer in pair)
    return plain, [pair for pair in pairs if uses[pair[0]] == uses[pair[1]] == 1]


@torch.no_grad()
def _output(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)


def _close(output: Tensor, plain: Tensor) -> bool:
    return bool((output - plain).abs().max() < 1e-3 * plain.abs().max())


def _fold(pairs: list[Pair]) -> None:
    for convolution, norm in pairs:
        convolution.forward = partial(_folded, convolution, norm)
        norm.forward = _identity


def _unfold(pairs: list[Pair]) -> None:
    for pair in pairs:
        for layer in pair:
            del layer.forward


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d, input: Tensor) -> Tensor:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    offset = -mean if convolution.bias is None else convolution.bias - mean
    weight = convolution.weight * scale[:, None, None, None]
    return convolution._conv_forward(input, weight, norm.bias + offset * scale)


def _identity(input: Tensor) -> Tensor:
    return input
