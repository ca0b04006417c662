"""Compare `taskhead prepare` with fastai's `fine_tune` on folders of images.

    python -m benchmarks.library_comparison FOLDER... --minutes 10

Both get the same backbone with the same weights, images of the same size and the same split of the
files, drawn anew for each seed; fastai has its own resizing, augmentation, head and rates. It is no
dependency of this project: install `fastai` beside it. Each row is written when it is done, and
those that are there are not computed again.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from loky import cpu_count
from torch import Tensor, nn

from taskhead.experiments.provenance import commit, device_name
from taskhead.method.features import extract_features
from taskhead.models.backbones import pretrained_backbone
from taskhead.practice.prepare import prepare
from taskhead.practice.report_page import write_report
from taskhead.tasks.found import find_images

RECORDED = Path(__file__).parent / "recorded" / "library_comparison.csv"


@dataclass(frozen=True)
class Images:
    """A folder, and which of its files serve for what: columns path, label, split."""

    folder: Path
    files: pd.DataFrame
    backbone: str
    side: int
    seed: int


class OfShares(nn.Module):
    """A backbone for images in [0, 1], as fastai has them."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(255 * images)


def divided(folder: Path, seed: int) -> pd.DataFrame:
    """Return which images of a folder serve for what."""
    found = find_images(folder, seed=seed)
    rows = [
        (str(path.relative_to(folder)), name, split)
        for split, files in found.splits.items()
        for name, paths in files.items()
        for path in paths
    ]
    return pd.DataFrame(rows, columns=["path", "label", "split"])


def with_taskhead(images: Images, minutes: float) -> float:
    """Return the test accuracy of the model that `taskhead prepare` recommends."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        images.files.to_csv(out / "labels.csv", index=False)
        outcome = prepare(
            images.folder,
            out,
            backbone=images.backbone,
            labels=out / "labels.csv",
            image_size=images.side,
            minutes=minutes,
            seed=images.seed,
            say=lambda line: print(line, file=sys.stderr),
        )
        write_report(outcome, out / "report.html")
    return outcome.finals[outcome.advice.preparation].accuracy(outcome.task)


def with_fastai(images: Images, epochs: int) -> float:
    """Return the test accuracy after `fine_tune`, with what else fastai does by itself."""
    from fastai.vision import all as fastai  # pyright: ignore[reportMissingImports]

    fastai.set_seed(images.seed)
    tested = images.files[images.files["split"] == "test"]
    known = images.files.drop(tested.index)
    loaders = fastai.ImageDataLoaders.from_df(
        known.assign(is_valid=known["split"] == "val"),
        images.folder,
        fn_col="path",
        label_col="label",
        valid_col="is_valid",
        item_tfms=fastai.Resize(images.side),
        batch_tfms=fastai.aug_transforms(),
        bs=min(32, int((known["split"] == "train").sum())),  # fastai drops a batch that is not full
    )
    backbone = pretrained_backbone(images.backbone)
    blank = torch.zeros(1, 3, images.side, images.side, dtype=torch.uint8)
    width = extract_features(backbone, blank).shape[1]
    learner = fastai.Learner(
        loaders,
        nn.Sequential(OfShares(backbone), fastai.create_head(width, loaders.c, pool=False)),
        splitter=lambda network: [fastai.params(part) for part in network],
    )
    with learner.no_bar():
        learner.fine_tune(epochs)
        _, _, told = learner.get_preds(dl=loaders.test_dl(tested), with_decoded=True)
    return float((tested["label"].to_numpy() == [loaders.vocab[i] for i in told]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.library_comparison",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=10, help="for taskhead (10)")
    parser.add_argument("--epochs", type=int, default=10, help="for fastai (10)")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="(%(default)s)")
    parser.add_argument("--side", type=int, default=96, help="of images in pixels (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(0 1 2)")
    parser.add_argument("--csv", type=Path, default=RECORDED, help="(%(default)s)")
    options = parser.parse_args()
    sides: dict[str, tuple[str, Callable[[Images], float]]] = {
        "taskhead": (
            f"prepare, {options.minutes:g} minutes",
            lambda images: with_taskhead(images, options.minutes),
        ),
        "fastai": (
            f"fine_tune({options.epochs})",
            lambda images: with_fastai(images, options.epochs),
        ),
    }
    for folder, seed, library in product(options.folders, options.seeds, sides):
        files = divided(folder, seed)
        images = Images(folder, files, options.backbone, options.side, seed)
        what, compute = sides[library]
        row = {
            "folder": folder.name,
            "images": len(files),
            "classes": files["label"].nunique(),
            "test_images": int((files["split"] == "test").sum()),
            "backbone": images.backbone,
            "side": images.side,
            "library": f"{library} {version(library)}",
            "what": what,
            "seed": seed,
        }
        if is_there(options.csv, row):
            continue
        began = time.perf_counter()
        row["test_accuracy"] = compute(images)
        row["minutes"] = (time.perf_counter() - began) / 60
        row["device"] = f"{device_name(torch.device('cpu'))}, {cpu_count()} cores"
        row["commit"] = commit("src", "benchmarks")
        print(row, file=sys.stderr)
        new = not options.csv.exists()
        pd.DataFrame([row]).to_csv(options.csv, mode="a", header=new, index=False)


def is_there(file: Path, row: dict[str, object]) -> bool:
    """Say whether a file holds a row of these values."""
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    return any(all(each[name] == value for name, value in row.items()) for each in rows)


if __name__ == "__main__":
    main()
