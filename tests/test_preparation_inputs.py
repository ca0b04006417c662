"""What head preparation takes, and what it refuses in one line."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from problems import Then, three_classes, weights
from torch import nn

from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads

OPTIONS = {"lr": 0.1, "batch_size": 8, "seed": 3}
TRAIN = three_classes(30, 0)


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8, torch.bool, "numpy"])
def test_labels_of_any_integer_type_are_taken(kind):
    labels = torch.arange(30) % 2
    given = labels.numpy() if kind == "numpy" else labels.to(kind)
    (ours,), (theirs,) = (
        prepare_heads(nn.Flatten(), (TRAIN.images, each), [HeadPreparation(2)], **OPTIONS)
        for each in (given, labels)
    )
    assert torch.equal(weights(ours.head), weights(theirs.head))


@pytest.mark.parametrize(
    "cast",
    [torch.Tensor.half, torch.Tensor.double, lambda f: f[:, :, None, None]],
    ids=["float16", "float64", "not flattened"],
)
def test_features_of_any_floating_type_are_taken(backbone: nn.Module, cast):
    (ours,), (theirs,) = (
        prepare_heads(each, TRAIN, [HeadPreparation(2)], **OPTIONS)
        for each in (nn.Sequential(backbone, Then(cast)), backbone)
    )
    assert ours.aie == pytest.approx(theirs.aie, rel=1e-2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"views": -1}, "views.* -1"),
        ({"bn_mode": "on"}, "bn_mode 'on'"),
        ({"augment": "blur"}, "augment 'blur'"),
        ({"lr": -1.0}, "lr.* -1"),
        ({"lr": "0.1"}, "lr.* '0.1'"),
        ({"lr": None}, "lr.* None"),
        ({"momentum": 2}, "momentum.* 2"),
        ({"weight_decay": math.nan}, "weight_decay.* nan"),
        ({"batch_size": 1.5}, "batch_size.* 1.5"),
        ({"seed": 2**32}, "seed.* 4294967296"),
        ({"seed": -1}, "seed.* -1"),
        ({"seed": "a"}, "seed.* 'a'"),
        ({"preparations": []}, r"HeadPreparation, got \[\]"),
        ({"preparations": HeadPreparation(1)}, "list of HeadPreparation"),
        ({"preparations": [4]}, r"HeadPreparation, got \[4\]"),
        ({"backbone": len}, "backbone.* builtin"),
    ],
)
def test_option_out_of_range_is_refused(backbone: nn.Module, change: dict, named: str):
    given = {"backbone": backbone, "train": TRAIN, "preparations": [HeadPreparation(1)]}
    with pytest.raises((ValueError, TypeError), match=named) as caught:
        prepare_heads(**given | OPTIONS | change)
    assert "\n" not in str(caught.value)


def test_broken_backbone_is_named_and_not_the_images(backbone: nn.Module):
    broken = copy.deepcopy(backbone)
    with torch.no_grad():
        broken[0].weight.fill_(math.nan)  # pyright: ignore
    endless = nn.Sequential(backbone, Then(lambda z: z / 0))
    for each in (broken, endless):
        with pytest.raises(ValueError, match="backbone"):
            prepare_heads(each, TRAIN, [HeadPreparation(1)], **OPTIONS)


@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        ({"tau": -1}, ValueError, "tau.* -1"),
        ({"energy": 0.5}, ValueError, "1 and 0.5"),
        ({"tau": None}, ValueError, "None and None"),
        (
            {"tau": None, "energy": 0.5, "reinitialised_blocks": 1},
            ValueError,
            "reinitialised_blocks",
        ),
        ({"tau": 1.5}, TypeError, "tau.* 1.5"),
        ({"tau": True}, TypeError, "tau.* True"),
        ({"eps": 1.0}, ValueError, "eps.* 1.0"),
        ({"init_scale": math.nan}, ValueError, "init_scale.* nan"),
        ({"reinitialised_blocks": -1}, ValueError, "reinitialised_blocks.* -1"),
        ({"hidden": "12"}, TypeError, "hidden.* '12'"),
        ({"hidden": 5}, TypeError, "hidden.* 5"),
        ({"hidden": (1.7,)}, TypeError, "hidden.* 1.7"),
    ],
)
def test_preparation_out_of_range_is_refused(given: dict, error: type, named: str):
    with pytest.raises(error, match=named):
        HeadPreparation(**{"tau": 1} | given)


class Wrapped(nn.Module):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"features": images.flatten(1)}


@pytest.mark.parametrize(
    ("other", "train", "named"),
    [
        (Wrapped(), TRAIN, "dict"),
        (None, replace(TRAIN, images=TRAIN.images.permute(0, 2, 3, 1)), r"\(30, 8, 8, 3\)"),
        (None, replace(TRAIN, images=(TRAIN.images * 50).byte()), "uint8"),
        (None, (TRAIN.images, TRAIN.labels[:-1]), "30 images but 29"),
        (None, (TRAIN.images, TRAIN.labels * 0), "30 labels are 0"),
        (None, (TRAIN.images[:0], TRAIN.labels[:0]), "empty"),
        (None, (TRAIN.images * math.nan, TRAIN.labels), "NaN"),
        (None, 3, "int"),
    ],
    ids=["dict", "channels last", "bytes", "counts", "one class", "empty", "nan", "no data"],
)
def test_what_does_not_fit_ends_in_one_line(backbone: nn.Module, other, train, named: str):
    with pytest.raises((ValueError, TypeError), match=named) as caught:
        prepare_heads(other or backbone, train, [HeadPreparation(1)], **OPTIONS)
    assert "\n" not in str(caught.value)
