"""Task heads q = g(z; v): linear or MLP, with a seeded and scalable initialisation."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from taskhead.method.checks import check_positive


def make_head(
    n_features: int,
    n_classes: int,
    *,
    hidden: Sequence[int] = (),
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
    init_scale
        Factor on the initial weights and biases of the last layer, at least 0. PyTorch's default,
        uniform within 1 / sqrt(fan-in), is 1. With 0 all classes start with probability 1 / K.
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
    if any(units < 1 for units in hidden):
        raise ValueError(f"hidden layers need at least 1 unit each, got {tuple(hidden)}")
    check_positive("init_scale", init_scale, zero=True)
    sizes = [n_features, *hidden, n_classes]
    layers: list[nn.Module] = []
    generator = torch.Generator().manual_seed(seed)
    for fan_in, fan_out in pairwise(sizes):
        layers += [_linear(fan_in, fan_out, generator), nn.ReLU()]
    head = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in head[-1].parameters():
            parameter *= init_scale
    return head


class StackedHeads(nn.Module):
    """H heads of one shape side by side: features (H, N, h) to logits (H, N, K).

    Every layer of all heads is one batched matrix product. The heads share nothing, so the gradient
    of a sum over heads is each head's own.
    """

    def __init__(self, heads: Sequence[nn.Module]) -> None:
        """Take copies of the heads' parameters.

        Raises `ValueError` if there is no head, or they are not linear layers of the same sizes
        with ReLU between.
        """
        super().__init__()
        shapes = {_shape(head) for head in heads}
        if len(shapes) != 1 or None in shapes:
            raise ValueError(
                "heads to be stacked must be alike: linear layers of the same sizes with ReLU "
                f"between, as make_head returns them; got {', '.join(map(str, shapes)) or 'none'}"
            )
        self._heads = copy.deepcopy(list(heads))
        layers = [list(head)[::2] for head in self._heads]  # pyright: ignore[reportArgumentType]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for alike in zip(*layers, strict=True):
            weights = torch.stack([layer.weight.detach().T for layer in alike]).contiguous()
            biases = torch.stack([layer.bias.detach() for layer in alike]).unsqueeze(1)
            self.weights.append(nn.Parameter(weights))
            self.biases.append(nn.Parameter(biases))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (H, N, K) of features (H, N, h)."""
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            features = torch.baddbmm(bias, features.relu() if depth else features, weight)
        return features

    @torch.no_grad()
    def unstack(self) -> list[nn.Module]:
        """Return the H heads as they stand, as modules of their own on the same device."""
        heads = [copy.deepcopy(head).to(self.biases[0]) for head in self._heads]
        for depth, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            for head, weight, bias in zip(heads, weights, biases, strict=True):
                layer = head[2 * depth]  # pyright: ignore[reportIndexIssue]
                layer.weight.copy_(weight.T)
                layer.bias.copy_(bias[0])
        return heads


def _shape(head: nn.Module) -> tuple[tuple[int, int], ...] | None:
    """Return the sizes of the head's linear layers; None unless it is built like `make_head`'s."""
    layers = list(head) if isinstance(head, nn.Sequential) else []
    sizes = [
        (layer.in_features, layer.out_features)
        for layer in layers[::2]
        if isinstance(layer, nn.Linear) and layer.bias is not None
    ]
    between = all(isinstance(layer, nn.ReLU) for layer in layers[1::2])
    alike = between and len(layers) % 2 == 1 and len(sizes) == len(layers[::2])
    return tuple(sizes) if alike else None


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


def _linear(fan_in: int, fan_out: int, generator: Generator) -> nn.Module:
    layer = nn.utils.skip_init(nn.Linear, fan_in, fan_out)
    bound = fan_in**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer
