"""Pretrained backbones: trained once through the project's own loop, or read from a file."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import prepare_heads
from taskhead.models.backbones import pretrained_backbone
from taskhead.models.checkpoints import file_sha256
from taskhead.models.pretraining import (
    RECIPES,
    checkpoint_path,
    cifar_resnet18,
    pretrain,
    small_convnet,
)
from taskhead.tasks.datasets import dataset_task
from taskhead.tasks.task import Draw

SMALL_DRAW = Draw(seed=0, image_size=32, train_per_class=4, val_per_class=2)
QUICK = {
    "small_convnet": replace(RECIPES["small_convnet"], epochs=1),
    "resnet18-cifar-w16": replace(
        RECIPES["resnet18-cifar-w16"],
        build=partial(cifar_resnet18, width=8),  # below 8, oneDNN's AVX2 kernels corrupt memory
        load_source=lambda: dataset_task("cifar10", SMALL_DRAW),
        epochs=1,
    ),
}


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def quick(mini_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the recipes quick, in a data folder where nothing has been trained yet."""
    for name, recipe in QUICK.items():
        monkeypatch.setitem(RECIPES, name, recipe)
    for name in ("cifar10", "weights"):
        (tmp_path / name).symlink_to(mini_data / name)
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def forbid_pretraining(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def forbid() -> None:
        for name, recipe in RECIPES.items():
            without_data = replace(recipe, load_source=lambda: pytest.fail("pretrained"))
            monkeypatch.setitem(RECIPES, name, without_data)

    return forbid


@pytest.mark.parametrize("name", QUICK)
def test_pretraining_runs_once(quick: Path, forbid_pretraining, name: str):
    first = pretrained_backbone(name)
    assert not first.training
    forbid_pretraining()
    assert same_weights(pretrained_backbone(name), first)
    path = checkpoint_path(name)
    assert sorted((quick / "pretrained").iterdir()) == [path.with_suffix(".json"), path]
    note = json.loads(path.with_suffix(".json").read_text())
    assert note["source"] == RECIPES[name].source
    assert (note["epochs"], note["best_epoch"]) == (1, 1)
    assert 0 <= note["test_accuracy"] <= 1
    assert note["sha256"] == file_sha256(path)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text("{"),
        lambda path: path.with_suffix(".json").write_text("[1]"),
        lambda path: path.with_suffix(".json").write_text("[" * 10**5),
    ],
    ids=["one bit", "cut off", "no note", "note cut off", "list", "deep"],
)
def test_damaged_checkpoint_is_trained_anew_with_a_line(capsys, quick: Path, damage):
    expected, path = pretrained_backbone("small_convnet"), checkpoint_path("small_convnet")
    before = path.read_bytes()
    damage(path)
    capsys.readouterr()
    assert same_weights(pretrained_backbone("small_convnet"), expected)
    first, *_ = capsys.readouterr().err.splitlines()
    assert str(path) in first
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".json"), path]


@pytest.mark.parametrize("name", QUICK)
def test_pretraining_changes_the_backbone_the_same_way_every_time(quick: Path, name: str):
    first, again = (pretrain(RECIPES[name], quick / f"{i}.pt", "cpu").best[0] for i in range(2))
    assert same_weights(first, again)
    assert not same_weights(first, RECIPES[name].build())


def test_threads_do_not_decide_the_weights_and_are_given_back(quick: Path):
    one = pretrain(RECIPES["small_convnet"], quick / "one.pt", "cpu").best[0]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = pretrain(RECIPES["small_convnet"], quick / "two.pt", "cpu").best[0]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert same_weights(one, two)


def test_augmentation_of_the_recipe_is_used(quick: Path):
    recipe = RECIPES["resnet18-cifar-w16"]
    plain, augmented = (
        pretrain(replace(recipe, augment=augment), quick / "a.pt", "cpu").last[0]
        for augment in (None, recipe.augment)
    )
    assert not same_weights(plain, augmented)


