"""Head preparation: what each knob does, what is measured, and what is called of no use."""

import math
from dataclasses import replace

import pytest
import torch
from problems import Then, changed, floor_of_smoothing, probe_at_taus, three_classes, weights
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.method.energy import average_initial_energy
from taskhead.method.features import extract_features
from taskhead.method.finetuning import finetune
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import last_layer, last_layer_norm, make_head
from taskhead.method.preparation import prepare_heads
from taskhead.method.prepared import EnergyNotReached
from taskhead.method.seeds import stream
from taskhead.models.resnets import CifarResNet

OPTIONS = {"lr": 0.1, "batch_size": 8, "seed": 3}


TRAIN, VAL = three_classes(30, 0), three_classes(12, 1)


def test_measures_are_those_of_the_head_on_the_images_as_they_are(backbone: nn.Module):
    for prepared in prepare_heads(
        backbone, TRAIN, [HeadPreparation(tau) for tau in (0, 4)], val=VAL, **OPTIONS
    ):
        features = [extract_features(backbone, part.images) for part in (TRAIN, VAL)]
        with torch.no_grad():
            train, val = map(prepared.head, features)
        assert prepared.aie == average_initial_energy(train, TRAIN.labels)
        assert prepared.train_loss == float(cross_entropy(train, TRAIN.labels))
        assert prepared.val_loss == float(cross_entropy(val, VAL.labels))
        assert prepared.train_accuracy == float((train.argmax(1) == TRAIN.labels).double().mean())
        assert prepared.val_accuracy == float((val.argmax(1) == VAL.labels).double().mean())
        assert prepared.last_layer_norm == last_layer_norm(prepared.head)
        assert (prepared.outcome, prepared.reason) == ("done", None)


def test_preparations_come_back_in_their_order_and_as_if_alone(backbone: nn.Module):
    asked = [
        HeadPreparation(tau=4, eps=0.2),
        HeadPreparation(tau=0),
        HeadPreparation(tau=2, init_scale=0.0),
        HeadPreparation(tau=4, hidden=(5,)),
        HeadPreparation(tau=2),
    ]
    together = prepare_heads(backbone, TRAIN, asked, **OPTIONS)
    assert [prepared.preparation for prepared in together] == asked
    assert [prepared.tau for prepared in together] == [4, 0, 2, 4, 2]
    for ours, preparation in zip(together, asked, strict=True):
        (alone,) = prepare_heads(backbone, TRAIN, [preparation], **OPTIONS)
        torch.testing.assert_close(weights(ours.head), weights(alone.head), rtol=1e-5, atol=1e-6)
        assert ours.aie == pytest.approx(alone.aie, rel=1e-5)
        assert ours.val_accuracy is ours.val_loss is None


def test_a_shared_trajectory_changes_no_bit(backbone: nn.Module):
    taus = [0, 2, 5]
    shared = prepare_heads(backbone, TRAIN, [HeadPreparation(tau) for tau in taus], **OPTIONS)
    for tau, prepared in zip(taus, shared, strict=True):
        (alone,) = prepare_heads(backbone, TRAIN, [HeadPreparation(tau)], **OPTIONS)
        assert torch.equal(weights(prepared.head), weights(alone.head))
        assert prepared.aie == alone.aie


def test_head_is_that_of_probing_on_cached_features(backbone: nn.Module):
    (prepared,) = prepare_heads(backbone, TRAIN, [HeadPreparation(3, eps=0.1)], **OPTIONS)
    z0 = extract_features(backbone, TRAIN.images)
    options = OPTIONS | {"seed": stream(3, "probing")}
    start = make_head(6, 3, seed=stream(3, "head"))
    (head,) = probe_at_taus(z0, TRAIN.labels, start, taus=[3], eps=0.1, **options)
    assert torch.equal(weights(prepared.head), weights(head))


def test_longer_probing_leaves_less_energy_down_to_the_floor_of_smoothing():
    data = torch.eye(3), torch.arange(3)
    plain, smooth = (
        prepare_heads(
            nn.Identity(),
            data,
            [HeadPreparation(tau, eps=eps) for tau in (0, 3, 30, 400)],
            lr=4.0,
        )
        for eps in (0.0, 0.2)
    )
    energies = [prepared.aie for prepared in plain]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.01
    assert smooth[-1].aie == pytest.approx(floor_of_smoothing(0.2, 3), abs=1e-4)


@pytest.mark.parametrize("lr", ["auto", 0.05])
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_energies_are_reached_whatever_the_rate(backbone: nn.Module, lr, hidden: tuple):
    asked = [HeadPreparation(energy=e, hidden=hidden) for e in (0.6, 0.45)]
    asked += [HeadPreparation(tau=0, hidden=hidden)]
    *reached, start = prepare_heads(backbone, TRAIN, asked, val=VAL, lr=lr, batch_size=8)
    assert [each.aie for each in reached] == pytest.approx([0.6, 0.45], abs=2e-4)
    assert [each.outcome for each in reached] == ["done", "done"]
    assert all(each.reached for each in (*reached, start))
    assert 0 == start.steps < reached[0].steps <= reached[1].steps
    assert reached[0].tau == reached[0].steps / 4


def test_energy_out_of_reach_names_start_and_floor_and_keeps_the_others(backbone: nn.Module):
    asked = [HeadPreparation(energy=e, eps=0.5) for e in (0.7, 0.3)]
    with pytest.raises(EnergyNotReached, match=r"0\.3 .* from 0\.\d+ to 0\.\d+") as caught:
        prepare_heads(backbone, TRAIN, asked, batch_size=8)
    kept, lost = caught.value.prepared
    assert (kept.reached, lost.reached, lost.outcome) == (True, False, "unreached")
    assert lost.aie > floor_of_smoothing(0.5, 3) - 0.01
    with pytest.raises(EnergyNotReached, match=r"1\.2 .* above 0\.\d+"):
        prepare_heads(backbone, TRAIN, [HeadPreparation(energy=1.2)], batch_size=8)


