"""The recipe of finetuning: optimisers, schedules, and which parameters are trained."""

import copy
import math

import pytest
import torch
from torch import nn

from taskhead.method.features import extract_features
from taskhead.method.finetuning import FinetuneResult, finetune
from taskhead.method.heads import make_head
from taskhead.method.optimisers import make_optimiser, make_schedule
from taskhead.method.trainable import release, restrict
from taskhead.models.pretraining import cifar_resnet18, small_convnet
from taskhead.tasks.datasets import load_digits
from taskhead.tasks.task import Draw, Task, split


@pytest.fixture(scope="module")
def task() -> Task:
    digits = load_digits(range(3))
    return split(digits, Draw(0, 8, train_per_class=8, val_per_class=10), n_classes=3)


def tune(task: Task, **recipe) -> tuple[nn.Module, FinetuneResult]:
    backbone, head = small_convnet(seed=1), make_head(64, 3, seed=1)
    recipe = {"epochs": 3, "lr": 0.01, "batch_size": 8, "weight_decay": 0.0, **recipe}
    return backbone, finetune(backbone, head, task.train, task.val, **recipe)


def changed(backbone: nn.Module, result: FinetuneResult) -> set[str]:
    after = dict(result.last.backbone.named_parameters())
    return {
        name for name, each in backbone.named_parameters() if not torch.equal(each, after[name])
    }


def test_first_step_of_adamw_moves_every_parameter_by_the_rate(task: Task):
    """With zero moments the step is lr * sign(gradient) wherever the gradient is not tiny."""
    whole = {"epochs": 1, "batch_size": 24, "lr": 1e-3}
    backbone, result = tune(task, optimiser="adamw", **whole)
    moved = torch.cat(
        [
            (after - before).detach().abs().flatten()
            for before, after in zip(
                backbone.parameters(), result.last.backbone.parameters(), strict=True
            )
        ]
    )
    assert moved.max() == pytest.approx(1e-3, rel=1e-3)
    assert (moved > 0.9e-3).float().mean() > 0.5


@pytest.mark.parametrize("decay", ["cosine", "linear"])
@pytest.mark.parametrize("warmup", [0.0, 0.25])
def test_rates_rise_to_the_rate_and_fall_to_zero(decay: str, warmup: float):
    steps, weight = 40, nn.Parameter(torch.zeros(1))
    optimiser = make_optimiser("sgd", [{"params": [weight], "lr": 0.5}], momentum=0, weight_decay=0)
    schedule = make_schedule(optimiser, steps, decay=decay, warmup=warmup)
    rates = []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    rising = round(warmup * steps)
    assert rates[:rising] == pytest.approx([0.5 * (i + 1) / (rising + 1) for i in range(rising)])
    share = [i / (steps - rising) for i in range(steps - rising)]
    falling = {"linear": lambda s: 1 - s, "cosine": lambda s: (1 + math.cos(math.pi * s)) / 2}
    assert rates[rising:] == pytest.approx([0.5 * falling[decay](s) for s in share], abs=1e-9)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)


def test_adapters_move_weights_within_their_rank_alone(task: Task):
    backbone, result = tune(task, trainable="lora-2", lr=0.2)
    after = dict(result.last.backbone.named_parameters())
    assert set(after) == {name for name, _ in backbone.named_parameters()}
    moved = changed(backbone, result)
    assert moved
    for name, before in backbone.named_parameters():
        change = (after[name] - before).detach().flatten(1) if before.ndim > 1 else None
        if change is None:
            assert name not in moved
        else:
            values = torch.linalg.svdvals(change)
            assert (values[2:] < 1e-3 * values[0]).all()
    z = extract_features(result.last.backbone, task.val.images)
    assert not torch.allclose(z, extract_features(backbone, task.val.images))


def test_biases_alone_are_trained(task: Task):
    backbone, result = tune(task, trainable="bias")
    assert changed(backbone, result) == {
        name for name, _ in backbone.named_parameters() if name.endswith("bias")
    }
    assert all(each.requires_grad for each in result.best.parameters())


