"""The pieces of work on networks: probing, whole sweeps and the finetuning loop."""

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.baseline import Recipe, probe_cached
from benchmarks.measure import Shares, alternate, bend, flops, peak_flops, shares_of, warm_up
from benchmarks.scales import Scale, Work, image_setting, task_draw
from benchmarks.sides import (
    as_command,
    baselines,
    probing_cost,
    recipe,
    sweep_cost,
    sweep_shares,
)
from taskhead import studies
from taskhead.adaptation import measure
from taskhead.augmentation import CropAndFlip
from taskhead.backbones import extract_features
from taskhead.data import Task
from taskhead.energy import average_initial_energy
from taskhead.finetuning import finetune
from taskhead.heads import make_head
from taskhead.parallel import default_workers, one_thread, spread
from taskhead.presets import EnergySweep, load_preset
from taskhead.pretraining import pretrained_backbone
from taskhead.probing import probe_head, probe_heads
from taskhead.records import Row
from taskhead.runs import plan_finetuning
from taskhead.settings import CIFAR10_TO_CIFAR100, DIGITS, NetworkSetting
from taskhead.sweeps import compute_energy_sweep
from taskhead.tasks import Draw

HEADS = list(product((0.0, 0.1, 0.2, 0.3), range(4), (1.0, 3.0)))  # eps, seed, init scale
HIDDEN = 64  # features of ResNet-20
COMPARED_TAU = 4  # long enough for an error to show, short enough to repeat with the baseline


def hp_grid(scale: Scale, preset: str, device: torch.device) -> Work:
    """Probe a tau grid: cached features and one trajectory, against a run for each tau."""
    setting, task, backbone = _images(scale, scale.hp_per_class, device)
    labels, taus, head = task.train.labels, scale.hp_taus, make_head(HIDDEN, task.n_classes)

    def ours() -> list:
        z0 = extract_features(backbone, task.train.images)
        return probe_head(
            z0, labels, head, taus=taus, lr=setting.hp_lr, batch_size=setting.batch_size
        )

    sides = baselines(task, backbone, recipe(setting, backbone, 32), device)
    calls = {"ours": ours}
    for name, side in sides.items():
        calls |= shares_of(name, partial(side.probe, head), scale.shares)
    z0 = extract_features(backbone, task.train.images)
    theirs = average_initial_energy(sides["B1"].probe(head, COMPARED_TAU)(z0).detach(), labels)
    difference = abs(ours()[taus.index(COMPARED_TAU)].aie / theirs - 1)
    warm = warm_up(ours, *(partial(side.probe, head, 1) for side in sides.values()))
    times = alternate(calls, scale.repetitions)
    operations = flops(backbone, task.train.images[:8], training=False)
    operations += _head_flops(task.n_classes) * taus[-1]
    b0, b1 = (probing_cost(times, name, taus, scale.shares) for name in sides)
    straight = bend(times, "B1", scale.shares, partial(sides["B1"].probe, head))
    return Work(
        work=f"HP of a {len(taus)}-point tau grid, {taus[-1]} epochs, {len(labels):,} images, "
        "ResNet-20 at 32 px",
        least=100,
        b0=b0,
        baseline=b1,
        ours=times["ours"],
        floor=operations * len(labels) / peak_flops(device),
        difference=difference,
        warm_up=warm,
        how=f"baseline: {scale.shares[0]} and {scale.shares[1]} of {sum(taus)} epochs, extended "
        f"({straight}); AIE at tau = {COMPARED_TAU} compared",
    )


def hp_heads(scale: Scale, preset: str, device: torch.device) -> Work:
    """Probe 32 heads side by side, against 32 runs on the same cached features."""
    setting, task, backbone = _images(scale, 10, device)
    z0, labels = extract_features(backbone, task.train.images), task.train.labels
    heads = [make_head(HIDDEN, task.n_classes, init_scale=s, seed=seed) for _, seed, s in HEADS]
    eps, seeds = [head[0] for head in HEADS], [head[1] for head in HEADS]
    options = {"lr": setting.hp_lr, "batch_size": setting.batch_size}

    def theirs() -> list[nn.Module]:
        return [
            probe_cached(z0, labels, head, epochs=scale.head_epochs, eps=e, seed=s, **options)
            for head, e, s in zip(heads, eps, seeds, strict=True)
        ]

    def ours() -> list:
        return probe_heads(
            z0, labels, heads, taus=[scale.head_epochs], eps=eps, seeds=seeds, **options
        )

    alone = [average_initial_energy(head(z0).detach(), labels) for head in theirs()]
    together = [snapshots[0].aie for snapshots in ours()]
    warm = warm_up(theirs, ours)
    times = alternate({"theirs": theirs, "ours": ours}, scale.repetitions)
    operations = _head_flops(task.n_classes) * len(labels) * scale.head_epochs * len(heads)
    return Work(
        work=f"HP of {len(heads)} heads (eps x seeds x init scale), {scale.head_epochs} epochs, "
        f"{len(labels):,} cached features",
        least=4,
        baseline=times["theirs"],
        ours=times["ours"],
        floor=operations / peak_flops(device),
        difference=max(abs(a / b - 1) for a, b in zip(together, alone, strict=True)),
        warm_up=warm,
        how=f"baseline: a plain loop for each head on the same cache, batch {setting.batch_size}; "
        "every AIE compared",
    )


