"""What each command of the command line does."""

import argparse
import json
import sys
import time

from taskhead.experiments.settings import SETTING_NAMES, load_setting
from taskhead.experiments.studies import STUDY_NAMES, load_study, settings_of

NOTHING_DONE = 3


def list_settings(_: argparse.Namespace) -> int:
    """List the settings, what each needs, and the studies that can be run in it."""
    fitting = {name: settings_of(load_study(name)) for name in STUDY_NAMES}
    for setting in map(load_setting, SETTING_NAMES):
        studies = [name for name, settings in fitting.items() if setting.name in settings]
        print(setting.name)
        print(f"    {setting.description}")
        print(f"    needs: {setting.needs}")
        print(f"    studies: {', '.join(studies)}")
    return 0


def run_study(arguments: argparse.Namespace) -> int:
    """Compute a study and say what became of its runs."""
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
        **{name: getattr(arguments, name) for name in arguments.options},
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


def print_claims(arguments: argparse.Namespace) -> int:
    """Judge the claims and principles, print the scorecard and write it."""
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


def prepare_model(arguments: argparse.Namespace) -> int:
    """Prepare a model for a folder of images, and write its report."""
    began = time.monotonic()
    from taskhead.experiments.plan import choose_device  # imports PyTorch
    from taskhead.practice.prepare import prepare
    from taskhead.practice.report_page import write_report

    device = choose_device(arguments.device)
    names = ("backbone", "weights", "labels", "domain", "image_size", "minutes", "seed")
    outcome = prepare(
        arguments.folder,
        arguments.out,
        **{name: getattr(arguments, name) for name in names},
        device=device,
        skip_unreadable=arguments.skip_unreadable,
        spent=time.monotonic() - began,
        say=lambda line: print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True),
    )
    write_report(outcome, arguments.out / "report.html")
    if arguments.json:
        print(json.dumps(outcome.facts, indent=1, ensure_ascii=False))
        return 0
    print(f"model and report in {arguments.out}; use it with")
    print(f"    taskhead predict {arguments.out} IMAGE ...")
    return 0


def predict_images(arguments: argparse.Namespace) -> int:
    """Print the class of each image and its probability, as CSV; 1 if some cannot be read."""
    from taskhead.practice.model_files import predict  # imports PyTorch

    errors: list[str] = []
    table = predict(arguments.model, arguments.images, say=errors.append)
    if len(table):
        print(table.to_csv(index=False, float_format="%.4f"), end="")
    for error in errors:
        print(f"taskhead: error: {error}", file=sys.stderr)
    return 1 if errors else 0
