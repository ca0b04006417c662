"""Outcomes: runs that diverge, collapse or fail say so, and spare the others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_results import AFTER_FINETUNING, OF_PROBING, SWEEP, measures

from taskhead.experiments import network_runs
from taskhead.experiments.provenance import load_provenance
from taskhead.experiments.results import compute_study
from taskhead.method.finetuning import finetune


def test_run_that_diverges_in_finetuning_has_no_measures_of_it(tmp_path: Path):
    rows = compute_study("energy_sweep", results=tmp_path, seeds=[0], ft_lr=1e20, **SWEEP)
    assert set(rows["outcome"]) == {"diverged"}
    assert rows["reason"].str.contains("1e\\+20").all()
    assert measures(rows, AFTER_FINETUNING).isna().all().all()
    assert rows[OF_PROBING].notna().all().all()


def test_geometry_of_a_run_that_diverges_is_one_row_that_says_so(tmp_path: Path):
    rows = compute_study("feature_geometry", results=tmp_path, ft_lr=1e20, **SWEEP)
    assert rows["outcome"].tolist() == ["diverged"] * 3
    assert rows["reason"].notna().all()


def test_run_that_diverges_in_probing_spares_those_probed_less(tmp_path: Path):
    rows = compute_study("energy_sweep", results=tmp_path, seeds=[0], hp_lr=1e38, **SWEEP)
    assert rows["outcome"].tolist() == ["done", "diverged", "diverged"]
    assert measures(rows.loc[1:], [*OF_PROBING, *AFTER_FINETUNING]).isna().all().all()


def test_probing_that_fits_at_any_price_is_called_collapsed(tmp_path: Path):
    rows = compute_study("energy_sweep", results=tmp_path, seeds=[0], hp_lr=1e6, **SWEEP)
    assert rows["outcome"].tolist() == ["done", "collapsed", "collapsed"]
    assert measures(rows.loc[1:], AFTER_FINETUNING).isna().all().all()


class Features(torch.nn.Module):
    """A finetuned backbone whose features are what a run must not be called done for."""

    def __init__(self, features: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.features(images.flatten(1))


@pytest.mark.parametrize(
    ("features", "outcome"),
    [
        (torch.zeros_like, "collapsed"),
        (torch.ones_like, "collapsed"),
        (lambda z: z * (torch.arange(len(z)) > 0)[:, None], "collapsed"),
        (lambda z: 1e5 * (z + 0.1), "collapsed"),
        (lambda z: z + torch.nan, "diverged"),
    ],
    ids=["all zero", "all equal", "one zero", "exploded", "not finite"],
)
def test_features_that_mean_nothing_are_not_done(tmp_path: Path, monkeypatch, features, outcome):
    def broken(*arguments: Any, **options: Any) -> Any:
        result = finetune(*arguments, **options)
        return replace(result, last=torch.nn.Sequential(Features(features), result.last[1]))

    monkeypatch.setattr(network_runs, "finetune", broken)
    rows = compute_study("energy_sweep", results=tmp_path, seeds=[0], **SWEEP)
    assert set(rows["outcome"]) == {outcome}
    assert rows["reason"].notna().all()
    assert measures(rows, AFTER_FINETUNING).isna().all().all()


def test_run_that_fails_says_why_spares_the_others_and_is_tried_again(tmp_path: Path, monkeypatch):
    def short_of_memory(backbone: Any, head: Any, *arguments: Any, **options: Any) -> Any:
        if options["seed"] == 1:
            raise torch.OutOfMemoryError("out of memory\nwith details")
        return finetune(backbone, head, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(network_runs, "finetune", short_of_memory)
        rows = compute_study("energy_sweep", results=tmp_path, **SWEEP)
    assert rows["outcome"].tolist() == ["done"] * 3 + ["failed"] * 3
    assert set(rows["reason"].dropna()) == {"OutOfMemoryError: out of memory"}
    again = compute_study("energy_sweep", results=tmp_path, **SWEEP)
    assert set(again["outcome"]) == {"done"}
    counts = [s["rows"] for s in load_provenance(tmp_path / "energy_sweep" / "digits.csv")]
    assert counts == [6, 3]
