"""What a user of images of their own sees: digits as a folder, and figures of a recommendation."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_recommend import blobs
from torch import nn

from taskhead import HeadPreparation, LabelledImages, prepare_heads
from taskhead.models.pretraining import small_convnet
from taskhead.practice import figures
from taskhead.practice.names import name_of
from taskhead.practice.outcome import Final, Outcome
from taskhead.practice.recommend import Advice
from taskhead.tasks.datasets import load_digits, write_digits
from taskhead.tasks.folders import load_task
from taskhead.tasks.found import find_images

NONE, MILD = HeadPreparation(tau=0), HeadPreparation(energy=0.5)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("digits"), range(5, 8), train_per_class=4)


def test_digits_are_a_folder_with_splits_that_holds_every_digit_once(digits: Path):
    found = find_images(digits)
    assert found.classes == ["5", "6", "7"]
    assert found.called == {"train": "train", "test": "test"}
    assert found.n_images == len(load_digits(range(5, 8)))
    for name in found.classes:
        assert len(found.splits["train"][name]) + len(found.splits["val"][name]) == 4
    assert not found.copies


def test_written_digits_are_the_digits_to_a_network_for_grey_images(digits: Path):
    found = find_images(digits)
    read = load_task(found.splits, {}, image_size=8).test
    grey = load_digits(range(5, 8))
    network = small_convnet().eval()
    with torch.no_grad():
        from_files, from_arrays = network(read.images), network(grey.images)
    nearest = torch.cdist(from_files, from_arrays).min(dim=1)
    assert float(nearest.values.max()) < 0.05 * float(from_arrays.norm(dim=1).mean())
    assert torch.equal(grey.labels[nearest.indices], read.labels)


def evidence(
    tau: int | None, energy: float | None, aie: float, *accuracies: float, **head: Any
) -> list[dict]:
    way = HeadPreparation(tau=tau, energy=energy, **head)
    row = {**name_of(way), "aie": aie, "lr": 0.01, "epochs": 4}
    return [row | {"split": i, "val_accuracy": each} for i, each in enumerate(accuracies)]


def advice(**finetuning: Any) -> Advice:
    rows = [*evidence(0, None, 0.9, 0.1, 0.6, 0.8), *evidence(None, 0.5, 0.5, 0.2, 0.7, 0.9)]
    rows += evidence(400, None, 0.1, 0.5)
    rows += evidence(0, None, 0.8, 0.4, init_scale=0.1)
    other_rate = [row | {"lr": 0.1, "val_accuracy": 0.0} for row in rows]
    how = {"lr": 0.01, "epochs": 4} | finetuning
    return Advice(MILD, how, pd.DataFrame(rows + other_rate), pd.DataFrame(), False, "")


def test_each_preparation_is_a_point_at_its_energy_and_mean_accuracy():
    figure = figures.accuracy_against_energy(advice())
    drawn = {bars.get_label(): bars.lines[0].get_xydata()[0] for bars in figure.axes[0].containers}
    assert {name: tuple(at) for name, at in drawn.items()} == {
        "no probing": pytest.approx((0.9, 0.7)),
        "probing down to energy 0.50": pytest.approx((0.5, 0.8)),
        "probing to the end": pytest.approx((0.1, 0.5)),
        "no probing, initial scale 0.1": pytest.approx((0.8, 0.4)),
    }
    with_interval = [bars.get_label() for bars in figure.axes[0].containers if bars.has_yerr]
    assert with_interval == ["no probing", "probing down to energy 0.50"]
    marks = {bars.get_label(): bars.lines[0].get_marker() for bars in figure.axes[0].containers}
    assert [name for name, mark in marks.items() if mark == "s"] == ["probing down to energy 0.50"]


def test_energy_is_drawn_over_the_epochs_that_probing_took():
    backbone = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
    heads = prepare_heads(backbone, blobs(), [HeadPreparation(tau=tau) for tau in (0, 2, 8)])
    falling, stop = figures.energy_as_it_falls(heads, heads[1]).axes[0].lines
    assert falling.get_xdata().tolist() == [0, 2, 8]
    assert falling.get_ydata().tolist() == [head.aie for head in heads]
    assert stop.get_xydata().tolist() == [[2, heads[1].aie]]


def test_confusion_counts_true_classes_in_rows(digits: Path):
    found = find_images(digits)
    labels = torch.tensor([0, 0, 1, 2])
    test = LabelledImages(torch.zeros(4, 1), labels)
    told = nn.functional.one_hot(torch.tensor([0, 1, 1, 2]), 3).float()
    network = nn.Sequential(OrderedDict(backbone=nn.Identity(), head=nn.Identity()))
    final = Final(None, network, told)  # pyright: ignore[reportArgumentType]
    task = type("", (), {"test": test})
    outcome = Outcome(found, task, advice(), {}, {}, [])  # pyright: ignore[reportArgumentType]
    (axis,) = figures.confusion_matrix(outcome, final).axes
    assert [text.get_text() for text in axis.texts] == ["1", "1", "0", "0", "1", "0", "0", "0", "1"]
    assert [label.get_text() for label in axis.get_yticklabels()] == found.classes
