"""Studies: which runs stand behind a page, what varies and in which settings."""

from functools import cache, reduce
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from taskhead.experiments.settings import (
    SETTING_NAMES,
    Preset,
    Setting,
    Strict,
    load_setting,
    override,
    read_yaml,
)

FOLDER = Path(__file__).parents[1] / "data" / "studies"
VARIANTS = "variants"  # key of a list of values that stand in place of others together
STUDY_NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


class Study(Strict):
    """A study as its YAML file says it.

    `kind` says how its runs are computed. `vary` holds values of a run's fields in place of the
    setting's, `presets` those of single presets; a list is a grid. The key `variants` holds a list
    of such values, each of which is a grid of its own. Without `settings` a study takes every
    setting that has images.
    """

    name: str
    description: str
    kind: str = "adaptation"
    settings: tuple[str, ...] = ()
    vary: dict[str, Any] = Field(default_factory=dict)
    presets: dict[Preset, dict[str, Any]] = Field(default_factory=dict)


@cache
def load_study(name: str) -> Study:
    """Read a study by name.

    Raises `ValueError` if the name is unknown or the file does not fit; each wrong entry is named.
    """
    return read_yaml(FOLDER, "study", name, STUDY_NAMES, Study)


def values_of(study: Study, setting: Setting, preset: str) -> dict[str, Any]:
    """Return the values of a run's fields, lists being grids; the more special goes first.

    That is from the general to the special: the setting, the study, the study at this preset, and
    what the setting says for this study.

    Raises `ValueError` if the setting has no such preset.
    """
    general, special = setting.values_of(preset, study.name)
    at_preset = cast(dict[str, dict[str, Any]], study.presets).get(preset, {})
    return reduce(override, (study.vary, at_preset, special), general)


def settings_of(study: Study) -> tuple[str, ...]:
    """Return the names of the settings in which a study can be run."""
    return study.settings or tuple(n for n in SETTING_NAMES if load_setting(n).data)
