"""Finetuning: the paper's one-step equation, frozen statistics, separate rates, honest splits."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from taskhead.method.batches import LabelledImages
from taskhead.method.evaluation import evaluate
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.heads import make_head
from taskhead.method.seeds import stream
from taskhead.models.pretraining import small_convnet
from taskhead.tasks.datasets import load_digits
from taskhead.tasks.task import Draw, Task, split

RATES = {"epochs": 4, "lr": 0.02, "head_lr": 0.05, "batch_size": 8}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def task() -> Task:
    digits = load_digits(range(3))
    return split(digits, Draw(0, 8, train_per_class=8, val_per_class=10), n_classes=3)


@pytest.fixture
def network() -> tuple[nn.Module, nn.Module]:
    return small_convnet(seed=1), make_head(64, 3, seed=1)


def same(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def state(module: nn.Module, *, statistics: bool) -> list[torch.Tensor]:
    named = module.state_dict().items()
    return [value for name, value in named if name.endswith(STATISTICS) == statistics]


def test_first_step_moves_features_by_kernel_times_direction_times_energy():
    """z_1 - z_0 = (eta / N) sum_m K(x_n, x_m) V^T (e_m - p_m), with K = <x_n, x_m> I if z = B x."""
    images = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double()
    data = LabelledImages(images, torch.arange(6) % 3)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, 5, bias=False)).double()
    head = make_head(5, 3).double()
    x, z0 = images.flatten(1), extract_features(backbone, images)
    with torch.no_grad():
        energy = one_hot(data.labels, 3) - head(z0).softmax(dim=1)
        expected = 0.1 / 6 * (x @ x.T) @ energy @ head[0].weight
    step = {"momentum": 0, "weight_decay": 0, "batch_size": 6}
    tuned = finetune(backbone, head, data, data, epochs=1, lr=0.1, **step)
    torch.testing.assert_close(extract_features(tuned.last.backbone, images) - z0, expected)


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_training_equals_a_plain_loop(task: Task, network, bn_mode):
    tuned = finetune(*network, task.train, task.val, **RATES, bn_mode=bn_mode, seed=3)
    backbone, head = copy.deepcopy(network[0]), copy.deepcopy(network[1])
    groups = [{"params": backbone.parameters()}, {"params": head.parameters(), "lr": 0.05}]
    optimiser = torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True, weight_decay=5e-4)
    generator = torch.Generator().manual_seed(stream(3, "finetuning"))
    step, n_steps = 0, 4 * 3
    for _ in range(4):
        order = torch.randperm(24, generator=generator)
        for start in range(0, 24, 8):
            for group, rate in zip(optimiser.param_groups, (0.02, 0.05), strict=True):
                group["lr"] = rate * (1 + math.cos(math.pi * step / n_steps)) / 2
            rows = order[start : start + 8]
            backbone.train(bn_mode == "train")
            optimiser.zero_grad()
            logits = head(backbone(task.train.images[rows]))
            cross_entropy(logits, task.train.labels[rows]).backward()
            optimiser.step()
            step += 1
    for ours, theirs in ((tuned.last.backbone, backbone), (tuned.last.head, head)):
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-6)


def test_given_networks_data_and_random_state_stay_as_they_are(task: Task, network):
    before, images = copy.deepcopy(network), task.train.images.clone()
    random = torch.random.get_rng_state()
    finetune(*network, task.train, task.val, **RATES, bn_mode="train")
    assert same(network[0], before[0])
    assert same(network[1], before[1])
    assert torch.equal(task.train.images, images)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_bn_mode_eval_keeps_running_statistics_and_train_updates_them(task: Task, network):
    start = state(network[0], statistics=True)
    kept = finetune(*network, task.train, task.val, **RATES, bn_mode="eval")
    moved = finetune(*network, task.train, task.val, **RATES, bn_mode="train")
    for backbone in (kept.last.backbone, kept.best.backbone):
        assert all(map(torch.equal, state(backbone, statistics=True), start))
    assert not any(map(torch.equal, state(moved.last.backbone, statistics=True), start))


@pytest.mark.parametrize("frozen", [0, 1])
def test_rate_zero_keeps_that_part_and_trains_the_other(task: Task, network, frozen: int):
    rates = RATES | {("lr", "head_lr")[frozen]: 0}
    tuned = finetune(*network, task.train, task.val, **rates)
    after = (tuned.last.backbone, tuned.last.head)
    assert same(after[frozen], network[frozen])
    assert not same(after[1 - frozen], network[1 - frozen])


@pytest.mark.parametrize("dropout", [False, True])
def test_a_run_may_be_watched_and_is_the_same(task: Task, network, dropout: bool):
    backbone = nn.Sequential(network[0], nn.Dropout(0.2))
    seen: list[tuple[int, nn.Sequential]] = []

    def watch(epoch: int, standing: nn.Sequential) -> None:
        assert not standing.training
        seen.append((epoch, copy.deepcopy(standing)))

    options = {**RATES, "dropout": dropout}
    plain = finetune(backbone, network[1], task.train, task.val, **options)
    tuned = finetune(backbone, network[1], task.train, task.val, **options, after_epoch=watch)
    assert same(tuned.last, plain.last)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3, 4]
    assert same(seen[0][1][0], backbone)
    assert same(seen[-1][1], tuned.last)
    losses = [evaluate(standing, task.val)[1] for _, standing in seen[1:]]
    assert losses == [epoch.val_loss for epoch in tuned.history]


def test_best_epoch_is_the_best_of_the_history(task: Task, network):
    # Wrong validation labels make an early epoch the best.
    task = replace(task, val=replace(task.val, labels=task.val.labels.roll(10)))
    tuned = finetune(*network, task.train, task.val, **RATES | {"epochs": 8})
    assert tuned.best_epoch < 8
    assert [epoch.epoch for epoch in tuned.history] == list(range(1, 9))
    best = max(tuned.history, key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    assert tuned.best_epoch == best.epoch
    assert tuned.val_accuracy == best.val_accuracy
    assert evaluate(tuned.best, task.val) == (best.val_accuracy, best.val_loss)
    assert evaluate(tuned.last, task.val)[1] == tuned.history[-1].val_loss


def test_equal_accuracy_is_decided_by_loss(task: Task, network):
    # On a single class accuracy soon stays at its best, and the loss decides.
    easy = replace(task, val=task.val[task.val.labels == 0])
    tuned = finetune(*network, easy.train, easy.val, **RATES | {"epochs": 8})
    top = max(epoch.val_accuracy for epoch in tuned.history)
    tied = [epoch for epoch in tuned.history if epoch.val_accuracy == top]
    assert len(tied) > 1
    assert tuned.best_epoch == min(tied, key=lambda epoch: epoch.val_loss).epoch


def test_validation_split_chooses_but_does_not_train(task: Task, network):
    other = replace(task, val=replace(task.val, labels=task.val.labels.roll(1)))
    tuned, blind = (
        finetune(*network, task.train, task.val, **RATES),
        finetune(*network, other.train, other.val, **RATES),
    )
    assert same(blind.last.backbone, tuned.last.backbone)
    assert blind.history != tuned.history


def test_seed_decides_the_run(task: Task, network):
    first, again, other = (
        finetune(*network, task.train, task.val, **RATES, seed=seed) for seed in (7, 7, 8)
    )
    assert first.history == again.history
    assert same(first.last.backbone, again.last.backbone)
    assert not same(first.last.backbone, other.last.backbone)


def test_augmentation_sees_every_training_image_once_an_epoch_and_no_other(task: Task, network):
    seen = []

    def record(images: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        seen.append(images)
        return images

    plain, augmented = (
        finetune(*network, task.train, task.val, **RATES, augment=f) for f in (None, record)
    )
    assert same(plain.last.backbone, augmented.last.backbone)
    first_epoch = torch.cat(seen[: len(seen) // RATES["epochs"]])
    sort = lambda images: sorted(image.flatten().tolist() for image in images)  # noqa: E731
    assert sort(first_epoch) == sort(task.train.images)


def test_augmentation_changes_the_training(task: Task, network):
    plain, blank = (
        finetune(*network, task.train, task.val, **RATES, augment=f)
        for f in (None, lambda images, _: torch.zeros_like(images))
    )
    assert not same(plain.last.backbone, blank.last.backbone)


def test_networks_come_back_in_eval_mode(task: Task, network):
    tuned = finetune(*network, task.train, task.val, **RATES, bn_mode="train")
    for part in (tuned.last.backbone, tuned.last.head, tuned.best.backbone, tuned.best.head):
        assert not any(module.training for module in part.modules())


def test_divergence_is_an_error_that_names_epoch_and_rates(task: Task, network):
    with pytest.raises(FloatingPointError, match=r"in epoch 1 .*1e\+20"):
        finetune(*network, task.train, task.val, **RATES | {"lr": 1e20})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bn_mode": "frozen"}, "'frozen'; valid: eval, train"),
        ({"augment": "flip"}, "'flip'; valid: crop-flip"),
        ({"epochs": 0}, "epochs"),
        ({"lr": -1}, "backbone.*-1"),
        ({"head_lr": math.inf}, "head.*inf"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_rates_out_of_range_are_refused(task: Task, network, change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        finetune(*network, task.train, task.val, **RATES | change)


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: replace(d, images=d.images * math.nan), "NaN"),
        (lambda d: replace(d, labels=d.labels + 1), r"0 \.\. 2"),
        (lambda d: d[torch.zeros(0, dtype=torch.int64)], "empty"),
    ],
)
def test_bad_data_in_any_split_is_refused_before_training(
    task: Task, network, monkeypatch: pytest.MonkeyPatch, part: str, damage, message: str
):
    monkeypatch.setattr(torch.optim, "SGD", lambda *_, **__: pytest.fail("training began"))
    damaged = replace(task, **{part: damage(getattr(task, part))})
    with pytest.raises(ValueError, match=message):
        finetune(*network, damaged.train, damaged.val, **RATES)


def test_single_class_is_refused(task: Task, network):
    single = replace(task, train=task.train[task.train.labels == 1])
    with pytest.raises(ValueError, match="8 labels are 1"):
        finetune(*network, single.train, single.val, **RATES)


@pytest.mark.parametrize("part", [0, 1])
def test_frozen_parameters_are_refused_by_name(task: Task, network, part: int):
    network[part].requires_grad_(False)
    name, _ = next(network[part].named_parameters())
    with pytest.raises(ValueError, match=rf"{('backbone', 'head')[part]}.* {name};"):
        finetune(*network, task.train, task.val, **RATES)


def test_frozen_backbone_may_stay_at_rate_zero(task: Task, network):
    network[0].requires_grad_(False)
    tuned = finetune(*network, task.train, task.val, **RATES | {"lr": 0})
    assert same(tuned.last.backbone, network[0])


def test_head_that_is_not_finite_is_refused(task: Task, network):
    with torch.no_grad():
        network[1][0].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"head hold NaN.* 0\.weight"):
        finetune(*network, task.train, task.val, **RATES)


def test_last_batch_of_one_is_merged_in_train_mode(task: Task, network):
    seen = []

    def record(images: torch.Tensor, _: torch.Generator) -> torch.Tensor:
        seen.append(len(images))
        return images

    train = task.train[torch.arange(17)]
    options = RATES | {"epochs": 1, "augment": record}
    finetune(*network, train, task.val, **options, bn_mode="train")
    finetune(*network, train, task.val, **options, bn_mode="eval")
    assert seen == [8, 9, 8, 8, 1]


def test_pairs_and_datasets_are_taken_for_labelled_images(task: Task, network):
    pairs = [(part.images.numpy(), part.labels.int().numpy()) for part in (task.train, task.val)]
    sets = [torch.utils.data.TensorDataset(*map(torch.as_tensor, pair)) for pair in pairs]
    plain = finetune(*network, task.train, task.val, **RATES)
    for given in (pairs, sets):
        assert finetune(*network, *given, **RATES).history == plain.history


class Doubled(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.double()


def test_head_with_batchnorm_is_not_changed_by_looking_at_it(task: Task, network):
    head = nn.Sequential(nn.BatchNorm1d(64), nn.Linear(64, 3)).train()
    trained = finetune(network[0], head, task.train, task.val, **RATES | {"lr": 0, "head_lr": 0})
    assert same(trained.last.head, head)
    assert head.training


@pytest.mark.parametrize(
    "backbone",
    [
        nn.Conv2d(5, 4, 3),
        nn.Sequential(nn.Flatten(), nn.Linear(63, 64)),
        nn.Conv2d(1, 64, 3),
        nn.Conv2d(1, 64, 8),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 64), Doubled()),
    ],
    ids=["other channels", "other size", "not pooled", "not flattened", "another precision"],
)
def test_backbone_that_does_not_fit_ends_in_one_line(task: Task, network, backbone: nn.Module):
    with pytest.raises(ValueError, match=r"\(N, h\)") as caught:
        finetune(backbone, network[1], task.train, task.val, **RATES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": True}, "epochs.* True"),
        ({"epochs": 1.5}, "epochs.* 1.5"),
        ({"momentum": math.nan}, "momentum.* nan"),
        ({"seed": 2**40}, "seed"),
        ({"head": make_head(9, 5)}, "head does not take"),
        ({"head": nn.Identity}, "head.* type"),
        ({"bn_mode": "train", "batch_size": 1}, "batch_size.* 2"),
    ],
)
def test_argument_out_of_range_ends_in_one_line(task: Task, network, change: dict, named: str):
    given = dict(zip(("backbone", "head"), network, strict=True)) | {"epochs": 1, "lr": 0.1}
    with pytest.raises((ValueError, TypeError), match=named) as caught:
        finetune(train=task.train, val=task.val, **given | change)
    assert "\n" not in str(caught.value)