def test_folder_that_is_full_is_seen_before_training_and_left_empty(
    quick: Path, forbid_pretraining, monkeypatch
):
    forbid_pretraining()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match="pretrained"):
        pretrained_backbone("small_convnet")
    assert not (quick / "pretrained").exists()


def test_pretraining_that_fails_leaves_no_file(quick: Path, monkeypatch):
    def fail() -> None:
        raise ValueError("no images")

    recipe = replace(RECIPES["small_convnet"], load_source=fail)
    monkeypatch.setitem(RECIPES, "small_convnet", recipe)
    with pytest.raises(ValueError, match="no images"):
        pretrained_backbone("small_convnet")
    assert list((quick / "pretrained").iterdir()) == []


def test_another_recipe_has_another_checkpoint(monkeypatch: pytest.MonkeyPatch):
    recipe = RECIPES["small_convnet"]
    paths = [checkpoint_path("small_convnet")]
    for change in (
        {"epochs": 1},
        {"lr": 0.01},
        {"batch_size": 5},
        {"augment": "crop-flip"},
        {"source": "other digits"},
        {"build": lambda: small_convnet().append(nn.ReLU())},
    ):
        monkeypatch.setitem(RECIPES, "small_convnet", replace(recipe, **change))
        paths.append(checkpoint_path("small_convnet"))
    assert len(set(paths)) == 7


def test_pretrained_features_carry_the_source_task():
    source = RECIPES["small_convnet"].load_source()
    (probed,) = prepare_heads(
        pretrained_backbone("small_convnet"), source.test, [HeadPreparation(20)], lr=0.05
    )
    assert probed.train_accuracy > 0.95


WEIGHTS = {
    "resnet20": "weights/resnet20-12fca82f.th",
    "squeezenet1_1": "weights/squeezenet1_1-imagenet.pth",
}


@pytest.mark.parametrize("name", ["small_convnet", *WEIGHTS])
def test_weights_of_a_local_file_take_the_place_of_the_default(quick: Path, name: str):
    default = pretrained_backbone(name)
    file = quick / WEIGHTS[name] if name in WEIGHTS else checkpoint_path(name)
    content = torch.load(file, weights_only=True)
    state = content.get("state_dict", content)
    torch.save({key: 2 * value for key, value in state.items()}, quick / "given.pt")
    given = pretrained_backbone(name, weights=str(quick / "given.pt"))
    for ours, theirs in zip(given.parameters(), default.parameters(), strict=True):
        assert torch.equal(ours, 2 * theirs)


def test_given_weights_spare_the_pretraining(quick: Path, forbid_pretraining):
    forbid_pretraining()
    torch.save(small_convnet(seed=5).state_dict(), quick / "given.pt")
    loaded = pretrained_backbone("small_convnet", weights=str(quick / "given.pt"))
    assert same_weights(loaded, small_convnet(seed=5))
    assert not loaded.training


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("small_convnet", "file"),
        ("resnet20", "file"),
        ("resnet18-cifar", "file"),
        ("squeezenet1_1", "IMAGENET1K_V1"),
    ],
)
def test_unknown_weights_list_the_valid_ones(name: str, valid: str):
    with pytest.raises(ValueError, match=rf"'V9'.*{valid}"):
        pretrained_backbone(name, weights="V9")


def test_weights_of_another_network_name_the_file(mini_data: Path):
    file = mini_data / WEIGHTS["squeezenet1_1"]
    with pytest.raises(ValueError, match=file.name):
        pretrained_backbone("resnet20", weights=str(file))


def test_unknown_backbone_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"'resnet19'; valid: .*resnet20"):
        pretrained_backbone("resnet19")


def test_checkpoint_of_the_bare_network_loads_with_any_classifier(tmp_path: Path):
    whole = cifar_resnet18(width=16, seed=7)[1].state_dict()
    classifier = {"fc.weight": torch.ones(7, 128), "fc.bias": torch.ones(7)}
    torch.save(whole | classifier, tmp_path / "a.pt")
    loaded = pretrained_backbone("resnet18-cifar-w16", weights=tmp_path / "a.pt")[1].state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in whole.items())