def digits_sweep(scale: Scale, preset: str, device: torch.device) -> Work:
    """Run the preset's whole energy sweep on digits."""
    grid = load_preset(preset).energy_sweep["digits"]
    draw = Draw(grid.seeds[0], 8, grid.train_per_class, grid.val_per_class)
    backbone = pretrained_backbone("small_convnet", device=device)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as results:
            studies.run(
                "energy_sweep",
                setting="digits",
                preset=preset,
                results=results,
                device=device.type,
            )

    return _sweep(
        DIGITS,
        grid,
        DIGITS.load_task(draw).to(device),
        backbone,
        ours,
        scale.digits_shares,
        scale.repetitions,
        least=4,
    )


def image_sweep(scale: Scale, preset: str, device: torch.device) -> Work:
    """Run an energy sweep of ResNet-20 on one seed."""
    setting, task, backbone = _images(scale, scale.ft_per_class, device)
    draw = task_draw(scale, scale.ft_per_class)
    grid = EnergySweep(
        seeds=[draw.seed],
        backbone="resnet20",
        image_size=draw.image_size,
        train_per_class=draw.train_per_class,
        val_per_class=draw.val_per_class,
        test_per_class=draw.test_per_class,
        taus=list(scale.ft_taus),
        ft_epochs=scale.ft_epochs,
    )

    def ours() -> None:
        runs, compute = plan_finetuning(setting, preset, grid), partial(_compute, setting, device)
        for _ in spread(compute, runs, together=(), workers=default_workers(device)):
            pass

    return _sweep(
        setting,
        grid,
        task,
        backbone,
        ours,
        scale.shares,
        scale.repetitions,
        least=2 if device.type == "cpu" else 6,
    )


def ft_loop(scale: Scale, preset: str, device: torch.device) -> Work:
    """Finetune with next to nothing to evaluate, against the bare step on one resident batch."""
    setting, task, backbone = _images(scale, scale.ft_per_class, device)
    head, epochs = make_head(HIDDEN, task.n_classes), scale.shares[1]
    batch_size = CIFAR10_TO_CIFAR100.batch_size  # that of the recorded sweep
    few = task.val[torch.arange(2)]
    task = replace(task, val=few, test=few)
    steps = epochs * len(task.train.labels.split(batch_size))
    network = nn.Sequential(copy.deepcopy(backbone), copy.deepcopy(head).to(device)).eval()
    optimiser = torch.optim.SGD(
        network.parameters(),
        1e-5,
        momentum=0.9,
        weight_decay=setting.weight_decay,
        nesterov=True,
        fused=True,
    )
    images, labels = task.train.images[:batch_size], task.train.labels[:batch_size]

    def bare() -> None:
        with one_thread():
            for _ in range(steps):
                loss = cross_entropy(network(images), labels)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    def ours() -> None:
        with one_thread():
            finetune(
                backbone,
                head,
                task,
                epochs=epochs,
                backbone_lr=setting.ft_lr,
                head_lr=setting.ft_lr,
                batch_size=batch_size,
                augment=CropAndFlip(),
            )

    warm = warm_up(bare, ours)
    times = alternate({"bare": bare, "ours": ours}, scale.repetitions)
    operations = flops(network, images, training=True) * steps * batch_size
    with one_thread():
        peak = peak_flops(device)
    return Work(
        work=f"FT loop of ResNet-20, {steps} steps of {batch_size} images, one thread",
        least=0.93,
        baseline=times["bare"],
        ours=[t * steps * batch_size / (epochs * len(task.train)) for t in times["ours"]],
        floor=operations / peak,
        difference=None,
        warm_up=warm,
        how="baseline: forward, backward and optimiser on one batch; ours adds order, "
        "augmentation, schedule, copies; cost for the same number of images",
    )