def test_scaled_features_need_no_other_rate_or_head(backbone: nn.Module):
    asked = [HeadPreparation(energy=0.4, init_scale=0)]
    (plain,), (scaled,) = (
        prepare_heads(each, TRAIN, asked, batch_size=8)
        for each in (backbone, nn.Sequential(backbone, Then(lambda z: 1000 * z)))
    )
    assert scaled.lr == pytest.approx(plain.lr, rel=1e-4)
    torch.testing.assert_close(
        1000 * scaled.head[0].weight, plain.head[0].weight, rtol=1e-3, atol=1e-4
    )


def test_train_mode_measures_energy_by_batch_and_keeps_the_statistics(backbone: nn.Module):
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    (frozen,), (batched,) = (
        prepare_heads(backbone, TRAIN, [HeadPreparation(4)], bn_mode=mode, **OPTIONS)
        for mode in ("eval", "train")
    )
    assert frozen.aie == frozen.aie_clean
    assert batched.aie != batched.aie_clean
    assert not changed(backbone, before)


def test_preparations_may_come_from_a_generator(backbone: nn.Module):
    taus = [1, 2]
    prepared = prepare_heads(backbone, TRAIN, (HeadPreparation(tau) for tau in taus), **OPTIONS)
    assert [each.tau for each in prepared] == taus


def test_gradients_may_be_off_around_the_call(backbone: nn.Module):
    with torch.no_grad():
        (prepared,) = prepare_heads(backbone, TRAIN, [HeadPreparation(2)], **OPTIONS)
        finetune(backbone, prepared.head, TRAIN, VAL, epochs=1, lr=0.01)
    (again,) = prepare_heads(backbone, TRAIN, [HeadPreparation(2)], **OPTIONS)
    assert torch.equal(weights(prepared.head), weights(again.head))


def test_zero_head_starts_from_uniform_predictions(backbone: nn.Module):
    (prepared,) = prepare_heads(backbone, TRAIN, [HeadPreparation(0, init_scale=0)], **OPTIONS)
    assert prepared.aie == pytest.approx(math.sqrt(2 / 3), abs=1e-12)


def test_hidden_layers_make_an_mlp(backbone: nn.Module):
    (prepared,) = prepare_heads(backbone, TRAIN, [HeadPreparation(1, hidden=(5, 7))], **OPTIONS)
    assert [tuple(layer.weight.shape) for layer in prepared.head[::2]] == [(5, 6), (7, 5), (3, 7)]


def test_reinitialised_blocks_are_drawn_anew_and_probed_with_the_head():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pretrained = CifarResNet(20).eval()
    before = {name: value.clone() for name, value in pretrained.state_dict().items()}
    asked = [HeadPreparation(tau, reinitialised_blocks=1) for tau in (0, 1)]
    fresh, probed = prepare_heads(pretrained, TRAIN, asked, val=VAL, **OPTIONS)
    assert not changed(pretrained, before)
    block = {name for name in before if name.startswith("layer3.2.")}
    drawn = {name for name in block if "weight" in name and "bn" not in name}
    assert drawn <= changed(fresh.backbone, before) <= block
    assert changed(probed.backbone, before) == block
    assert changed(probed.backbone, fresh.backbone.state_dict()) == block
    assert all(parameter.requires_grad for parameter in probed.backbone.parameters())
    (again,) = prepare_heads(pretrained, TRAIN, asked[1:], val=VAL, **OPTIONS)
    assert (again.aie, again.val_loss) == (probed.aie, probed.val_loss)


def test_backbone_and_random_state_stay_as_they_are(backbone: nn.Module):
    backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    state = torch.random.get_rng_state()
    prepare_heads(backbone, TRAIN, [HeadPreparation(2)], **OPTIONS)
    assert not changed(backbone, before)
    assert backbone.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_diverged_head_is_called_that_and_spares_those_before(backbone: nn.Module):
    asked = [HeadPreparation(0), HeadPreparation(9)]
    sound, lost = prepare_heads(backbone, TRAIN, asked, val=VAL, **OPTIONS | {"lr": 1e38})
    assert sound.outcome == "done"
    assert lost.outcome == "diverged"
    assert math.isnan(lost.aie)
    assert math.isnan(lost.val_accuracy or 0)


def test_probing_whose_validation_loss_explodes_is_called_collapsed(backbone: nn.Module):
    wrong = replace(VAL, labels=VAL.labels.roll(1))
    asked = [HeadPreparation(0), HeadPreparation(9)]
    sound, lost = prepare_heads(backbone, TRAIN, asked, val=wrong, **OPTIONS | {"lr": 1e6})
    assert sound.outcome == "done"
    assert lost.outcome == "collapsed"
    assert lost.reason


def test_last_layer_of_the_head_is_trained(backbone: nn.Module):
    first, later = prepare_heads(
        backbone, TRAIN, [HeadPreparation(0), HeadPreparation(1)], **OPTIONS
    )
    assert not torch.equal(last_layer(first.head).weight, last_layer(later.head).weight)


@pytest.mark.parametrize("lr", ["auto", 0.1])
def test_head_that_starts_without_a_finite_energy_ends_as_diverged(backbone: nn.Module, lr):
    asked = [HeadPreparation(1, init_scale=3e38)]
    (lost,) = prepare_heads(backbone, TRAIN, asked, **OPTIONS | {"lr": lr})
    assert lost.outcome == "diverged"
