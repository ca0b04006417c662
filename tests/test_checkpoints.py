"""Checkpoints load strictly; real ones are judged by their accuracy on their own task."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from conftest import real
from problems import load_image_folder
from torch import nn

from taskhead.method.evaluation import accuracy
from taskhead.method.features import extract_features
from taskhead.models.backbones import cifar_resnet
from taskhead.models.checkpoints import download, load_checkpoint
from taskhead.models.torchvision import torchvision_backbone


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nn.Linear(3, 2).state_dict()


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrapped_and_prefixed_files_load(state, tmp_path, wrap, prefix):
    torch.save(wrap({prefix + name: value for name, value in state.items()}), tmp_path / "a.pt")
    network = nn.Linear(3, 2)
    load_checkpoint(network, tmp_path / "a.pt")
    assert torch.equal(network.weight, state["weight"])


def test_files_from_before_batches_were_counted_load(tmp_path):
    state = dict(nn.BatchNorm1d(3).state_dict())
    del state["num_batches_tracked"]
    torch.save(state, tmp_path / "a.pt")
    load_checkpoint(nn.BatchNorm1d(3), tmp_path / "a.pt")


def test_ignored_prefixes_may_be_there(state, tmp_path):
    torch.save({**state, "fc.weight": torch.ones(1)}, tmp_path / "a.pt")
    load_checkpoint(nn.Linear(3, 2), tmp_path / "a.pt", ignore=("fc.",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"weight": s["weight"]}, "bias"),
        (lambda s: {**s, "scale": torch.ones(1)}, "scale"),
        (lambda s: {**s, "bias": torch.ones(5)}, "bias"),
        (lambda s: {**s, "bias": s["bias"] * torch.nan}, "bias"),
        (lambda s: {**s, "epoch": 3}, "state dict"),
        (lambda s: {**s, 3: torch.ones(1)}, "state dict"),
        (lambda s: torch.ones(3), "state dict"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(state, tmp_path, change, message):
    torch.save(change(state), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(nn.Linear(3, 2), tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_network_stays_as_it_is_where_a_checkpoint_is_broken(state, tmp_path):
    torch.save({**state, "bias": state["bias"] * torch.nan}, tmp_path / "a.pt")
    network = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="bias"):
        load_checkpoint(network, tmp_path / "a.pt")
    assert bool(network.bias.isfinite().all())


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no checkpoint", b"<html>403 Forbidden</html>", b"PK\x03\x04 cut off"],
)
def test_damaged_and_missing_files_are_named_in_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt") as caught:
        load_checkpoint(nn.Linear(3, 2), tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        (lambda network, path: torch.save(network, path), "Linear"),
        (lambda network, path: torch.jit.script(network).save(path), "TorchScript"),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit", "ignore:.*TorchScript archive")
def test_intact_file_of_another_kind_is_called_what_it_is(tmp_path, save, kind):
    save(nn.Linear(3, 2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=kind):
        load_checkpoint(nn.Linear(3, 2), tmp_path / "a.pt")


def published(folder: Path, content: bytes, digits: str) -> str:
    """Write a file that says its own hash, and return its address."""
    file = folder / f"net-{digits}.pt"
    file.write_bytes(content)
    return file.as_uri()


def test_download_happens_once_and_needs_no_folder_to_write_to_then(tmp_path):
    content = b"weights"
    address = published(tmp_path, content, hashlib.sha256(content).hexdigest()[:8])
    file = download(address, tmp_path / "cache")
    assert file.read_bytes() == content
    (tmp_path / file.name).unlink()
    assert download(address, tmp_path / "cache") == file
    assert list(file.parent.iterdir()) == [file]


def test_download_of_another_content_leaves_nothing_behind(tmp_path):
    address = published(tmp_path, b"<html>", "00000000")
    for _ in range(2):
        with pytest.raises(ValueError, match="net-00000000"):
            download(address, tmp_path / "cache")
        assert list((tmp_path / "cache").iterdir()) == []
        (tmp_path / "net-00000000.pt").unlink(missing_ok=True)


def test_damaged_download_is_named_and_left_for_its_owner_to_remove(tmp_path):
    content = b"weights"
    address = published(tmp_path, content, hashlib.sha256(content).hexdigest()[:8])
    file = download(address, tmp_path / "cache")
    file.write_bytes(b"weightt")
    with pytest.raises(ValueError, match=file.name):
        download(address, tmp_path / "cache")
    assert file.read_bytes() == b"weightt"


def test_code_in_a_file_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "attacked"),))

    torch.save(Attack(), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="mkdir"):
        load_checkpoint(nn.Linear(3, 2), tmp_path / "a.pt")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize(
    ("depth", "file"), [(20, "resnet20-12fca82f.th"), (56, "resnet56-4bfd9763.th")]
)
def test_cifar_checkpoint_scores_on_cifar10(depth, file):
    weights = real("weights", file)
    test, _ = load_image_folder(real("cifar10", "test"), image_size=32, per_class=100)
    classifier = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    features = extract_features(cifar_resnet(depth, weights=weights), test.images)
    logits = features @ classifier["module.linear.weight"].T + classifier["module.linear.bias"]
    assert accuracy(logits, test.labels) > 0.90


def test_squeezenet_features_separate_real_photographs():
    weights = real("weights", "squeezenet1_1-imagenet.pth")
    photos, _ = load_image_folder(real("pacs", "photo"), image_size=96, per_class=20)
    features = extract_features(
        torchvision_backbone("squeezenet1_1", weights=weights), photos.images
    )
    features = nn.functional.normalize(features)
    nearest = (features @ features.T - 2 * torch.eye(len(features))).argmax(dim=1)
    # Nearest neighbours share the class: 1 in 7 by chance.
    assert float((photos.labels[nearest] == photos.labels).double().mean()) > 0.6
