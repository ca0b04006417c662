"""Backbones: features of the stated size, from the stated weights."""

from pathlib import Path

import pytest
import torch
from torchvision import models

from taskhead.backbones import (
    Normalise,
    cifar_resnet18,
    extract_features,
    fingerprint,
    small_convnet,
    torchvision_backbone,
)

IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_features_have_the_stated_size_in_batches_of_any_size(monkeypatch: pytest.MonkeyPatch):
    backbone = small_convnet()
    features = extract_features(backbone, IMAGES)
    assert features.shape == (5, 64)
    assert not features.requires_grad
    monkeypatch.setattr("taskhead.backbones.forward_batches", lambda images: images.split(2))
    torch.testing.assert_close(extract_features(backbone, IMAGES), features)


@pytest.mark.parametrize("training", [True, False])
def test_extraction_is_in_eval_mode_and_leaves_the_backbone_as_it_was(training: bool):
    backbone, untouched = small_convnet().train(training), small_convnet().eval()
    with torch.no_grad():
        assert torch.equal(extract_features(backbone, IMAGES), untouched(IMAGES))
    assert backbone.training == training
    assert same_weights(backbone, untouched)


def test_seed_decides_the_backbone_and_nothing_else_does():
    before = torch.random.get_rng_state()
    assert same_weights(small_convnet(seed=2), small_convnet(seed=2))
    assert not same_weights(small_convnet(seed=2), small_convnet(seed=3))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier"),
        ("densenet121", "classifier"),
        ("googlenet", "fc"),
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


@pytest.mark.parametrize("name", ["1.weight", "1.running_mean"])
def test_fingerprint_changes_with_every_parameter_and_buffer(name: str):
    backbone = small_convnet()
    before = fingerprint(backbone)
    assert fingerprint(small_convnet()) == before
    backbone.state_dict()[name][0] += 1
    assert fingerprint(backbone) != before


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
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet19'; valid: .*resnet18"):
        torchvision_backbone("resnet19")
    with pytest.raises(ValueError, match="unknown weights of resnet18 'V3'; valid: DEFAULT, IMAGE"):
        torchvision_backbone("resnet18", weights="V3")
