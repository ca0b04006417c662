"""Pretrained backbones: trained once through the project's own loop, or read from a file."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from taskhead import pretraining
from taskhead.backbones import cifar_resnet18, extract_features, fingerprint, small_convnet
from taskhead.heads import make_head
from taskhead.pretraining import (
    PRETRAINING_COLUMNS,
    RECIPES,
    checkpoint_path,
    compute_pretraining,
    plan_pretraining,
    pretrain,
    pretrained_backbone,
)
from taskhead.probing import probe_head
from taskhead.tasks import Draw, dataset_task

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
        monkeypatch.setattr(pretraining, "pretrain", lambda *_: pytest.fail("pretrained"))

    return forbid


@pytest.mark.parametrize("name", QUICK)
def test_pretraining_runs_once(quick: Path, forbid_pretraining, name: str):
    first = pretrained_backbone(name)
    assert not first.training
    forbid_pretraining()
    assert same_weights(pretrained_backbone(name), first)
    assert list((quick / "pretrained").iterdir()) == [checkpoint_path(name)]


@pytest.mark.parametrize("name", QUICK)
def test_pretraining_study_leaves_the_checkpoint_that_is_used(
    quick: Path, forbid_pretraining, name: str
):
    (run,) = plan_pretraining("any", "smoke", [name])
    ((row,),) = compute_pretraining([run], torch.device("cpu"))
    forbid_pretraining()
    assert row["backbone_sha256"] == fingerprint(pretrained_backbone(name))
    assert set(row) == set(PRETRAINING_COLUMNS)
    assert row["best_epoch"] == 1


@pytest.mark.parametrize("name", QUICK)
def test_pretraining_changes_the_backbone_the_same_way_every_time(quick: Path, name: str):
    first, again = (pretrain(RECIPES[name], "cpu") for _ in range(2))
    assert same_weights(first.best_backbone, again.best_backbone)
    assert first.test_accuracy == again.test_accuracy
    assert not same_weights(first.best_backbone, RECIPES[name].build())


def test_pretraining_has_one_thread_whoever_asks_first(quick: Path, monkeypatch):
    threads = []

    def spy(*arguments):
        threads.append(torch.get_num_threads())
        return pretrain(*arguments)

    monkeypatch.setattr(pretraining, "pretrain", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pretrained_backbone("small_convnet")
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


def test_augmentation_of_the_recipe_is_used(quick: Path):
    recipe = RECIPES["resnet18-cifar-w16"]
    plain, augmented = (
        pretrain(replace(recipe, augment=augment), "cpu") for augment in ("none", recipe.augment)
    )
    assert not same_weights(plain.backbone, augmented.backbone)


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
    features = extract_features(pretrained_backbone("small_convnet"), source.test.images)
    head = make_head(features.shape[1], source.n_classes)
    (probed,) = probe_head(features, source.test.labels, head, taus=[20], lr=0.05)
    assert probed.train_accuracy > 0.95


def test_plan_has_one_run_for_each_backbone_with_its_recipe():
    first, second = plan_pretraining("digits", "gpu", ["small_convnet", "resnet18-cifar"])
    assert (first["backbone"], first["epochs"], first["augment"]) == ("small_convnet", 60, "none")
    assert (second["backbone"], second["epochs"]) == ("resnet18-cifar", 200)
    assert second["source"] == RECIPES["resnet18-cifar"].source


def test_backbone_without_recipe_cannot_be_pretrained():
    with pytest.raises(ValueError, match="recipe 'resnet20'; valid: small_convnet, resnet18-cifar"):
        plan_pretraining("cifar10-to-stl10", "smoke", ["small_convnet", "resnet20"])


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
        ("small_convnet", "valid: DEFAULT or a local file"),
        ("resnet20", "valid: DEFAULT or a local file"),
        ("resnet18-cifar", "valid: DEFAULT or a local file"),
        ("squeezenet1_1", "valid: DEFAULT, IMAGENET1K_V1, .*a local file"),
    ],
)
def test_unknown_weights_list_the_valid_ones(name: str, valid: str):
    with pytest.raises(ValueError, match=f"unknown weights .*'V9'.*{valid}"):
        pretrained_backbone(name, weights="V9")


def test_weights_of_another_network_name_the_file(mini_data: Path):
    file = mini_data / WEIGHTS["squeezenet1_1"]
    with pytest.raises(ValueError, match=f"checkpoint {file} does not fit the network"):
        pretrained_backbone("resnet20", weights=str(file))


def test_unknown_backbone_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"backbone 'resnet19'; valid: small_convnet, .*resnet20"):
        pretrained_backbone("resnet19")
