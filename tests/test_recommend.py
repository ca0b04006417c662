"""Recommendations: from any data, within the budget, and never twice the same finetuning."""

import json
from collections import OrderedDict
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from taskhead import HeadPreparation, LabelledImages, finetune, prepare_heads, recommend
from taskhead.practice import recommend as module
from taskhead.practice import search
from taskhead.practice.ledger import Ledger
from taskhead.practice.splits import Splits

MILD, NONE = HeadPreparation(energy=0.5), HeadPreparation(tau=0)


def blobs(per_class: int = 12, classes: int = 3) -> LabelledImages:
    """Return points around a centre for each class."""
    labels = torch.arange(per_class * classes) % classes
    noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(0))
    return LabelledImages(3 * nn.functional.one_hot(labels, 8) + noise, labels)


@pytest.fixture
def backbone() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU())


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", (1, 2))
    monkeypatch.setattr(module, "SPLITS", 3)
    monkeypatch.setattr(module, "END", 20)
    monkeypatch.setattr(module, "_END", HeadPreparation(tau=20))


def test_recommendation_goes_into_the_library_as_it_is(backbone: nn.Module, short: None):
    train = blobs()
    advice = recommend(backbone, train, minutes=5)
    (prepared,) = prepare_heads(backbone, train, [advice.preparation])
    result = finetune(prepared.backbone, prepared.head, train, train, **advice.finetuning)
    assert len(result.history) == advice.finetuning["epochs"] == 2
    assert "no probing" in advice.compared.index
    assert advice.compared.shape[1] == 2  # the first of three splits chose what is compared
    assert set(advice.evidence["lr"]) >= set(module.RATES)
    assert advice.reason