def test_dropout_acts_in_training_alone_and_is_seeded(task: Task):
    backbone = nn.Sequential(small_convnet(seed=1), nn.Dropout(0.5))
    recipe = {"epochs": 2, "lr": 0.01, "batch_size": 8}
    state = torch.random.get_rng_state()
    first, again, other, off = (
        finetune(backbone, make_head(64, 3), task.train, task.val, **recipe, **how).last
        for how in (
            {"dropout": True},
            {"dropout": True},
            {"dropout": True, "seed": 1},
            {"dropout": False},
        )
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    z, same, *others = (
        extract_features(each[0], task.val.images) for each in (first, again, other, off)
    )
    assert torch.equal(z, same)
    assert not any(torch.equal(z, each) for each in others)


def test_last_block_alone_is_trained():
    backbone = cifar_resnet18(width=4, seed=0)
    restricted = restrict(copy.deepcopy(backbone), "last-1")
    trained = {name for name, each in restricted.named_parameters() if each.requires_grad}
    assert trained
    assert all(".layer4.1." in f".{name}" for name in trained)
    assert all(each.requires_grad for each in release(restricted).parameters())


@pytest.mark.parametrize("trainable", ["lora-3", "bias", "all", "last-1"])
def test_what_was_restricted_is_released_as_it_was(trainable: str):
    backbone = cifar_resnet18(width=4, seed=0)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    before = torch.random.get_rng_state()
    same = release(restrict(copy.deepcopy(backbone), trainable, seed=1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [name for name, _ in same.named_parameters()] == [
        n for n, _ in backbone.named_parameters()
    ]
    torch.testing.assert_close(extract_features(same, images), extract_features(backbone, images))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"trainable": "lora"}, "lora-R"),
        ({"trainable": "last-0"}, "'last-0'"),
        ({"trainable": "half"}, "'half'"),
        ({"trainable": "last-1"}, "layer1"),
        ({"optimiser": "adam"}, "'adam'; valid: sgd, adamw"),
        ({"decay": "step"}, "'step'; valid: cosine, linear"),
        ({"warmup": 1.0}, "warmup"),
    ],
)
def test_what_does_not_fit_is_named(task: Task, recipe: dict, message: str):
    with pytest.raises(ValueError, match=message):
        tune(task, **recipe)


def test_missing_peft_is_named_with_the_line_that_installs_it(task: Task, monkeypatch):
    monkeypatch.setattr("taskhead.method.checks.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"peft; pip install 'taskhead\[lora\]'"):
        tune(task, trainable="lora-2")


def test_early_rate_moves_the_first_half_of_the_parameters_alone(task: Task):
    """AdamW's first step is the rate, whatever the gradient; see above."""
    recipe = {"epochs": 1, "batch_size": 24, "optimiser": "adamw", "lr": 1e-3}
    backbone, result = tune(task, early_lr=1e-4, **recipe)
    pairs = list(zip(backbone.parameters(), result.last.backbone.parameters(), strict=True))
    steps = [float((after - before).detach().abs().max()) for before, after in pairs]
    half = len(steps) // 2
    assert steps[:half] == pytest.approx([1e-4] * half, rel=1e-2)
    assert steps[half:] == pytest.approx([1e-3] * (len(steps) - half), rel=1e-2)


def test_smoothed_labels_of_one_class_each_are_fitted_to_their_floor(task: Task):
    """With smoothing the loss that is minimal is the entropy of the smoothed labels."""
    eps, classes = 0.3, 3
    backbone, result = tune(task, epochs=150, lr=0.05, label_smoothing=eps)
    assert backbone is not result.last.backbone
    target = [1 - eps + eps / classes, *[eps / classes] * (classes - 1)]
    floor = -sum(p * math.log(p) for p in target)
    assert result.history[-1].train_loss == pytest.approx(floor, rel=0.05)
