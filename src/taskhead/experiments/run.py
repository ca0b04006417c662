"""One run: a setting, a head preparation, a finetuning recipe and a seed. Its fields are a key."""

from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from taskhead.experiments.settings import in_one_line
from taskhead.method.heads import Init
from taskhead.method.optimisers import Decay, OptimiserName
from taskhead.method.probing import Stop
from taskhead.method.trainable import parse_trainable

STRICT = ConfigDict(strict=True, extra="forbid")
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ProbingRun:
    """A head that is probed and not finetuned; the fields are the key columns of its row.

    `weights` and `data` are labels without a path, None where the setting knows its own. Images are
    counted for each class; a `test_per_class` of None takes all. `domain` is the target domain,
    None where there are none, as `image_size` is for texts. `augment` is the name of an
    augmentation, `views` are those to probe on, 0 for the images as they are; `eps` to `energy` are
    those of `HeadPreparation`.
    """

    setting: Name
    preset: Name
    backbone: Name
    weights: Name | None = None
    data: Name | None = None
    image_size: Annotated[int, Field(ge=8)] | None = None
    train_per_class: Count
    val_per_class: Count
    test_per_class: Count | None = None
    domain: Name | None = None
    seed: Seed
    hp_lr: Rate | Literal["auto"] = "auto"
    batch_size: Count
    bn_mode: Literal["eval", "train"] = "eval"
    dropout: bool = False
    augment: Name | None = None
    views: Annotated[int, Field(ge=0)] = 10
    eps: Annotated[float, Field(ge=0, lt=1)] = 0.0
    hidden: tuple[Count, ...] = ()
    init: Init = "uniform"
    init_scale: Scale = 1.0
    reinitialised_blocks: Annotated[int, Field(ge=0)] = 0
    tau: Annotated[int, Field(ge=0)] | None = None
    energy: Annotated[float, Field(gt=0, lt=2)] | None = None

    def __post_init__(self) -> None:
        """Refuse a run that does not say where probing stops, or says it twice."""
        Stop(self.tau, self.energy)


def _as_trainable(name: str) -> str:
    parse_trainable(name)
    return name


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Run(ProbingRun):
    """A head that is probed, then finetuned with its backbone.

    `ft_head_lr` and `ft_early_lr` are the rates of the head and of the backbone's first half where
    they are not the backbone's; what follows is the recipe of `finetune`, `ft_eps` its label
    smoothing.
    """

    ft_lr: Rate
    ft_head_lr: Rate | None = None
    ft_early_lr: Rate | None = None
    ft_eps: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ft_epochs: Count
    weight_decay: Scale
    optimiser: OptimiserName = "sgd"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Decay = "cosine"
    trainable: Annotated[Name, AfterValidator(_as_trainable)] = "all"


def make_run(kind: type, values: dict[str, Any]) -> Any:
    """Return a run of this kind from the values of its fields; lists are taken for tuples.

    Raises `ValueError` if a field is missing, unknown or out of range; each is named with what was
    given.
    """
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except ValidationError as error:
        raise ValueError(in_one_line(error)) from None


def part_of(run: Any, kind: Any) -> Any:
    """Return an object of this dataclass with the values that a run has in fields of its name."""
    own = {each.name: getattr(run, each.name) for each in fields(run)}
    return kind(**{each.name: own[each.name] for each in fields(kind) if each.name in own})


def field_names(kind: type) -> list[str]:
    """Return the names of the fields of a kind of run, which are its key columns, in order."""
    return [each.name for each in fields(kind)]


def sort_key(run: Any) -> list[tuple]:
    """Return what runs of one kind are sorted by: their fields in order, None first."""
    return [(value is not None, isinstance(value, str), value) for value in asdict(run).values()]