def _sweep(
    setting: NetworkSetting,
    grid: EnergySweep,
    task: Task,
    backbone: nn.Module,
    ours: Callable,
    shares: Shares,
    repetitions: int,
    *,
    least: float,
) -> Work:
    """Time a sweep on both sides: ours as a whole, the baseline from shares of its epochs."""
    device = task.train.labels.device
    head = make_head(HIDDEN, task.n_classes, init_scale=setting.init_scale)
    shared = recipe(setting, backbone, grid.image_size)
    sides = baselines(task, backbone, shared, device)
    off, gap = difference(shared, task, backbone, head)
    with as_command(ours) as whole:
        calls = {"ours": whole}
        for name, side in sides.items():
            calls |= sweep_shares(name, side, head, shares)
        parts = [part for side in sides.values() for part in (side.probe, side.finetune)]
        warm = warm_up(*(partial(part, head, 1) for part in parts))
        times = alternate(calls, repetitions)
    theirs = {name: sweep_cost(times, name, grid, shares) for name in sides}
    straight = ", ".join(
        bend(times, f"B1 {part}", shares, partial(work, head))
        for part, work in (("HP", sides["B1"].probe), ("FT", sides["B1"].finetune))
    )
    images = task.train.images[:8]
    operations = flops(backbone, images, training=True) * len(task.train) * grid.ft_epochs
    operations += flops(backbone, images, training=False) * len(task.val) * grid.ft_epochs
    operations *= len(grid.taus) * len(grid.seeds)
    return Work(
        work=f"whole energy sweep, {grid.backbone}, {len(task.train):,} images of "
        f"{grid.image_size} px, batches of {setting.batch_size}, seeds: {len(grid.seeds)}, "
        f"{len(grid.taus)} taus x {grid.ft_epochs} FT epochs",
        least=least,
        b0=theirs["B0"],
        baseline=theirs["B1"],
        ours=times["ours"],
        floor=operations / peak_flops(device),
        difference=off,
        accuracy_gap=gap,
        warm_up=warm,
        how=f"baseline: {shares[0]} and {shares[1]} epochs of HP and of FT, extended ({straight}); "
        "one seed and one head stand for all; ours reads its images and starts its processes "
        "within the time, the baseline has its images in memory and its loaders running; compared "
        "after an epoch of HP and two of FT without augmentation: feature measures in fp32, test "
        "accuracies of both variants",
    )


def difference(
    shared: Recipe, task: Task, backbone: nn.Module, head: nn.Module
) -> tuple[float, float]:
    """Probe and finetune on both sides without augmentation.

    Return the largest relative difference of a feature measure, and that of test accuracies.
    """
    device, lr = task.train.labels.device, shared.ft_lr
    z0 = extract_features(backbone, task.train.images)
    options = {"lr": shared.hp_lr, "batch_size": shared.batch_size}
    (probed,) = probe_head(z0, task.train.labels, head, taus=[1], **options)
    tuned = finetune(
        backbone,
        probed.head,
        task,
        epochs=2,
        backbone_lr=lr,
        head_lr=lr,
        batch_size=shared.batch_size,
        weight_decay=shared.weight_decay,
    )
    ours = measure(*(extract_features(net, task.val.images) for net in (backbone, tuned.backbone)))
    sides = baselines(task, backbone, replace(shared, augment=False), device)
    theirs = {name: side.finetune(side.probe(head, 1), 2) for name, side in sides.items()}
    in_fp32 = list(theirs) if device.type == "cpu" else ["B0"]
    pairs = [
        (value, getattr(theirs[name][0], measured))
        for name, (measured, value) in product(in_fp32, vars(ours).items())
    ]
    return (
        max(abs(own / their - 1) for own, their in pairs),
        max(abs(tuned.test_accuracy - accuracy) for _, accuracy in theirs.values()),
    )


def _compute(setting: NetworkSetting, device: torch.device, runs: Sequence[Row]) -> Iterator[None]:
    with one_thread():
        for _ in compute_energy_sweep(setting, runs, device):
            yield


def _images(
    scale: Scale, per_class: int, device: torch.device
) -> tuple[NetworkSetting, Task, nn.Sequential]:
    setting = image_setting(scale)
    task = setting.load_task(task_draw(scale, per_class)).to(device)
    backbone = pretrained_backbone("resnet20", weights=setting.weights, device=device)
    assert isinstance(backbone, nn.Sequential)
    return setting, task, backbone


def _head_flops(n_classes: int) -> int:
    """Return the operations of one image in one epoch of probing a linear head."""
    return 6 * HIDDEN * n_classes
