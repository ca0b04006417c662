"""Settings: each can be built, is described, and is listed where a name is wrong."""

import pytest
import torch

from taskhead import claims, records
from taskhead.backbones import extract_features
from taskhead.settings import DIGITS, SETTINGS, NetworkSetting, get_setting
from taskhead.studies import STUDIES

NETWORKS = [setting for setting in SETTINGS.values() if isinstance(setting, NetworkSetting)]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_is_and_what_it_needs(name: str):
    setting = get_setting(name)
    assert setting.name == name
    assert setting.description
    assert "GPU" in setting.needs


@pytest.mark.parametrize("setting", NETWORKS, ids=lambda setting: setting.name)
def test_backbone_and_task_fit_together(setting: NetworkSetting):
    task = setting.load_task(0)
    features = extract_features(setting.build_backbone(), task.train.images[:2])
    assert features.shape == (2, setting.n_features)
    for part in (task.train, task.val, task.test):
        assert part.labels.unique().tolist() == list(range(task.n_classes))


@pytest.mark.parametrize("setting", NETWORKS, ids=lambda setting: setting.name)
def test_seed_draws_the_labelled_images(setting: NetworkSetting):
    first, same, other = (setting.load_task(seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("setting", NETWORKS, ids=lambda setting: setting.name)
def test_description_counts_the_labelled_images(setting: NetworkSetting):
    assert f"finetuned on {len(setting.load_task(0).train)} images" in setting.description


def test_unknown_setting_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown setting 'digit'; valid: toy, digits"):
        get_setting("digit")


def test_finetuning_rate_is_what_the_recorded_search_chooses():
    path = records.table_path(records.recorded_folder(), "rate_search", "digits")
    rates = claims.rate_choice(records.load(path, STUDIES["rate_search"].columns))
    assert rates.index[rates["chosen"]].tolist() == [DIGITS.ft_lr]
