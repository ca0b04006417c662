"""BatchNorm drift: train mode moves running statistics and nothing else, eval mode nothing."""

import copy
from itertools import pairwise

import pytest
import torch
from problems import changed, probe_at_taus
from torch import nn

from taskhead.experiments.plan import make_plan
from taskhead.method.batches import LabelledImages, shuffled_batches
from taskhead.method.features import extract_features
from taskhead.method.heads import make_head
from taskhead.method.through_backbone import probe_through_backbone
from taskhead.models.pretraining import small_convnet

RUN = {"lr": 0.1, "batch_size": 8, "seed": 3}
TAUS = [0, 1, 3]


def images(n: int = 30, seed: int = 0) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    return LabelledImages(
        2 * torch.rand(n, 1, 8, 8, generator=generator) + 0.5, torch.arange(n) % 3
    )


def probed(backbone: nn.Module, bn_mode: str, taus: list[int]) -> list[tuple[nn.Module, nn.Module]]:
    n_features = extract_features(backbone, images().images).shape[1]
    head = make_head(n_features, 3)
    found = probe_through_backbone(backbone, head, images(), taus=taus, bn_mode=bn_mode, **RUN)
    return [(drifted, standing.head) for drifted, standing in found]


def test_head_probed_in_eval_mode_is_that_of_probing():
    backbone = small_convnet().eval()
    z0 = extract_features(backbone, images().images)
    heads = probe_at_taus(z0, images().labels, make_head(z0.shape[1], 3), taus=TAUS, **RUN)
    for (_, head), alone in zip(probed(backbone, "eval", TAUS), heads, strict=True):
        for ours, theirs in zip(head.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_features_stay_where_they_were_in_eval_mode():
    backbone = small_convnet()
    z0 = extract_features(backbone, images().images)
    for drifted, _ in probed(backbone, "eval", TAUS):
        assert torch.equal(extract_features(drifted, images().images), z0)


def test_train_mode_moves_running_statistics_alone():
    backbone = small_convnet()
    before = copy.deepcopy(backbone.state_dict())
    parameters = {name for name, _ in backbone.named_parameters()}
    (same, _), *later = probed(backbone, "train", TAUS)
    assert not changed(same, before)
    for drifted, _ in later:
        assert changed(drifted, before) == set(before) - parameters


def test_features_drift_further_with_every_snapshot_in_train_mode():
    backbone = small_convnet()
    z0 = extract_features(backbone, images().images)
    distances = [
        float((extract_features(drifted, images().images) - z0).norm())
        for drifted, _ in probed(backbone, "train", TAUS)
    ]
    assert distances[0] == 0
    assert all(earlier < later for earlier, later in pairwise(distances))


def test_running_statistics_are_the_exponential_average_over_batches():
    backbone = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    ((drifted, _),) = probed(backbone, "train", [1])
    mean, variance = torch.zeros(1), torch.ones(1)
    for batch in shuffled_batches(30, 8, torch.Generator().manual_seed(RUN["seed"]), "cpu"):
        pixels = images().images[batch]
        mean = 0.9 * mean + 0.1 * pixels.mean()
        variance = 0.9 * variance + 0.1 * pixels.var()
    state = drifted.state_dict()
    torch.testing.assert_close(state["0.running_mean"], mean)
    torch.testing.assert_close(state["0.running_var"], variance)
    assert state["0.num_batches_tracked"] == 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_network_of_the_caller_is_untouched(bn_mode: str, training: bool):
    backbone, head = small_convnet().train(training), make_head(64, 3)
    before = copy.deepcopy(backbone.state_dict()), copy.deepcopy(head.state_dict())
    for _ in probe_through_backbone(backbone, head, images(), taus=TAUS, bn_mode=bn_mode, **RUN):
        pass
    assert not changed(backbone, before[0])
    assert not changed(head, before[1])
    assert backbone.training == training


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_later_probing_leaves_earlier_snapshots_alone(bn_mode: str):
    (early, early_head), _ = probed(small_convnet(), bn_mode, [1, 3])
    ((alone, alone_head),) = probed(small_convnet(), bn_mode, [1])
    assert not changed(early, alone.state_dict())
    assert not changed(early_head, alone_head.state_dict())


def test_random_state_is_left_alone():
    backbone = small_convnet()
    before = torch.random.get_rng_state()
    probed(backbone, "train", TAUS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_steps_are_those_that_were_taken_where_a_last_image_joins_the_batch_before():
    found = probe_through_backbone(
        small_convnet(), make_head(64, 3), images(31), taus=[2], **RUN | {"batch_size": 30}
    )
    ((_, standing),) = found
    assert (standing.epochs, standing.steps) == (2, 2)


@pytest.mark.parametrize(
    ("study", "option"),
    [
        ("batchnorm_drift", {"dropout": True}),
        ("batchnorm_drift", {"reinitialised_blocks": 1}),
        ("one_step", {"ft_eps": 0.1}),
        ("one_step", {"ft_head_lr": 0.1}),
        ("one_step", {"optimiser": "adamw"}),
        ("dynamics", {"ft_eps": 0.1}),
    ],
)
def test_what_a_study_cannot_do_is_refused_before_a_row_claims_it(study: str, option: dict):
    plan = make_plan(study, setting="digits", preset="smoke", options=option)
    unit = plan.kind.units(plan.runs)[0]
    with pytest.raises(ValueError, match=next(iter(option))):
        plan.kind.compute(plan.inputs, unit)
