"""Settings: a backbone, a downstream task, its rates, and how much of it each preset takes."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER = Path(__file__).parents[1] / "data" / "settings"
SETTING_NAMES = tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))
PRESETS = ("smoke", "laptop", "gpu", "paper")
_STOPS = {"tau", "energy"}
# A preset takes what it does not say itself from these, the last first.
_BUILDS_ON = {"gpu": ("laptop",), "paper": ("laptop", "gpu")}

Preset = Literal["smoke", "laptop", "gpu", "paper"]
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Model that refuses entries it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Data(Strict):
    """Where the samples of a setting come from.

    `source` "digits" takes the handwritten digits from the first to the last of `classes`;
    "dataset" a data set of torchvision by `name`, all of it or those of its `classes`;
    "solar_cells" the photographs of the extra `solar-cells`; "folder" the folder `name` below the
    data folder, and "texts" the file `text/NAME.csv` there, or one of the user's where `name` is
    null.
    """

    source: Literal["digits", "dataset", "solar_cells", "folder", "texts"]
    name: str | None = None
    classes: tuple[int | str, ...] = ()
    domains: tuple[str, ...] = ()

    @property
    def is_given(self) -> bool:
        """Say whether the user gives the data."""
        return self.source in ("folder", "texts") and self.name is None


class Setting(Strict):
    """A setting as its YAML file says it.

    `source` are the images that the backbone was pretrained on, where they are at hand. `backbones`
    are those that fit; "torchvision", "timm" and "hf" stand for all of theirs. `values` are those
    of a run's fields, in `presets` those of each preset. A list is a grid: every value of it is
    run. An entry of a preset that bears the name of a study holds values for that study alone.
    """

    name: str
    description: str
    needs: str
    data: Data | None = None
    source: Data | None = None
    backbones: tuple[str, ...] = ()
    rates: str | None = None
    values: dict[str, Any] = {}
    presets: dict[Preset, dict[str, Any]]

    def values_of(self, preset: str, study: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values for every study, and those for this study alone.

        Raises `ValueError` if the setting has no such preset.
        """
        chain = [*_BUILDS_ON.get(preset, ()), preset]
        if not any(name in self.presets for name in chain):
            raise ValueError(
                f"setting {self.name} has no preset {preset!r}; valid: {', '.join(self.presets)}"
            )
        general, special = dict(self.values), {}
        for name in chain:
            said = cast(dict[str, dict[str, Any]], self.presets).get(name, {})
            plain = {key: value for key, value in said.items() if not isinstance(value, dict)}
            general = override(general, plain)
            special = override(special, said.get(study, {}))
        return general, special


def override(values: dict[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with those said in their place.

    `tau` and `energy` both say where probing stops: if one is said, neither stays.
    """
    gone = _STOPS if _STOPS & said.keys() else set()
    return {name: value for name, value in values.items() if name not in gone} | dict(said)


@cache
def load_setting(name: str) -> Setting:
    """Read a setting by name.

    Raises `ValueError` if the name is unknown or the file does not fit; each wrong entry is named.
    """
    return read_yaml(FOLDER, "setting", name, SETTING_NAMES, Setting)


def read_yaml(
    folder: Path, kind: str, name: str, valid: tuple[str, ...], model: type[Model]
) -> Model:
    """Read `folder/name.yaml` as this model; `like: OTHER` takes over what the file does not say.

    Raises `ValueError` if the name is not valid, or the file does not fit; each wrong entry is
    named.
    """
    if name not in valid:
        raise ValueError(f"unknown {kind} {name!r}; valid: {', '.join(valid)}")
    try:
        return model.model_validate({"name": name, **_read(folder, name)}, strict=False)
    except ValidationError as error:
        raise ValueError(f"{kind} file {name}.yaml is invalid: {in_one_line(error)}") from None
    except yaml.YAMLError as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{kind} file {name}.yaml is not valid YAML: {what}") from None


def in_one_line(error: ValidationError) -> str:
    """Name every wrong entry, what is wrong with it and what was given."""
    return "; ".join(
        f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}, got {wrong.get('input')!r}"
        if wrong["loc"]
        else wrong["msg"].removeprefix("Value error, ")
        for wrong in error.errors(include_url=False)
    )


def _read(folder: Path, name: str) -> dict[str, Any]:
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    said = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    like = said.pop("like", None)
    return _merged(_read(folder, like), said) if like else said


def _merged(base: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with what is said in its place, dicts being merged entry by entry."""
    both = {key for key in said if isinstance(said[key], dict) and isinstance(base.get(key), dict)}
    return base | said | {key: _merged(base[key], said[key]) for key in both}
