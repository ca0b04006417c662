"""Settings and studies: every file fits, every plan is complete, and what is wrong is named."""

from pathlib import Path

import pytest
import torch
import yaml
from conftest import SMOKE_GRIDS, own_data

from taskhead.experiments import settings, studies
from taskhead.experiments.inputs import load_task
from taskhead.experiments.kinds import KINDS
from taskhead.experiments.plan import choose_device, make_plan
from taskhead.experiments.settings import PRESETS, SETTING_NAMES, load_setting
from taskhead.experiments.studies import STUDY_NAMES, load_study
from taskhead.method.features import extract_features
from taskhead.models.backbones import pretrained_backbone
from taskhead.tasks.task import Draw, Task

IMAGES = [name for name in SETTING_NAMES if load_setting(name).data]


def plan(study: str, setting: str, preset: str = "smoke", **options):
    seeds = options.pop("seeds", None)
    given = own_data(setting) | options
    return make_plan(study, setting=setting, preset=preset, seeds=seeds, options=given)


def smoke_task(name: str, seed: int = 0) -> Task:
    run = plan("energy_sweep", name).runs[0]
    draw = Draw(seed, run.image_size, run.train_per_class, run.val_per_class, domain=run.domain)
    folder = own_data(name).get("data")
    return load_task(load_setting(name), draw, Path(folder) if folder else None)


@pytest.mark.parametrize("name", SETTING_NAMES)
def test_every_setting_says_what_it_is_and_what_it_needs(name: str):
    setting = load_setting(name)
    assert setting.name == name
    assert setting.description
    assert any(word in setting.needs for word in ("no download", "downloaded", "by hand", "--data"))
    assert not setting.data or setting.rates


@pytest.mark.parametrize("name", STUDY_NAMES)
def test_every_study_says_what_it_is_and_has_a_kind(name: str):
    study = load_study(name)
    assert study.description
    assert study.kind in KINDS


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("study", "setting"), SMOKE_GRIDS)
def test_every_preset_plans_every_study_in_its_settings(
    study: str, setting: str, preset: str, mini_data: Path
):
    runs = plan(study, setting, preset).runs
    assert len(set(runs)) == len(runs) > 0
    assert {(run.setting, run.preset) for run in runs} == {(setting, preset)}


def test_a_grid_has_a_run_for_every_combination():
    runs = plan("rate_search", "digits").runs
    assert {(run.seed, run.tau, run.ft_lr) for run in runs} == {
        (100, tau, ft_lr) for tau in (0, 4) for ft_lr in (0.01, 0.02)
    }
    assert len(runs) == 4


def test_sweep_and_searches_use_different_seeds():
    for name in IMAGES:
        if load_setting(name).data.is_given:
            continue
        sweep, *searches = (
            {run.seed for run in plan(study, name, "laptop").runs}
            for study in ("energy_sweep", "rate_search", "length_search")
        )
        assert not any(sweep & search for search in searches)
    assert len({run.seed for run in plan("energy_sweep", "digits", "laptop").runs}) == 10


@pytest.mark.parametrize("name", IMAGES)
def test_backbone_and_task_fit_together(name: str, mini_data: Path):
    task, run = smoke_task(name), plan("energy_sweep", name).runs[0]
    features = extract_features(pretrained_backbone(run.backbone), task.train.images[:2])
    assert features.ndim == 2
    assert bool(features.isfinite().all())
    for part in (task.train, task.val, task.test, *task.ood.values()):
        assert part.labels.unique().tolist() == list(range(task.n_classes))


@pytest.mark.parametrize("name", IMAGES)
def test_seed_draws_the_labelled_images(name: str, mini_data: Path):
    first, same, other = (smoke_task(name, seed).train.images for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"seeds": [3, 4]}, "seed", {3, 4}),
        ({"ft_lr": 0.5}, "ft_lr", {0.5}),
        ({"train_per_class": 3}, "train_per_class", {3}),
        ({"tau": 5}, "tau", {5}),
        ({"hidden": [[], [512]]}, "hidden", {(), (512,)}),
    ],
)
def test_what_the_caller_gives_takes_the_place_of_what_the_files_say(given, field, value):
    assert {getattr(run, field) for run in plan("energy_sweep", "digits", **given).runs} == value


def test_runs_stop_at_each_tau_and_at_each_energy_and_one_takes_the_place_of_the_other():
    def stops(**given: list) -> list[tuple]:
        runs = plan("energy_sweep", "digits", seeds=[0], **given).runs
        return [(run.tau, run.energy) for run in runs]

    assert stops(tau=[0, 9], energy=[0.5]) == [(None, 0.5), (0, None), (9, None)]
    assert stops(energy=[0.5, 0.2]) == [(None, 0.2), (None, 0.5)]
    assert stops() == [(0, None), (4, None), (64, None)]


def test_what_is_not_given_changes_nothing():
    nothing = {"backbone": None, "ft_lr": None, "image_size": None}
    assert plan("energy_sweep", "digits", **nothing).runs == plan("energy_sweep", "digits").runs


