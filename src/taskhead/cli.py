"""Command line: `taskhead settings`, `taskhead run` and `taskhead notebook`."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from taskhead import parallel, presets, settings, studies
from taskhead.parameters import execute_notebook

_OPTIONS = {
    "data": (str, "folder of images, for the setting imagefolder"),
    "domain": (str, "the one target domain, in place of the preset's"),
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
    """Run the command line and return the exit status: 0, 1 after an error, 130 if interrupted."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        arguments.command(arguments)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"taskhead: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("taskhead: stopped; finished runs are kept, the same line continues", file=sys.stderr)
        return 130
    return 0


def _list_settings(_: argparse.Namespace) -> None:
    for setting in settings.SETTINGS.values():
        fitting = [
            name for name, study in studies.STUDIES.items() if setting.name in study.settings
        ]
        print(setting.name)
        print(f"    {setting.description}")
        print(f"    needs: {setting.needs}")
        print(f"    studies: {', '.join(fitting)}")


def _run_study(arguments: argparse.Namespace) -> None:
    parallel.keep_freed_memory()
    table = studies.run(
        arguments.study,
        setting=arguments.setting,
        preset=arguments.preset,
        results=arguments.results,
        seeds=arguments.seeds,
        device=arguments.device,
        recompute=arguments.recompute,
        workers=arguments.workers,
        **_given_options(arguments),
    )
    path = studies.records.table_path(arguments.results, arguments.study, arguments.setting)
    diverged = int((table["status"] == "diverged").sum()) if "status" in table else 0
    print(f"{len(table)} runs in {path}" + (f", {diverged} of them diverged" if diverged else ""))


def _given_options(arguments: argparse.Namespace) -> studies.Options:
    given = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    for name, value in given.items():
        if not value:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} must not be {value!r}; give another or leave it out")
    return studies.Options(**given)


def _folder(name: str) -> Path:
    if not name:
        raise argparse.ArgumentTypeError("must not be ''; leave it out")
    return Path(name)


def _run_notebook(arguments: argparse.Namespace) -> None:
    execute_notebook(arguments.notebook, arguments.output, dict(arguments.parameters))
    print(f"executed notebook in {arguments.output}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="taskhead", description=__doc__)
    parser.add_argument("--version", action="version", version=f"taskhead {version('taskhead')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("settings", help="list the settings and what each needs")
    listing.set_defaults(command=_list_settings, parser=listing)

    run = commands.add_parser(
        "run", allow_abbrev=False, help="compute a study and store one row a run"
    )
    run.add_argument("study", metavar="STUDY", help=", ".join(studies.STUDIES))
    run.add_argument("--setting", required=True, help=", ".join(settings.SETTINGS))
    run.add_argument("--preset", required=True, help=", ".join(presets.NAMES))
    run.add_argument(
        "--seeds", type=int, nargs="+", metavar="SEED", help="in place of the preset's seeds"
    )
    run.add_argument(
        "--results",
        type=_folder,
        default=studies.RUNS_FOLDER,
        metavar="DIR",
        help="write DIR/STUDY/SETTING.csv (default: %(default)s)",
    )
    for name, (kind, text) in _OPTIONS.items():
        run.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    run.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    run.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes side by side (default: one for each core on the CPU, else one)",
    )
    run.add_argument("--recompute", action="store_true", help="compute rows that are there again")
    run.set_defaults(command=_run_study, parser=run)

    notebook = commands.add_parser("notebook", help="execute a notebook with checked parameters")
    notebook.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    notebook.add_argument("output", type=Path, metavar="OUTPUT")
    notebook.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter of the notebook; may be repeated",
    )
    notebook.set_defaults(command=_run_notebook, parser=notebook)
    return parser
