"""The kernel of gradients: its products are those of the matrix that is never formed."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from taskhead.method.kernel import linearise, relative_change

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(4, 2, 5, 5, generator=GENERATOR).double()


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()


def kernel(backbone: nn.Module) -> Tensor:
    """Form the kernel, (N h, N h), from the whole Jacobian."""
    parameters = dict(backbone.named_parameters())
    jacobian = jacrev(lambda p: functional_call(backbone, p, (IMAGES,)).flatten())(parameters)
    rows = torch.cat([each.flatten(1) for each in jacobian.values()], dim=1)
    return (rows @ rows.T).detach()


def vectors(count: int) -> Tensor:
    return torch.randn(count, 4, 4, generator=GENERATOR).double()


def test_products_are_those_of_the_kernel():
    u = vectors(3)
    expected = (u.flatten(1) @ kernel(network(0))).view_as(u)
    torch.testing.assert_close(linearise(network(0), IMAGES).kernel(u), expected)


def test_change_is_exact_on_a_basis_and_estimated_on_random_vectors():
    before, after = kernel(network(0)), kernel(network(1))
    exact = float((after - before).norm() / before.norm())
    basis = torch.eye(16).double().view(16, 4, 4)
    for u, tolerance in ((basis, 1e-9), (vectors(2000), 0.05)):
        products = [linearise(network(seed), IMAGES).kernel(u) for seed in (0, 1)]
        assert relative_change(*products) == pytest.approx(exact, rel=tolerance)


def test_only_what_requires_a_gradient_counts():
    frozen = network(0)
    frozen[1].requires_grad_(False)
    frozen[0].weight.requires_grad_(False)
    u, start = vectors(1), linearise(frozen, IMAGES)
    assert start.pull(u[0]).keys() == {"0.bias"}
    bias = linearise(network(0), IMAGES, trainable="bias")
    assert bias.pull(u[0]).keys() == {"0.bias", "1.bias"}
    with pytest.raises(ValueError, match=r"call backbone.requires_grad_\(True\)"):
        linearise(frozen.requires_grad_(False), IMAGES)


def test_dropout_draws_the_same_before_and_after_a_step_and_leaves_the_random_state():
    random = torch.random.get_rng_state()
    start = linearise(network(0), IMAGES, dropout=True, seed=1)
    step = {name: 0 * each for name, each in start.pull(start.z).items()}
    assert torch.equal(start.moved(step), torch.zeros_like(start.z))
    assert not torch.equal(start.z, linearise(network(0), IMAGES, dropout=True, seed=2).z)
    assert torch.equal(torch.random.get_rng_state(), random)