@pytest.mark.parametrize(
    ("study", "setting", "given", "named"),
    [
        ("energy", "digits", {}, "'energy'; valid: .*energy_sweep"),
        ("energy_sweep", "digit", {}, "'digit'; valid: .*digits"),
        ("energy_sweep", "toy", {}, "'toy'; valid: .*digits"),
        ("energy_sweep", "digits", {"preset": "big"}, "'big'; valid: smoke, laptop, gpu"),
        ("energy_sweep", "digits", {"seeds": [-1]}, "seed.*-1"),
        ("energy_sweep", "digits", {"seeds": [1, 1]}, r"seed.*\[1, 1\]"),
        ("energy_sweep", "digits", {"seeds": []}, r"seed.*\[\]"),
        ("energy_sweep", "digits", {"seeds": [1.5]}, "seed.*1.5"),
        ("energy_sweep", "digits", {"seeds": [True]}, "seed.*True"),
        ("energy_sweep", "digits", {"seeds": [2**64]}, f"seed.*{2**64}"),
        ("energy_sweep", "digits", {"ft_lr": -1.0}, "ft_lr.*-1.0"),
        ("energy_sweep", "digits", {"ft_lr": float("nan")}, "ft_lr.*nan"),
        ("energy_sweep", "digits", {"eps": 1.0}, "eps.*1.0"),
        ("energy_sweep", "digits", {"hidden": [512]}, "hidden.*512"),
        ("energy_sweep", "digits", {"tua": 3}, "'tua'; valid: .*tau"),
        ("energy_sweep", "digits", {"backbone": "resnet20"}, "'resnet20'; valid: small_convnet"),
        ("energy_sweep", "digits", {"domain": "photo"}, "'photo'"),
        ("energy_sweep", "digits", {"data": "photos"}, "'photos'.* imagefolder"),
        ("energy_sweep", "imagenet-to-pacs", {"domain": "clay"}, "art_painting.*'clay'"),
        ("rate_search", "digits", {"ft_lr": 0.1}, "varies ft_lr itself, got 0.1"),
        ("batchnorm_drift", "digits", {"ft_lr": 0.1}, "'ft_lr'; valid"),
        ("toy_linear", "toy", {"backbone": "resnet20"}, "'backbone'; valid"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(study, setting, given: dict, named: str):
    with pytest.raises(ValueError, match=named) as caught:
        plan(study, setting, **given)
    assert "\n" not in str(caught.value)


def test_open_setting_needs_a_folder_that_exists():
    for given, named in (({}, "data"), ({"data": "nowhere"}, "nowhere")):
        with pytest.raises(ValueError, match=named):
            make_plan("energy_sweep", setting="imagefolder", preset="smoke", options=given)


def test_unknown_torchvision_backbone_lists_those_that_fit():
    with pytest.raises(ValueError, match=r"'resnet19'; valid: .*resnet18"):
        plan("energy_sweep", "imagenet-to-stl10", backbone="resnet19")


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("settings", "description: only\n", "needs"),
        ("settings", "like: digits\nneed: x\n", "need: .*'x'"),
        ("settings", "like: digits\npresets: {tiny: {}}\n", "presets.tiny"),
        ("settings", "like: [\n", "YAML"),
        ("studies", "description: x\nvaries: {}\n", "varies"),
    ],
)
def test_file_that_does_not_fit_is_named_with_its_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, named: str
):
    folder = {"settings": settings.FOLDER, "studies": studies.FOLDER}[file]
    for other in folder.glob("*.yaml"):
        (tmp_path / other.name).write_text(other.read_text())
    (tmp_path / "mine.yaml").write_text(text)
    model = {"settings": settings.Setting, "studies": studies.Study}[file]
    with pytest.raises(ValueError, match=named) as caught:
        settings.read_yaml(tmp_path, "file", "mine", ("mine",), model)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_value_of_no_field_is_named(monkeypatch: pytest.MonkeyPatch):
    study = load_study("energy_sweep").model_copy(update={"vary": {"epsilon": 0.1}})
    monkeypatch.setattr("taskhead.experiments.plan.load_study", lambda _: study)
    with pytest.raises(ValueError, match=r"'epsilon'; valid: .*eps"):
        plan("energy_sweep", "digits")


def test_a_study_may_vary_any_field_of_a_run(monkeypatch: pytest.MonkeyPatch):
    vary = yaml.safe_load("{eps: [0.0, 0.2], hidden: [[], [8]], ft_head_lr: [null, 0.1], tau: 3}")
    study = load_study("energy_sweep").model_copy(update={"name": "mine", "vary": vary})
    monkeypatch.setattr("taskhead.experiments.plan.load_study", lambda _: study)
    runs = plan("mine", "digits").runs
    assert len(runs) == 2 * 2 * 2 * 2
    assert {run.hidden for run in runs} == {(), (8,)}
    assert {run.ft_head_lr for run in runs} == {None, 0.1}


def test_variants_are_grids_side_by_side(monkeypatch: pytest.MonkeyPatch):
    vary = {"seed": 0, "variants": [{"tau": [1, 3], "ft_lr": 0.1}, {"energy": 0.3, "eps": 0.1}]}
    study = load_study("energy_sweep").model_copy(update={"name": "mine", "vary": vary})
    monkeypatch.setattr("taskhead.experiments.plan.load_study", lambda _: study)
    found = {(run.tau, run.energy, run.ft_lr, run.eps) for run in plan("mine", "digits").runs}
    rate = load_setting("digits").values["ft_lr"]
    assert found == {(1, None, 0.1, 0.0), (3, None, 0.1, 0.0), (None, 0.3, rate, 0.1)}
    twice = study.model_copy(update={"vary": vary | {"variants": [{"tau": 1}, {"tau": [1, 3]}]}})
    monkeypatch.setattr("taskhead.experiments.plan.load_study", lambda _: twice)
    with pytest.raises(ValueError, match="two variants of mine"):
        plan("mine", "digits")


def test_auto_is_a_device_that_is_there():
    assert torch.zeros(1, device=choose_device("auto")).sum() == 0
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="'tpu'; valid: auto"):
        choose_device("tpu")
