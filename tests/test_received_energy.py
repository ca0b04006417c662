"""The energy that finetuning receives, and that on the images as they are."""

import math

import pytest
import torch
from torch import nn

from taskhead.method.batches import LabelledImages
from taskhead.method.energy import average_initial_energy
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import make_head
from taskhead.method.preparation import prepare_heads


@pytest.fixture(scope="module")
def sided() -> LabelledImages:
    """Return images whose class is the brighter side, which flips turn into the other class."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    shade = torch.linspace(-1, 1, 8) * (2 * labels - 1)[:, None, None, None]
    return LabelledImages(shade + 0.3 * torch.randn(40, 3, 8, 8, generator=generator), labels)


@pytest.mark.parametrize("dropout", [False, True])
def test_energy_is_that_of_the_first_step_of_finetuning(dropout: bool, sided: LabelledImages):
    class Spy(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            logits = super().forward(features)
            if logits.requires_grad:
                logits.register_hook(gradients.append)
                seen.append(logits.detach())
            return logits

    gradients: list[torch.Tensor] = []
    seen: list[torch.Tensor] = []
    orders: list[torch.Tensor] = []

    def noisy(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        orders.append(torch.cdist(images.flatten(1), sided.images.flatten(1)).argmin(dim=1))
        return images + 2 * torch.randn(images.shape, generator=generator)

    backbone = nn.Sequential(nn.Flatten(), *make_head(192, 6), nn.Dropout(0.9))
    options = {"augment": noisy, "batch_size": 40, "dropout": dropout}
    (mild,) = prepare_heads(backbone, sided, [HeadPreparation(400)], lr=1.0, **options)
    head = Spy(6, 2)
    head.load_state_dict(mild.head[0].state_dict())
    orders.clear()
    for seed in range(20):
        finetune(backbone, head, sided, sided, epochs=1, lr=1e-3, momentum=0, seed=seed, **options)
    energies = 40 * torch.stack(gradients).norm(dim=2).mean(dim=1)
    of_its_views = [
        average_initial_energy(logits, sided.labels[order])
        for logits, order in zip(seen, orders, strict=True)
    ]
    assert len(of_its_views) == 20
    assert energies.tolist() == pytest.approx(of_its_views, rel=1e-5)
    error = float(energies.std()) / math.sqrt(20) + float(energies.std()) / math.sqrt(10)
    assert mild.aie == pytest.approx(float(energies.mean()), abs=3 * error)
    assert abs(mild.aie_clean - float(energies.mean())) > 3 * error


def test_energies_of_finetuning_and_of_the_images_as_they_are_part(sided: LabelledImages):
    options = {"lr": 0.1, "batch_size": 8}
    (plain,) = prepare_heads(nn.Flatten(), sided, [HeadPreparation(20)], **options)
    (seen,) = prepare_heads(
        nn.Flatten(), sided, [HeadPreparation(20)], augment="crop-flip", **options
    )
    assert plain.aie == plain.aie_clean < 0.1
    assert seen.aie > 0.5
