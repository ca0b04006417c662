"""Presets: the files fit the schema, and what does not fit is named in one line."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from taskhead import presets
from taskhead.presets import NAMES, Preset, load_preset
from taskhead.studies import STUDIES

SMOKE = (presets.folder() / "smoke.yaml").read_text()
EXPENSIVE = {("smoke", "pretraining"): {"cifar10-to-cifar100", "cifar10-to-stl10"}}


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_has_a_grid_for_every_study(name: str):
    preset = load_preset(name)
    assert preset.name == name
    for study, kind in STUDIES.items():
        grids = getattr(preset, study)
        assert set(grids) <= set(kind.settings)
        for setting in set(kind.settings) - EXPENSIVE.get((name, study), set()):
            assert preset.scale(study, setting) == grids[setting]


def test_folder_holds_the_named_presets_and_no_others():
    assert {path.stem for path in presets.folder().iterdir()} == set(NAMES)


def test_laptop_has_enough_seeds_for_error_bands():
    assert len(load_preset("laptop").energy_sweep["digits"].seeds) >= 5


@pytest.mark.parametrize(
    ("field", "value"),
    [("seeds", [3, 4, 5]), ("backbone", "resnet20"), ("image_size", 64), ("domains", ["photo"])],
)
def test_what_the_caller_gives_replaces_what_the_file_says(field: str, value: object):
    changed = load_preset("smoke").scale("energy_sweep", "digits", **{field: value})
    original = load_preset("smoke").scale("energy_sweep", "digits")
    assert changed.model_dump() == original.model_dump() | {field: value}


@pytest.mark.parametrize("seeds", [[], [-1], [1, 1], [1.5], ["1"], [True], [2**64]])
def test_seeds_that_cannot_be_are_refused_in_one_line(seeds: list):
    with pytest.raises(ValueError, match="seeds") as caught:
        load_preset("smoke").scale("energy_sweep", "digits", seeds=seeds)
    assert "\n" not in str(caught.value)


def test_change_of_a_field_that_a_grid_lacks_is_refused():
    with pytest.raises(ValueError, match="invalid grid of pretraining: image_size: Extra inputs"):
        load_preset("smoke").scale("pretraining", "digits", image_size=64)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("study", ["rate_search", "length_search"])
def test_seeds_of_a_search_are_in_no_sweep(name: str, study: str):
    preset = load_preset(name)
    for setting, search in getattr(preset, study).items():
        assert not set(search.seeds) & set(preset.energy_sweep[setting].seeds)


def test_unknown_preset_and_setting_list_the_valid_ones():
    with pytest.raises(ValueError, match="unknown preset 'lapptop'; valid: smoke, laptop, gpu"):
        load_preset("lapptop")
    with pytest.raises(ValueError, match="unknown setting of toy_linear in preset smoke 'digits'"):
        load_preset("smoke").scale("toy_linear", "digits")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("taus: [0, 8, 64]", "taus: [8, 0, 64]", "toy_linear.toy.taus"),
        ("taus: [0, 8, 64]", "taus: [-1, 8, 64]", "toy_linear.toy.taus"),
        ("taus: [0, 8, 64]", "taus: []", "toy_linear.toy.taus"),
        ("widths:", "width:", "toy_linear.toy.width"),
        ("ft_epochs: 2", "ft_epochs: two", "energy_sweep.digits.ft_epochs"),
        ("ft_epochs: 2", "ft_epochs: 0", "energy_sweep.digits.ft_epochs"),
        ("name: smoke", "nam: smoke", "nam"),
        ("name: smoke", "name: [", "not valid YAML"),
    ],
)
def test_file_that_does_not_fit_is_named_with_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, named: str
):
    assert old in SMOKE
    (tmp_path / "smoke.yaml").write_text(SMOKE.replace(old, new))
    monkeypatch.setattr(presets, "folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"preset file smoke\.yaml") as caught:
        load_preset("smoke")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_presets_do_not_change():
    preset = load_preset("smoke")
    with pytest.raises(ValidationError):
        preset.name = "gpu"  # pyright: ignore[reportAttributeAccessIssue]
    assert Preset.model_validate(yaml.safe_load(SMOKE)) == preset
