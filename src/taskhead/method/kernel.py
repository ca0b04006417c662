"""The kernel of a backbone's gradients, as products with vectors: it is never formed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from taskhead.method.features import BnMode, set_mode
from taskhead.method.seeds import seeded, stream
from taskhead.method.trainable import restrict

Step = dict[str, Tensor]  # a change of the parameters, by name


@dataclass(frozen=True)
class Linearised:
    """The features z (N, h) of N images to first order in a backbone's parameters.

    With the Jacobian J of z, `pull(u)` is J^T u for vectors u (N, h), `push(step)` is J step, and
    `moved(step)` is what the step does to z in truth, both (N, h).
    """

    z: Tensor
    pull: Callable[[Tensor], Step]
    push: Callable[[Step], Tensor]
    moved: Callable[[Step], Tensor]

    def kernel(self, vectors: Tensor) -> Tensor:
        """Return the products K u of the kernel K = J J^T with vectors (P, N, h)."""
        return torch.stack([self.push(self.pull(each)) for each in vectors])


def linearise(
    backbone: nn.Module,
    images: Tensor,
    *,
    bn_mode: BnMode = "eval",
    dropout: bool = False,
    trainable: str = "all",
    seed: int = 0,
) -> Linearised:
    """Linearise the features of images (N, ...) in the parameters that require a gradient.

    `bn_mode`, `dropout` and `trainable` are those of `finetune`; `seed` is that of dropout, whose
    draw stays the same, and of adapters. The backbone is not changed. Attention is computed without
    fused kernels, which cannot be differentiated twice.

    Raises `ValueError` if no parameter requires a gradient.
    """
    network = restrict(copy.deepcopy(backbone), trainable, seed=stream(seed, "adapters"))
    set_mode(network, bn_mode, dropout=dropout)
    trained = [name for name, each in network.named_parameters() if each.requires_grad]
    if not trained:
        raise ValueError(
            "no parameter of the backbone requires a gradient, so its features cannot move; call "
            "backbone.requires_grad_(True)"
        )
    state = {name: each.detach() for name, each in network.named_parameters()}
    parameters = [state[name].requires_grad_() for name in trained]

    def features(given: Step) -> Tensor:
        buffers = {name: each.clone() for name, each in network.named_buffers()}
        with seeded(seed), sdpa_kernel(SDPBackend.MATH):
            return functional_call(network, state | given | buffers, (images,))

    def moved(step: Step) -> Tensor:
        with torch.no_grad():
            return features({name: state[name] + step[name] for name in trained}) - z

    def pull(vectors: Tensor, **options: Any) -> Step:
        found = grad(z, parameters, vectors, retain_graph=True, materialize_grads=True, **options)
        return dict(zip(trained, found, strict=True))

    def push(step: Step) -> Tensor:
        # <J step, u> = <step, J^T u> for all u, so J step is the gradient of the latter by u.
        products = [(pulled[name] * step[name]).sum() for name in trained]
        return grad(torch.stack(products).sum(), u, retain_graph=True)[0]

    with torch.enable_grad():
        z = features({})
        u = torch.zeros_like(z, requires_grad=True)
        pulled = pull(u, create_graph=True)
    return Linearised(z.detach(), pull, torch.enable_grad()(push), moved)


def relative_change(before: Tensor, after: Tensor) -> float:
    """Return ||K' - K|| / ||K|| (Frobenius) of two kernels from their products with vectors.

    For random vectors u of mean zero and unit covariance, E ||K u||^2 is the squared norm of K, so
    products (P, N, h) with P such vectors estimate the ratio.
    """
    return float((after - before).norm() / before.norm())
