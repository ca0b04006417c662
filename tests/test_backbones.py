"""Backbones: features of the stated size, and pretraining that runs once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from taskhead import pretraining
from taskhead.backbones import DIGITS_FEATURES, extract_features, small_convnet
from taskhead.heads import make_head
from taskhead.pretraining import checkpoint_path, pretrained_backbone
from taskhead.probing import probe_head
from taskhead.settings import DIGITS

QUICK = replace(DIGITS, pretraining=replace(DIGITS.pretraining, epochs=1))
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_features_have_the_stated_size_in_batches_of_any_size():
    backbone = small_convnet()
    features = extract_features(backbone, IMAGES)
    assert features.shape == (5, DIGITS_FEATURES)
    assert not features.requires_grad
    torch.testing.assert_close(extract_features(backbone, IMAGES, batch_size=2), features)


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


def test_pretraining_runs_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    first = pretrained_backbone(QUICK, "cpu")
    assert not first.training
    monkeypatch.setattr(pretraining, "pretrain", lambda *_: pytest.fail("pretrained again"))
    assert same_weights(pretrained_backbone(QUICK, "cpu"), first)
    assert [file.suffix for file in (tmp_path / "pretrained").iterdir()] == [".pt"]


def test_another_recipe_has_another_checkpoint():
    slower = replace(DIGITS, pretraining=replace(DIGITS.pretraining, lr=0.01))
    wider = replace(DIGITS, build_backbone=lambda: small_convnet().append(torch.nn.ReLU()))
    assert len({checkpoint_path(setting) for setting in (DIGITS, QUICK, slower, wider)}) == 4


def test_pretrained_features_carry_the_source_task():
    source = DIGITS.pretraining.load_source()
    features = extract_features(pretrained_backbone(DIGITS, "cpu"), source.test.images)
    head = make_head(DIGITS_FEATURES, source.n_classes)
    (probed,) = probe_head(features, source.test.labels, head, taus=[20], lr=0.05)
    assert probed.train_accuracy > 0.95
