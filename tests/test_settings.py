"""Settings: each can be built, is described, and is listed where a name is wrong."""

from pathlib import Path

import pytest
import torch
from conftest import own_data

from taskhead.backbones import extract_features
from taskhead.data import Task
from taskhead.presets import load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.settings import (
    DIGITS,
    IMAGEFOLDER,
    SETTINGS,
    TOY,
    NetworkSetting,
    configure,
    get_setting,
)
from taskhead.studies import STUDIES
from taskhead.tasks import Draw

NETWORKS = [name for name, setting in SETTINGS.items() if isinstance(setting, NetworkSetting)]


def smoke_task(name: str, seed: int = 0) -> Task:
    setting = configure(get_setting(name), **own_data(name))
    assert isinstance(setting, NetworkSetting)
    scale = load_preset("smoke").energy_sweep[name]
    sizes = scale.model_dump(include={"image_size", "train_per_class", "val_per_class"})
    return setting.load_task(Draw(seed=seed, domain=scale.domains[0], **sizes))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_says_what_it_is_and_what_it_needs(name: str):
    setting = get_setting(name)
    assert setting.name == name
    assert setting.description
    assert any(word in setting.needs for word in ("no download", "downloaded", "--data"))


@pytest.mark.parametrize("name", NETWORKS)
def test_backbone_and_task_fit_together(name: str, mini_data: Path):
    task, scale = smoke_task(name), load_preset("smoke").energy_sweep[name]
    features = extract_features(pretrained_backbone(scale.backbone), task.train.images[:2])
    assert features.ndim == 2
    assert bool(features.isfinite().all())
    for part in (task.train, task.val, task.test, *task.ood.values()):
        assert part.labels.unique().tolist() == list(range(task.n_classes))


@pytest.mark.parametrize("name", NETWORKS)
def test_seed_draws_the_labelled_images(name: str, mini_data: Path):
    first, same, other = (smoke_task(name, seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("preset", ["smoke", "laptop", "gpu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_grids_name_backbones_and_domains_that_fit(name: str, preset: str, mini_data: Path):
    setting = configure(get_setting(name), **own_data(name))
    for study in ("energy_sweep", "rate_search", "length_search"):
        scale = load_preset(preset).scale(study, name)
        assert STUDIES[study].plan(setting, preset, scale)


def test_unknown_setting_lists_the_valid_ones():
    with pytest.raises(ValueError, match="unknown setting 'digit'; valid: toy, digits"):
        get_setting("digit")


def test_what_is_not_given_changes_nothing():
    assert configure(DIGITS) == DIGITS
    assert configure(TOY) == TOY


def test_rate_and_weights_of_the_user_take_the_place_of_the_settings():
    changed = configure(DIGITS, ft_lr=0.5, weights="V1")
    assert isinstance(changed, NetworkSetting)
    assert (changed.ft_lr, changed.weights) == (0.5, "V1")
    assert (DIGITS.ft_lr, DIGITS.weights) == (0.01, "DEFAULT")


@pytest.mark.parametrize(
    ("setting", "given", "message"),
    [
        (DIGITS, {"ft_lr": float("inf")}, "ft_lr must be positive and finite, got inf"),
        (DIGITS, {"data": "photos"}, "'photos', is for the setting imagefolder"),
        (IMAGEFOLDER, {}, "setting imagefolder needs a folder of images; give data"),
        (IMAGEFOLDER, {"data": "nowhere"}, "data folder nowhere does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(setting, given: dict, message: str):
    with pytest.raises(ValueError, match=message):
        configure(setting, **given)
