"""Command line: `taskhead prepare`, `predict`, `settings`, `run` and `claims`."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from taskhead import __version__
from taskhead.commands import list_settings, predict_images, prepare_model, print_claims, run_study
from taskhead.experiments.settings import PRESETS, SETTING_NAMES
from taskhead.experiments.studies import STUDY_NAMES

_OPTIONS = {
    "data": (
        str,
        "folder of images or CSV file of texts, for the settings imagefolder and textfile",
    ),
    "domain": (
        str,
        "the one target domain, in place of the preset's; . if such folders are classes",
    ),
    "backbone": (str, "in place of the preset's"),
    "weights": (str, "a checkpoint file, or the name of torchvision weights"),
    "image_size": (int, "side of the images in pixels, in place of the preset's"),
    "train_per_class": (int, "training images of each class, in place of the preset's"),
    "hp_lr": (float, "head-probing rate, in place of the setting's"),
    "ft_lr": (float, "finetuning rate, in place of the setting's"),
}


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line that ends with the options."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; {' '.join(self.format_usage().split())}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    It is 0, 1 after an error, 3 if no run of a study came to a result, 130 if interrupted.
    """
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return arguments.command(arguments)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"taskhead: error: {what}; check its permissions and the room there", file=sys.stderr)
        return 1
    except (ValueError, TypeError) as error:
        print(f"taskhead: error: {_as_typed(str(error), arguments)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("taskhead: stopped; finished runs are kept, the same line continues", file=sys.stderr)
        return 130


def _as_typed(message: str, arguments: argparse.Namespace) -> str:
    """Return a message of the library in which its parameters are called as the options are."""
    names = {"seed": "seeds"} | {name: name for name in vars(arguments)}
    place = rf"(^|; |\(|with |varies |give )({'|'.join(names)})(?=:| must| itself| [\d']|\)|$)"
    return re.sub(place, lambda at: f"{at[1]}--{names[at[2]].replace('_', '-')}", message)


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be ''; leave it out")
    return text


def _folder(text: str) -> Path:
    return Path(_given(text))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="taskhead", description=__doc__)
    parser.add_argument("--version", action="version", version=f"taskhead {__version__}")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_prepare(kinds)

    listing = kinds.add_parser("settings", help="list the settings and what each needs")
    listing.set_defaults(command=list_settings, parser=listing)

    run = kinds.add_parser(
        "run", allow_abbrev=False, help="compute a study and store one row a run"
    )
    run.add_argument("study", metavar="STUDY", help=", ".join(STUDY_NAMES))
    run.add_argument("--setting", required=True, help=", ".join(SETTING_NAMES))
    run.add_argument("--preset", required=True, help=", ".join(PRESETS))
    run.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="in place of the preset's seeds"
    )
    run.add_argument(
        "--results",
        type=_folder,
        default=Path("runs"),
        metavar="DIR",
        help="write DIR/STUDY/SETTING.csv (default: %(default)s)",
    )
    for name, (kind, text) in _OPTIONS.items():
        kind = _given if kind is str else kind
        run.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    run.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    run.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes side by side (default: one for each core on the CPU, else one)",
    )
    run.add_argument("--recompute", action="store_true", help="compute rows that are there again")
    run.set_defaults(command=run_study, options=tuple(_OPTIONS), parser=run)

    claims = kinds.add_parser("claims", help="judge the paper's claims on tables of energy_sweep")
    claims.add_argument(
        "--results", type=_folder, metavar="DIR", help="tables to read (default: the recorded ones)"
    )
    claims.add_argument(
        "--out",
        type=_folder,
        default=Path("runs"),
        metavar="DIR",
        help="write DIR/claims.csv and DIR/claims.md (default: %(default)s)",
    )
    claims.set_defaults(command=print_claims, parser=claims)
    return parser


def _add_prepare(kinds: Any) -> None:
    """Add the commands for images of one's own."""
    prepare = kinds.add_parser(
        "prepare", allow_abbrev=False, help="finetune a model on a folder of images of your own"
    )
    prepare.add_argument("folder", type=_folder, metavar="DIR", help="a folder for each class")
    prepare.add_argument("--backbone", default="efficientnet_lite0", help="default: %(default)s")
    prepare.add_argument("--weights", type=_given, metavar="FILE", help="a checkpoint file")
    prepare.add_argument(
        "--labels", type=_folder, metavar="FILE", help="CSV: path, label and, if you like, split"
    )
    prepare.add_argument("--domain", type=_given, help="the domain to learn, if there are several")
    prepare.add_argument(
        "--image-size", type=int, metavar="S", help="in pixels (default: 96 on the CPU, else 224)"
    )
    prepare.add_argument(
        "--out",
        type=_folder,
        default=Path("runs/prepared"),
        metavar="DIR",
        help="for model and report (default: %(default)s)",
    )
    prepare.add_argument("--minutes", type=float, default=20.0, help="default: %(default)g")
    prepare.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    prepare.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    prepare.add_argument(
        "--skip-unreadable", action="store_true", help="leave out images that cannot be read"
    )
    prepare.add_argument("--json", action="store_true", help="print what was made as JSON")
    prepare.set_defaults(command=prepare_model, parser=prepare)

    predict = kinds.add_parser("predict", help="tell the classes of images with a prepared model")
    predict.add_argument("model", type=_folder, metavar="MODEL_DIR")
    predict.add_argument(
        "images", type=_folder, nargs="+", metavar="IMAGE", help="a file, or a folder of images"
    )
    predict.set_defaults(command=predict_images, parser=predict)
