"""Backbones: features of the stated size, from the stated weights."""

import os
from pathlib import Path

import pytest
import torch
from torchvision import models

from taskhead.method.features import extract_features
from taskhead.models.pretraining import cifar_resnet18, small_convnet
from taskhead.models.torchvision import Normalise, torchvision_backbone, torchvision_names

SLOW = pytest.mark.skipif(
    os.environ.get("TASKHEAD_SLOW") != "1", reason="slow: set TASKHEAD_SLOW=1 to run it"
)


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_seed_decides_the_backbone_and_nothing_else_does():
    before = torch.random.get_rng_state()
    assert same_weights(small_convnet(seed=2), small_convnet(seed=2))
    assert not same_weights(small_convnet(seed=2), small_convnet(seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier"),
        ("densenet121", "classifier"),
    ],
)
def test_feature_is_what_the_classifier_is_given(name: str, classifier: str, tmp_path: Path):
    whole = models.get_model(name, weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = torchvision_backbone(name, weights=tmp_path / "weights.pth")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    preset = models.get_model_weights(name)["DEFAULT"].transforms()
    with torch.no_grad():
        normalised = Normalise(preset.mean, preset.std)(images)
        logits = getattr(whole, classifier)(extract_features(backbone, images))
        torch.testing.assert_close(logits, whole(normalised))


def test_squeezenet_feature_is_pooled(tmp_path: Path):
    whole = models.squeezenet1_1(weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = torchvision_backbone("squeezenet1_1", weights=tmp_path / "weights.pth")
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        expected = whole.features(backbone[0](images)).mean(dim=(2, 3))
        torch.testing.assert_close(extract_features(backbone, images), expected)


def test_default_weights_are_the_file_in_the_data_folder(tmp_path: Path, monkeypatch):
    whole = models.squeezenet1_1(weights=None)
    (tmp_path / "weights").mkdir()
    torch.save(whole.state_dict(), tmp_path / "weights" / "squeezenet1_1-imagenet.pth")
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    backbone = torchvision_backbone("squeezenet1_1")
    assert same_weights(backbone[1].features, whole.features)


@pytest.mark.parametrize("content", [b"", b"<html>403 Forbidden</html>"])
def test_file_in_the_cache_that_is_not_what_torchvision_publishes_is_named(
    content: bytes, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    file = tmp_path / "torch" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=file.name) as caught:
        torchvision_backbone("squeezenet1_1")
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == content


def test_normalisation_is_that_of_to_tensor_and_normalize():
    images = torch.tensor([[[[0]], [[255]], [[51]]]], dtype=torch.uint8)
    normalised = Normalise((0.5, 0.5, 0.2), (0.5, 0.25, 1.0))(images)
    torch.testing.assert_close(normalised.flatten(), torch.tensor([-1.0, 2.0, 0.0]))


def test_resnet18_with_cifar_stem_is_seeded():
    first, same, other = (cifar_resnet18(width=4, seed=seed) for seed in (0, 0, 1))
    assert same_weights(first, same)
    assert not same_weights(first, other)
    assert extract_features(first, torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape == (2, 32)


def test_unknown_backbone_and_weights_list_the_valid_ones():
    with pytest.raises(ValueError, match=r"'resnet19'; valid: .*resnet18"):
        torchvision_backbone("resnet19")
    with pytest.raises(ValueError, match=r"'V3'; valid: DEFAULT"):
        torchvision_backbone("resnet18", weights="V3")


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 75)])
def test_local_file_gives_the_features_of_torchvisions_own_loading(name, size, tmp_path: Path):
    loaded = {"transform_input": True, "aux_logits": True, "init_weights": False}
    whole = models.get_model(name, weights=None, **loaded).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = torchvision_backbone(name, weights=tmp_path / "weights.pth")
    assert same_weights(backbone, torchvision_backbone(name, weights=tmp_path / "weights.pth"))
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(
            whole.fc(extract_features(backbone, images)), whole(backbone[0](images))
        )


def size_before_the_classifier(network: torch.nn.Module) -> int:
    name = next(n for n in ("fc", "classifier", "head", "heads") if hasattr(network, n))
    for module in getattr(network, name).modules():
        if isinstance(module, torch.nn.Linear):
            return module.in_features
        if isinstance(module, torch.nn.Conv2d):
            return module.in_channels
    raise AssertionError(f"{name} has no layer with parameters")


@SLOW
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_every_model_gives_what_its_classifier_takes_after_pooling(tmp_path: Path):
    for name in torchvision_names():
        whole = models.get_model(name, weights=None)
        torch.save(whole.state_dict(), tmp_path / "weights.pth")
        backbone = torchvision_backbone(name, weights=tmp_path / "weights.pth")
        preset = models.get_model_weights(name)["DEFAULT"].transforms()
        size = getattr(whole, "image_size", preset.crop_size[0])  # vit_h_14's weights want more
        images = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
        features = extract_features(backbone, images)
        assert features.shape == (1, size_before_the_classifier(whole)), name


CLASSIFIERS = {
    "as it was": (lambda s: s, ""),
    "ten classes": (
        lambda s: s | {"fc.weight": torch.ones(10, 512), "fc.bias": torch.ones(10)},
        "leaves out fc.weight, fc.bias",
    ),
    "none": (
        lambda s: {n: v for n, v in s.items() if not n.startswith("fc.")},
        "does without fc.weight, fc.bias",
    ),
    "of two layers": (
        lambda s: {n.replace("fc.", "fc.1."): v for n, v in s.items()},
        "does without fc.weight, fc.bias",
    ),
}


@pytest.mark.parametrize(("change", "said"), CLASSIFIERS.values(), ids=CLASSIFIERS)
def test_checkpoint_loads_whatever_its_classifier(change, said: str, tmp_path: Path, capsys):
    whole = models.resnet18(weights=None)
    state = change(whole.state_dict())
    torch.save(
        {"net": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "a.pth"
    )
    backbone = torchvision_backbone("resnet18", weights=tmp_path / "a.pth")
    whole.fc = torch.nn.Identity()
    assert same_weights(whole, backbone[1])
    error = capsys.readouterr().err
    assert said in error.replace("model.", "") if said else not error


@pytest.mark.parametrize("prefix", ["", "module."])
def test_versions_of_modules_are_not_asked_of_a_file(prefix: str, tmp_path: Path):
    whole = models.mnasnet0_5(weights=None)
    state = {prefix + name: value for name, value in whole.state_dict().items()}
    torch.save(state, tmp_path / "a.pth")
    backbone = torchvision_backbone("mnasnet0_5", weights=tmp_path / "a.pth")
    assert same_weights(whole.layers, backbone[1].layers)


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_checkpoint_of_another_network_is_called_what_it_is(prefix: str, tmp_path: Path):
    state = models.resnet34(weights=None, num_classes=7).state_dict()
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"96 surplus: layer1.2.*; it looks like a resnet34$"):
        torchvision_backbone("resnet18", weights=tmp_path / "a.pth")


def test_checkpoint_of_one_layer_is_called_nothing(tmp_path: Path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"0 of 10 tensors; 10 missing"):
        torchvision_backbone("alexnet", weights=tmp_path / "a.pth")
