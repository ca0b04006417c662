"""Presets: how much to compute. Typed, validated, read from `presets/*.yaml`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from taskhead.checks import check_choice, check_taus
from taskhead.tasks import NO_DOMAIN

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
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ToyLinear(_Strict):
    """Grid of the `toy_linear` study; widths are numbers of features h."""

    seeds: Seeds
    taus: Taus
    init_scales: Positives
    widths: Annotated[list[Count], Field(min_length=1)]


class LazyLimit(_Strict):
    """Grid of the `lazy_limit` study; energies are e / y, head norms are ||v||."""

    seeds: Seeds
    head_norms: Positives
    energies: Positives


class Network(_Strict):
    """What every study of a network setting needs: the backbone, and the images to draw."""

    seeds: Seeds
    backbone: str
    image_size: Annotated[int, Field(ge=8)]
    train_per_class: Count
    val_per_class: Count
    test_per_class: Annotated[int, Field(ge=0)]
    domains: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)] = [NO_DOMAIN]


class Probing(Network):
    """Grid of the `batchnorm_drift` study in one setting."""

    taus: Taus


class EnergySweep(Probing):
    """Grid of the `energy_sweep` study in one setting."""

    ft_epochs: Count


class RateSearch(EnergySweep):
    """Grid of the `rate_search` study: the sweep at each finetuning rate, on seeds of its own."""

    ft_lrs: Positives


class LengthSearch(Probing):
    """Grid of the `length_search` study: the sweep at each length of finetuning, in epochs."""

    lengths: Annotated[list[Count], Field(min_length=1), AfterValidator(_distinct)]


class FeatureGeometry(EnergySweep):
    """Grid of the `feature_geometry` study: the runs whose features are kept, sample by sample."""

    samples: Annotated[int, Field(ge=2)]


class Pretraining(_Strict):
    """Grid of the `pretraining` study: the backbones with a recipe to train."""

    backbones: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]


Scale = ToyLinear | LazyLimit | Network | Pretraining


class Preset(_Strict):
    """For each study, for each setting: the grid to compute."""

    name: Literal["smoke", "laptop", "gpu"]
    toy_linear: dict[str, ToyLinear]
    lazy_limit: dict[str, LazyLimit]
    energy_sweep: dict[str, EnergySweep]
    rate_search: dict[str, RateSearch]
    length_search: dict[str, LengthSearch]
    feature_geometry: dict[str, FeatureGeometry]
    batchnorm_drift: dict[str, Probing]
    pretraining: dict[str, Pretraining]

    def scale(self, study: str, setting: str, **changes: Any) -> Scale:
        """Return the grid of a study in a setting, with some of its fields changed.

        Raises
        ------
        ValueError
            If the preset has no such grid, or a change is invalid or no field of this grid.
        """
        grids: dict[str, Scale] = getattr(self, study)
        check_choice(f"setting of {study} in preset {self.name}", setting, grids)
        try:
            return type(grids[setting]).model_validate(grids[setting].model_dump() | changes)
        except ValidationError as error:
            raise ValueError(f"invalid grid of {study}: {_in_one_line(error)}") from None


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