def test_what_is_asked_for_is_compared_too(short: None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blocks = nn.Sequential(nn.Sequential(nn.Linear(16, 16), nn.ReLU()))
        backbone = nn.Sequential(OrderedDict(stem=nn.Linear(8, 16), layer1=blocks))
    also = [
        HeadPreparation(energy=0.4, hidden=(16,)),
        HeadPreparation(tau=5, reinitialised_blocks=1),
        HeadPreparation(energy=1.3, init_scale=0.0),
    ]
    said: list[str] = []
    advice = recommend(backbone, blobs(), minutes=5, also=also, say=said.append)
    fields = ["hidden", "reinitialised_blocks", "init_scale"]
    tried = set(advice.evidence[fields].itertuples(index=False, name=None))
    assert tried == {("", 0, 1.0), ("", 0, 0.1), ("16", 0, 1.0), ("", 1, 1.0)}
    assert any(
        line.startswith("probing down to energy 1.30, initial scale 0 is left out: energy 1.3 is")
        for line in said
    )
    assert any("5 epochs of probing, last block drawn anew, rate" in line for line in said)


def test_what_is_no_preparation_is_refused(backbone: nn.Module):
    with pytest.raises(TypeError, match=r"also must be a list of HeadPreparation, got \[400\]"):
        recommend(backbone, blobs(), also=[400])  # pyright: ignore[reportArgumentType]


def test_search_continues_from_its_ledger(
    backbone: nn.Module, short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ledger, count, real = tmp_path / "runs.jsonl", 0, search.finetune

    def interrupted(*args, **options):
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(search, "finetune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recommend(backbone, blobs(), minutes=5, ledger=ledger)
    kept = ledger.read_text().splitlines()
    assert len(kept) == 4
    ledger.write_text("\n".join(kept) + '\n{"tau": 0, "spl')  # as if killed while writing
    said: list[str] = []
    first = recommend(backbone, blobs(), minutes=5, ledger=ledger, say=said.append)
    ledger_after = ledger.read_text()
    again = recommend(backbone, blobs(), minutes=5, ledger=ledger)
    assert ledger.read_text() == ledger_after
    assert again.preparation == first.preparation
    pd.testing.assert_frame_equal(again.compared, first.compared)
    whole = recommend(backbone, blobs(), minutes=5)
    pd.testing.assert_frame_equal(whole.compared, first.compared)


def test_finetunings_of_other_data_or_another_recipe_are_not_taken(
    backbone: nn.Module, short: None, tmp_path: Path
):
    ledger = tmp_path / "runs.jsonl"
    recommend(backbone, blobs(), minutes=5, ledger=ledger)
    rows = len(ledger.read_text().splitlines())
    blob = blobs()
    relabelled = LabelledImages(blob.images, blob.labels.roll(1))
    others = [(relabelled, {}), (blob, {"seed": 1}), (blob, {"weight_decay": 0.01})]
    for data, options in others:
        recommend(backbone, data, minutes=5, ledger=ledger, **options)
    searches = [json.loads(line)["search"] for line in ledger.read_text().splitlines()]
    assert len(set(searches)) == 1 + len(others)
    assert min(map(searches.count, searches)) > rows - 3  # but for what validation keeps


def test_damaged_ledger_is_named_with_its_line(backbone: nn.Module, tmp_path: Path):
    ledger = tmp_path / "runs.jsonl"
    ledger.write_text('{"search": ""}\n{"tau": 0, "spl\n{"search": ""}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*runs.jsonl is damaged"):
        recommend(backbone, blobs(), ledger=ledger)


def test_features_that_tell_nothing_are_named(short: None):
    class Blind(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(images), 4)

    with pytest.raises(ValueError, match="probing hardly lowers the energy"):
        recommend(Blind(), blobs(), minutes=5)


def test_any_seed_serves_or_is_refused_at_once(backbone: nn.Module, short: None):
    assert recommend(backbone, blobs(), minutes=5, seed=2**32 - 1).finetuning["seed"] == 2**32 - 1
    with pytest.raises(ValueError, match="seed must be below"):
        recommend(backbone, blobs(), minutes=5, seed=2**32)


def test_budget_that_is_too_short_is_named_with_what_is_needed(backbone: nn.Module):
    with pytest.raises(ValueError, match=r"minutes must be at least .* got 1e-05"):
        recommend(backbone, blobs(), minutes=1e-5)


def test_budget_that_is_too_short_is_told_before_heads_are_prepared(
    backbone: nn.Module, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(search, "prepare_heads")
    with pytest.raises(module.BudgetTooShort):
        recommend(backbone, blobs(), minutes=1e-5)


def test_search_leaves_time_for_what_is_to_follow(backbone: nn.Module):
    def epochs(minutes: float, to_follow: int = 0) -> int:
        splits = Splits(blobs(), None, 2, seed=0)
        recipe = search.Recipe(8, 0.0, None, 0)
        made = search.Search(backbone, splits, recipe, Ledger(), 0.0, to_follow, print)
        made.seconds_per_epoch, made.seconds_to_prepare = 1.0, 8.0
        return module._affordable_epochs(made, minutes)

    assert epochs(5.0) == 8  # five splits: 6 x 8 + 30 x 8 seconds of 300
    assert epochs(5.0, to_follow=3) == 7  # and 5 / 4 x (8 + 3 x 7)
    assert epochs(2.5) == 5  # three splits: 4 x 8 + 20 x 5 seconds of 150
    with pytest.raises(module.BudgetTooShort):
        epochs(2.0)


@pytest.mark.parametrize(
    ("gains", "recommended", "told_apart"),
    [
        ([0.10, 0.11, 0.09, 0.10, 0.12], NONE, True),
        ([0.30, -0.2, 0.25, -0.1, 0.05], MILD, False),
        ([0.02, 0.10, 0.03, 0.09, 0.06], MILD, False),  # told apart if splits did not overlap
        ([-0.1, -0.1, -0.1, -0.1, -0.1], MILD, False),
        ([0.1], MILD, False),
    ],
)
def test_default_is_recommended_unless_validation_tells_another_from_it(
    gains: list[float], recommended: HeadPreparation, told_apart: bool
):
    compared = pd.DataFrame({i: {NONE: 0.7 + g, MILD: 0.7} for i, g in enumerate(gains)})
    best, told, reason = module._choose(compared, MILD, Splits(blobs(), None, 8, 0))
    assert (best, told) == (recommended, told_apart)
    assert str(len(gains)) in reason


@pytest.mark.parametrize(("images", "told_apart"), [(20, False), (2000, True)])
def test_gain_on_validation_images_of_ones_own_must_exceed_what_so_few_can_tell(
    images: int, told_apart: bool
):
    compared = pd.DataFrame({i: {NONE: 0.85, MILD: 0.8} for i in range(8)})
    val = LabelledImages(torch.zeros(images, 1), torch.zeros(images, dtype=torch.int64))
    assert module._choose(compared, MILD, Splits(blobs(), val, 8, 0))[1] == told_apart


def test_splits_hold_out_every_class_however_uneven():
    labels = torch.tensor([0] * 40 + [1] * 12 + [2] * 2)
    data = LabelledImages(torch.arange(len(labels))[:, None], labels)
    for train, val in Splits(data, None, 4, seed=0):
        assert train.labels.unique().tolist() == val.labels.unique().tolist() == [0, 1, 2]
        assert not set(train.images[:, 0].tolist()) & set(val.images[:, 0].tolist())
        assert len(train) + len(val) == len(data)
    with pytest.raises(ValueError, match="class 1 has 1 image"):
        Splits(data[torch.tensor([0, 1, 2, 40])], None, 4, seed=0)


def test_split_is_the_same_after_another_and_holds_bytes_as_they_are():
    images = torch.randint(0, 256, (20, 3, 4, 4), dtype=torch.uint8)
    data = LabelledImages(images, torch.arange(20) % 2)
    splits = Splits(data, None, 2, seed=0)
    before, _, after = splits[0], splits[1], splits[0]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.images, other.images)
        for image, label in zip(one.images, one.labels, strict=True):
            assert label in data.labels[(images == image).flatten(1).all(dim=1)]


def test_validation_images_are_used_where_they_are_given():
    train, val = blobs(), blobs(4)
    assert list(Splits(train, val, 2, seed=0)) == [(train, val)] * 2


def test_rate_is_the_smallest_within_one_point_of_the_best(monkeypatch: pytest.MonkeyPatch):
    accuracies = dict(zip(module.RATES, (0.5, 0.895, 0.9, 0.89, 0.1), strict=True))

    class Fake:
        def run(self, head, *, split, lr, epochs):
            return {"val_accuracy": accuracies[lr]}

    assert module._search_rate(Fake(), None, 1) == 3e-4  # pyright: ignore[reportArgumentType]
