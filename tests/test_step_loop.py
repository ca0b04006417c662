"""The loop over steps of finetuning never waits for its device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from taskhead.method.augmentation import CropAndFlip
from taskhead.method.batches import LabelledImages
from taskhead.method.finetuning import take_steps
from taskhead.method.optimisers import make_schedule
from taskhead.models.resnets import CifarResNet
from taskhead.models.torchvision import Normalise

META = torch.device("meta")


class RefuseWaiting(TorchDispatchMode):
    """Refuse copies between devices for which the host waits, and operations across devices."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        options = kwargs or {}
        result = func(*args, **options)
        given = {each.device for each in tree_leaves(args) if isinstance(each, Tensor)}
        made = {each.device for each in tree_leaves(result) if isinstance(each, Tensor)}
        crosses = func.namespace == "aten" and given and len(given | made) > 1
        if crosses and not options.get("non_blocking"):
            raise RuntimeError(f"{func} of tensors on {given | made} makes the host wait")
        return result


def take_two_steps(*more: nn.Module) -> Tensor:
    """Take two steps with ResNet-20, and modules after it, on a device without memory.

    Whatever reads a value there is an error of PyTorch: `item`, `float`, a test of a tensor,
    `tolist`, `numpy`, `cpu`, `nonzero` and indexing by a mask. `RefuseWaiting` adds copies to the
    device for which the host waits, and tensors that lie on the wrong one.

    What this cannot catch: waiting that PyTorch does inside an operation on a real device, as for
    the memory of a copy that is not pinned or in a library; the fused optimiser, which does not run
    here; and anything outside the loop over steps: validation and a stop of probing at an energy
    read values once in an epoch and once in a step.
    """
    with META:
        parts = Normalise((0.5,), (0.2,)), CifarResNet(20), *more, nn.Linear(64, 10)
        network = nn.Sequential(*parts)
        images = torch.empty(64, 3, 32, 32, dtype=torch.uint8)
        train = LabelledImages(images, torch.empty(64, dtype=torch.int64))
        batches = torch.arange(64).split(32)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    schedule = make_schedule(optimiser, 2, decay="cosine", warmup=0.5)
    draw = {"augment": CropAndFlip(), "generator": torch.Generator().manual_seed(0)}
    with RefuseWaiting():
        return take_steps(network, train, batches, optimiser, schedule, 0.1, **draw)


def test_step_loop_never_waits_for_its_device():
    assert take_two_steps().device == META


@pytest.mark.parametrize(
    ("wait", "refusal"),
    [
        (lambda z: z * z.detach().mean().item(), "item"),
        (lambda z: z if z.detach().mean() > 0 else -z, "item"),
        (lambda z: z * float(z.detach().max()), "item"),
        (lambda z: z.cpu(), "Cannot copy out of meta tensor"),
        (lambda z: z * z.detach().numpy(), "convert meta device type tensor to numpy"),
        (lambda z: z[(z[:, 0] > 0).nonzero()[:, 0]], "nonzero"),
        (lambda z: z[z[:, 0] > 0], "nonzero"),
        (lambda z: z + torch.ones(64).to(z.device), "makes the host wait"),
        (lambda z: z[torch.arange(32)], "makes the host wait"),
        (lambda z: z * torch.ones(64, device="cpu"), "not on the expected device meta"),
    ],
)
def test_a_step_that_waits_is_refused(wait: Callable[[Tensor], Tensor], refusal: str):
    class Waiting(nn.Module):
        forward = staticmethod(wait)

    with pytest.raises((RuntimeError, TypeError), match=refusal):
        take_two_steps(Waiting())
