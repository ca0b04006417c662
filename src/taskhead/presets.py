"""Presets: how much to compute. Typed, validated, read from `presets/*.yaml`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from taskhead.checks import check_choice, check_taus

NAMES = ("smoke", "laptop", "gpu")


def _increasing(taus: list[int]) -> list[int]:
    check_taus(taus)
    return taus


def _distinct(values: list) -> list:
    if len(set(values)) != len(values):
        raise ValueError(f"values must differ, got {values}")
    return values


Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
Taus = Annotated[list[int], AfterValidator(_increasing)]
Positives = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ToyLinear(_Strict):
    """Grid of the `toy_linear` study; widths are numbers of features h."""

    seeds: Seeds
    taus: Taus
    init_scales: Positives
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class LazyLimit(_Strict):
    """Grid of the `lazy_limit` study; energies are e / y, head norms are ||v||."""

    seeds: Seeds
    head_norms: Positives
    energies: Positives


class EnergySweep(_Strict):
    """Grid of the `energy_sweep` study in one setting."""

    seeds: Seeds
    taus: Taus
    ft_epochs: Annotated[int, Field(ge=1)]


class RateSearch(EnergySweep):
    """Grid of the `rate_search` study: the sweep at each finetuning rate, on seeds of its own."""

    ft_lrs: Positives


class FeatureGeometry(EnergySweep):
    """Grid of the `feature_geometry` study: the runs whose features are kept, sample by sample."""

    samples: Annotated[int, Field(ge=2)]


Scale = ToyLinear | LazyLimit | EnergySweep | RateSearch | FeatureGeometry


class Preset(_Strict):
    """For each study, for each setting: the grid to compute."""

    name: Literal["smoke", "laptop", "gpu"]
    toy_linear: dict[str, ToyLinear]
    lazy_limit: dict[str, LazyLimit]
    energy_sweep: dict[str, EnergySweep]
    rate_search: dict[str, RateSearch]
    feature_geometry: dict[str, FeatureGeometry]

    def scale(self, study: str, setting: str, *, seeds: Sequence[int] | None = None) -> Scale:
        """Return the grid of a study in a setting, with other seeds if any are given.

        Raises
        ------
        ValueError
            If the preset has no such grid or the seeds are invalid.
        """
        grids: dict[str, Scale] = getattr(self, study)
        check_choice(f"setting of {study} in preset {self.name}", setting, grids)
        if seeds is None:
            return grids[setting]
        try:
            return type(grids[setting]).model_validate(
                grids[setting].model_dump() | {"seeds": list(seeds)}
            )
        except ValidationError as error:
            raise ValueError(f"invalid seeds: {_in_one_line(error)}") from None


def folder() -> Path:
    """Return the folder of the preset files: the checkout's, or the one inside the package."""
    checkout = Path(__file__).parents[2] / "presets"
    return checkout if checkout.is_dir() else Path(__file__).parent / "presets_data"


def load_preset(name: str) -> Preset:
    """Read a preset by name.

    Raises
    ------
    ValueError
        If the name is unknown or the file does not fit the schema; each wrong entry is named.
    """
    check_choice("preset", name, NAMES)
    path = folder() / f"{name}.yaml"
    try:
        return Preset.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise ValueError(f"preset file {path.name} is invalid: {_in_one_line(error)}") from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise ValueError(f"preset file {path.name} is not valid YAML: {what}") from None


def _in_one_line(error: ValidationError) -> str:
    """Name every wrong entry, what is wrong with it and what was given."""
    return "; ".join(
        f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}, got {wrong.get('input')!r}"
        for wrong in error.errors(include_url=False)
    )
