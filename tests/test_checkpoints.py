"""Checkpoints load strictly; real ones are judged by their accuracy on their own task."""

import argparse
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import real
from problems import load_image_folder
from safetensors.torch import save_file
from torch import nn
from torchvision.models import VisionTransformer

from taskhead.method.evaluation import accuracy
from taskhead.method.features import extract_features
from taskhead.models.backbones import cifar_resnet
from taskhead.models.checkpoints import download, load_checkpoint
from taskhead.models.torchvision import torchvision_backbone


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nn.Linear(3, 2).state_dict()


def load(content, tmp_path: Path, **options) -> nn.Linear:
    torch.save(content, tmp_path / "a.pt")
    network = nn.Linear(3, 2)
    load_checkpoint(network, tmp_path / "a.pt", **options)
    return network


def behind(prefix: str, state: dict) -> dict:
    return {prefix + name: value for name, value in state.items()}


NEST = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {0: {}}}},
    "net": lambda s: {"net": s, "acc": 93.1},
    "EMA alone": lambda s: {"model_ema": s, "args": argparse.Namespace(lr=0.1)},
    "two levels": lambda s: {"checkpoint": {"student": {"weights": s}}, "best": np.float64(0.9)},
    "beside numbers": lambda s: {**s, "epoch": 3, 3: torch.ones(1)},
    "the same twice": lambda s: {"model": s, "ema": s},
}


@pytest.mark.parametrize("nest", NEST.values(), ids=NEST)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "my.own."])
def test_state_dict_is_found_under_any_key_and_behind_any_prefix(state, tmp_path, nest, prefix):
    network = load(nest(behind(prefix, state)), tmp_path)
    assert torch.equal(network.weight, state["weight"])
    assert torch.equal(network.bias, state["bias"])


def test_what_stands_beside_the_prefix_is_left_out_with_a_word(state, tmp_path, capsys):
    averaged = {"n_averaged": torch.tensor(5), "decoder.weight": torch.ones(9)}
    network = load(averaged | behind("module.", state), tmp_path)
    assert torch.equal(network.weight, state["weight"])
    assert "leaves out n_averaged, decoder.weight" in capsys.readouterr().err
    load(state, tmp_path)
    assert not capsys.readouterr().err


def test_averaged_and_compiled_models_of_pytorch_load(state, tmp_path):
    network = nn.Linear(3, 2)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    compiled = torch.compile(network)
    for wrapped in (averaged, compiled, nn.DataParallel(network)):
        assert torch.equal(load(wrapped.state_dict(), tmp_path).weight, network.weight)


def test_names_that_a_module_had_in_the_past_load(tmp_path):
    sizes = {"image_size": 32, "patch_size": 16, "num_layers": 1, "num_heads": 2}
    old, network = (VisionTransformer(**sizes, hidden_dim=8, mlp_dim=16) for _ in range(2))
    state = old.state_dict()
    for now, before in (("mlp.0", "mlp.linear_1"), ("mlp.3", "mlp.linear_2")):
        state = {name.replace(now, before): value for name, value in state.items()}
    torch.save(behind("model.", state), tmp_path / "a.pt")
    load_checkpoint(network, tmp_path / "a.pt")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in old.state_dict().items())


@pytest.mark.parametrize(
    "double",
    [
        lambda s, t: {"model": s, "model_ema": t},
        lambda s, t: behind("student.", s) | behind("teacher.", t),
    ],
)
def test_two_state_dicts_that_fit_are_named(state, tmp_path, double):
    other = {name: value + 1 for name, value in state.items()}
    with pytest.raises(ValueError, match=r"2 sets .*(model.*model_ema|student.*teacher)") as caught:
        load(double(state, other), tmp_path)
    assert "\n" not in str(caught.value)


def test_what_fits_best_is_said(tmp_path):
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    torch.save({"a": {"b.0.weight": torch.ones(2, 3), "c": torch.ones(1)}}, tmp_path / "a.pt")
    message = r"under \['a'\] behind 'b\.', is 1 of 4 tensors; 3 missing: 0.bias, 1.weight, 1.bias"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(network, tmp_path / "a.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_in_that_of_the_network(state, tmp_path, dtype):
    network = load({name: value.to(dtype) for name, value in state.items()}, tmp_path)
    assert network.weight.dtype == torch.float32
    torch.testing.assert_close(network.weight, state["weight"], atol=0.01, rtol=0.01)


def test_safetensors_load(state, tmp_path):
    save_file(behind("model.", state), tmp_path / "a.safetensors")
    network = nn.Linear(3, 2)
    load_checkpoint(network, tmp_path / "a.safetensors")
    assert torch.equal(network.weight, state["weight"])
    whole = (tmp_path / "a.safetensors").read_bytes()
    for cut in (9, len(whole) - 1):
        (tmp_path / "a.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"a\.safetensors is cut off"):
            load_checkpoint(network, tmp_path / "a.safetensors")


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
        (lambda s: {n: v * 0 for n, v in s.items()}, "zeros alone"),
        (lambda s: torch.ones(3), "state dict"),
        (lambda s: {"a": [s], "b": 1}, "state dict"),
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
