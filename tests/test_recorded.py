"""Recorded results: complete, at the rates their searches chose, and reproducible."""

from pathlib import Path

import pandas as pd
import pytest

from taskhead import claims, records, studies
from taskhead.settings import SETTINGS, NetworkSetting, get_setting

COMPLETE = [
    ("toy_linear", "toy"),
    ("lazy_limit", "toy"),
    ("feature_geometry", "digits"),
    ("batchnorm_drift", "cifar10-to-cifar100"),
    *(
        (study, setting)
        for setting in ("digits", "cifar10-to-cifar100", "imagenet-to-pacs", "imagenet-to-cifar10")
        for study in ("rate_search", "energy_sweep")
    ),
]
SWEEPS = [setting for study, setting in COMPLETE if study == "energy_sweep"]


def table(study: str, setting: str) -> pd.DataFrame:
    found = studies.recorded(study, setting=setting, preset="laptop")
    assert found, f"{study} of {setting} is not recorded completely"
    return found[0]


@pytest.mark.parametrize(("study", "setting"), COMPLETE)
def test_recorded_table_is_complete_and_its_provenance_says_so(study: str, setting: str):
    rows = table(study, setting)
    path = records.table_path(records.recorded_folder(), study, setting)
    sessions = records.load_provenance(path)
    assert sum(session["rows"] for session in sessions) >= len(rows)
    assert all("changed" not in session["commit"] for session in sessions)
    assert all(str(Path.home()) not in file.read_text() for file in path.parent.iterdir())


@pytest.mark.parametrize("setting", SWEEPS)
def test_rate_in_use_is_the_one_the_search_chose_on_other_seeds(setting: str):
    described = get_setting(setting)
    assert isinstance(described, NetworkSetting)
    search, sweep = table("rate_search", setting), table("energy_sweep", setting)
    choice = claims.rate_choice(search)
    assert choice.index[choice["chosen"]].tolist() == [described.ft_lr]
    assert set(sweep["ft_lr"]) == {described.ft_lr}
    assert not set(search["seed"]) & set(sweep["seed"])


def test_a_rate_is_called_searched_only_where_a_search_is_recorded():
    called = {
        name
        for name, setting in SETTINGS.items()
        if isinstance(setting, NetworkSetting) and "rate search" in setting.rates_reason
    }
    assert called == set(SWEEPS)


def test_imagenet_results_have_two_target_domains_and_three_others_each():
    sweep = table("energy_sweep", "imagenet-to-pacs")
    assert sweep.groupby("domain")["seed"].nunique().to_dict() == {"photo": 3, "sketch": 3}
    for row in sweep.to_dict("records"):
        tested = {part.split("=")[0] for part in row["ood_by_domain"].split()}
        assert tested | {row["domain"]} == {"art_painting", "cartoon", "photo", "sketch"}
        assert len(tested) == 3
