"""The plan of a study in a setting: all its runs, and what computing them needs beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from taskhead.experiments.inputs import Inputs
from taskhead.experiments.kinds import KINDS, Kind
from taskhead.experiments.run import field_names, make_run, sort_key
from taskhead.experiments.settings import PRESETS, Setting, load_setting, override
from taskhead.experiments.studies import VARIANTS, Study, load_study, settings_of, values_of
from taskhead.method.checks import check_choice
from taskhead.models.backbones import check_backbone, check_weights
from taskhead.models.checkpoints import weights_label
from taskhead.tasks.folders import check_domain, folder_label
from taskhead.tasks.layout import read_layout
from taskhead.tasks.texts import text_label


@dataclass(frozen=True)
class Plan:
    """The runs of a study in the order of their keys, their kind, and their common inputs.

    `values` are the values and grids that the runs were made from, as provenance keeps them.
    """

    kind: Kind
    inputs: Inputs
    runs: tuple[Any, ...]
    values: dict[str, Any]


def make_plan(
    study: str,
    *,
    setting: str,
    preset: str,
    device: str = "auto",
    seeds: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """Return all runs of a study in a setting at a preset.

    `seeds` stand in place of the preset's, and `options`, values of a run's fields, in place of the
    setting's; one that is None counts as not given. `data` is the folder or file of a setting
    that has none of its own, `weights` a checkpoint file or the name of weights.

    Raises `ValueError` if a name, a seed or an option is unknown, out of range or does not fit the
    others.
    """
    asked, described = load_study(study), load_setting(setting)
    check_choice(f"setting of {study}", setting, settings_of(asked))
    check_choice("preset", preset, PRESETS)
    check_choice(f"kind of study {study}", asked.kind, KINDS)
    kind, torch_device = KINDS[asked.kind], choose_device(device)
    given = {name: value for name, value in (options or {}).items() if value is not None}
    values = _known_values(asked, described, preset, kind)
    _check_options(given, asked, kind, values)
    folder, weights = given.pop("data", None), given.pop("weights", None)
    variants = values.pop(VARIANTS, [{}])
    grid = override(values, given) | ({} if seeds is None else {"seed": list(seeds)})
    folder = None if folder is None else Path(folder)
    if described.data:
        for name in _as_list(grid["backbone"]):
            check_backbone(name, described.backbones, owner=f"setting {described.name}")
            check_weights(name, weights)
        _check_folder(described, folder)
        if folder:
            texts = described.data.source == "texts"
            grid["data"] = text_label(folder) if texts else folder_label(folder)
        grid["weights"] = weights_label(weights)
        grid.setdefault("domain", None)
        for domain in _as_list(grid["domain"]):
            if folder and described.data.source == "folder":
                read_layout(folder, domain)
            else:
                check_domain(f"setting {setting}", domain, described.data.domains)
    grid |= {"setting": setting, "preset": preset}
    runs = [run for variant in variants for run in _runs(kind, override(grid, variant))]
    if len(set(runs)) < len(runs):
        raise ValueError(f"two variants of {study} hold the same run")
    grid = grid if variants == [{}] else grid | {VARIANTS: variants}
    inputs = Inputs(described, torch_device, folder, weights)
    return Plan(kind, inputs, tuple(sorted(runs, key=sort_key)), grid)


def choose_device(name: str) -> torch.device:
    """Return the device of this name, "auto" being the accelerator if there is one.

    Raises `ValueError` if the name is unknown or this machine has no such device.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    there = [found.type, "cpu"] if found else ["cpu"]
    check_choice("device", name, ["auto", *there])
    return torch.device(there[0] if name == "auto" else name)


def _known_values(study: Study, setting: Setting, preset: str, kind: Kind) -> dict[str, Any]:
    """Return the values of the fields of this kind of run; a name of no field is refused."""
    values = values_of(study, setting, preset)
    known = {name for each in KINDS.values() for name in field_names(each.run)}
    for name in [*values, *(name for each in values.get(VARIANTS, []) for name in each)]:
        valid = sorted(known | {VARIANTS})
        check_choice(f"value in study {study.name} or setting {setting.name}", name, valid)
    return {name: values[name] for name in [*field_names(kind.run), VARIANTS] if name in values}


def _check_options(
    given: Mapping[str, Any], study: Study, kind: Kind, values: Mapping[str, Any]
) -> None:
    """Raise `ValueError` unless all options are fields of a run that the study does not vary."""
    varied = {name for name in study.vary if isinstance(values.get(name), list)} - {"seed"}
    varied |= {name for variant in values.get(VARIANTS, []) for name in variant}
    own = {"setting", "preset", "seed"} | varied
    valid = [name for name in field_names(kind.run) if name not in own]
    for name in given:
        if name in varied:
            raise ValueError(
                f"{study.name} varies {name} itself, got {given[name]!r}; leave it out"
            )
        check_choice(f"option of {study.name}", name, valid)


def _check_folder(setting: Setting, folder: Path | None) -> None:
    """Raise `ValueError` unless data are given just where the setting has none of its own."""
    asks = setting.data is not None and setting.data.is_given
    if asks and folder is None:
        raise ValueError(f"setting {setting.name} needs {setting.needs}; give data")
    if folder is not None and not asks:
        raise ValueError(
            f"setting {setting.name} has its own data; data, here {str(folder)!r}, are for the "
            "settings imagefolder and textfile"
        )


def _runs(kind: Kind, grid: Mapping[str, Any]) -> list[Any]:
    """Return the runs of a grid; what it does not say is left to the run's defaults.

    A run stops probing at one of the values of tau or at one of those of energy.
    """
    choices = {name: _as_list(grid[name]) for name in field_names(kind.run) if name in grid}
    for name, values in choices.items():
        if not values or any(values.count(value) > 1 for value in values):
            raise ValueError(f"values of {name} must be given and differ, got {values}")
    stops = [name for name in ("tau", "energy") if name in choices]
    runs = []
    for stop in stops or [""]:
        own = {name: choices[name] for name in choices if name == stop or name not in stops}
        runs += [dict(zip(own, chosen, strict=True)) for chosen in product(*own.values())]
    return [make_run(kind.run, values) for values in runs]


def _as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]
