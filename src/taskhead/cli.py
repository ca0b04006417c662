"""Command line: `taskhead settings`, `taskhead run` and `taskhead claims`."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from taskhead.experiments.settings import PRESETS, SETTING_NAMES, load_setting
from taskhead.experiments.studies import STUDY_NAMES, load_study, settings_of

NOTHING_DONE = 3
_OPTIONS = {
    "data": (
        str,
        "folder of images or CSV file of texts, for the settings imagefolder and textfile",
    ),
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
        print(f"taskhead: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("taskhead: stopped; finished runs are kept, the same line continues", file=sys.stderr)
        return 130


def _list_settings(_: argparse.Namespace) -> int:
    fitting = {name: settings_of(load_study(name)) for name in STUDY_NAMES}
    for setting in map(load_setting, SETTING_NAMES):
        studies = [name for name, settings in fitting.items() if setting.name in settings]
        print(setting.name)
        print(f"    {setting.description}")
        print(f"    needs: {setting.needs}")
        print(f"    studies: {', '.join(studies)}")
    return 0


def _run_study(arguments: argparse.Namespace) -> int:
    from taskhead.experiments import results, table  # imports PyTorch
    from taskhead.report import words

    rows = results.compute_study(
        arguments.study,
        setting=arguments.setting,
        preset=arguments.preset,
        results=arguments.results,
        seeds=arguments.seeds,
        device=arguments.device,
        recompute=arguments.recompute,
        workers=arguments.workers,
        **{name: getattr(arguments, name) for name in _OPTIONS},
    )
    path = table.table_path(arguments.results, arguments.study, arguments.setting)
    counts = rows["outcome"].value_counts()
    others = [f"{count} {name}" for name, count in counts.items() if name != "done"]
    print(f"{len(rows)} rows in {path}" + (f", of them {', '.join(others)}" if others else ""))
    if "done" in counts:
        if "probed_epochs" in rows and (warning := words.small_range(rows)):
            print(f"taskhead: warning: {warning}", file=sys.stderr)
        return 0
    reason = rows["reason"].iloc[0]
    print(f"taskhead: error: no run came to a result: {reason}", file=sys.stderr)
    return NOTHING_DONE


def _print_claims(arguments: argparse.Namespace) -> int:
    from taskhead.experiments.table import recorded_folder  # imports pandas
    from taskhead.report import scorecard

    card = scorecard.scorecard(arguments.results or recorded_folder())
    text = scorecard.to_markdown(card)
    arguments.out.mkdir(parents=True, exist_ok=True)
    card.to_csv(arguments.out / "claims.csv", index=False)
    (arguments.out / "claims.md").write_text(text, encoding="utf-8")
    print(text)
    print(f"also in {arguments.out / 'claims.csv'} and {arguments.out / 'claims.md'}")
    return 0


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be ''; leave it out")
    return text


def _folder(text: str) -> Path:
    return Path(_given(text))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="taskhead", description=__doc__)
    parser.add_argument("--version", action="version", version=f"taskhead {version('taskhead')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("settings", help="list the settings and what each needs")
    listing.set_defaults(command=_list_settings, parser=listing)

    run = commands.add_parser(
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
    run.set_defaults(command=_run_study, parser=run)

    claims = commands.add_parser(
        "claims", help="judge the paper's claims on tables of energy_sweep"
    )
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
    claims.set_defaults(command=_print_claims, parser=claims)
    return parser
