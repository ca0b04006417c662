"""What stands below a figure: how many seeds, what is left out, and who computed it."""

from pathlib import Path
from typing import Any

import pandas as pd

from taskhead.experiments.provenance import load_provenance
from taskhead.report.names import titled
from taskhead.report.panels import SEEDS_FOR_BANDS
from taskhead.report.words import left_out

THIN = "thin lines are single seeds"
BANDS = (
    "bands are 95 percent intervals of the mean over seeds, for the whole curve at once; bands of "
    "test accuracy are wider and allow for other test images"
)

_NAMES: Any = {
    "aie": "energy",
    "last_layer_norm": "head norm",
    "probed_epochs": "epochs of probing",
    "ft_epochs": "epochs of finetuning",
    "ft_lr": "finetuning rate",
    "relative_euclidean": "distance / norm of z₀",
    "euclidean": "distance",
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "last_test_accuracy": "test accuracy after the last epoch",
    "test_nll": "test loss (NLL)",
    "test_ece": "calibration error (ECE)",
    "eps": "ε in probing",
    "hidden": "hidden layers",
    "init": "initial head",
    "init_scale": "initial scale",
    "trainable": "trained",
    "reinitialised_blocks": "new blocks",
    "kernel_change": "change of the kernel",
    "kernel_cosine": "cosine of the kernel",
    "head_cosine": "cosine of the head",
    # of `chosen_stop`
    "chosen": "chosen stop",
    "AIE": "its energy",
    "accuracy": "its test accuracy",
    "its accuracy": "test accuracy there",
    "difference": "gain of the chosen stop",
    "half width": "± 95 %",
}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose columns, index levels and series have the names that readers know.

    The name of a single index stands in the corner, so that the head has one line.
    """
    table = table.rename(columns=_name, index=_name)
    table = table.rename_axis(index=_NAMES, columns=_NAMES)
    if table.index.nlevels == table.columns.nlevels == 1 and table.index.name:
        table = table.rename_axis(index=None, columns=str(table.index.name))
    return table


def _name(label: Any) -> Any:
    return _NAMES.get(label, titled(label)) if isinstance(label, str) else label


def caption(table: pd.DataFrame, path: Path, *, spread: str | None = None) -> str:
    """Return one line: number of seeds, runs left out, preset, date, hardware and version.

    `spread` says how the figure shows several seeds, by default as `panels.curve` does.

    Raises `ValueError` if the provenance beside the table at `path` does not tell who computed it.
    """
    seeds, preset = table["seed"].nunique(), table["preset"].iloc[0]
    spread = spread or (BANDS if seeds >= SEEDS_FOR_BANDS else THIN)
    shown = [f"n = {seeds} seeds", spread] if seeds > 1 else ["n = 1 seed"]
    sessions = [session for session in load_provenance(path) if session["preset"] == preset]
    if not sessions:
        provenance = path.with_suffix(".json")
        raise ValueError(f"{provenance} has no session of preset {preset}; restore it")
    last = sessions[-1]
    computed = f"computed {last['started'][:10]} on {last['device']} with taskhead"
    said = [*shown, left_out(table), f"preset {preset}", f"{computed} {last['taskhead']}"]
    return f"*{'; '.join(filter(None, said))}.*"


def provenance(*paths: Path) -> pd.DataFrame:
    """Return a row for each session that wrote one of the tables, named by study and setting."""
    shown = ["preset", "rows", "taskhead", "commit", "device", "threads", "python"]
    sessions = [
        {
            "table": f"{path.parent.name}, {path.stem}",
            "started (UTC)": session["started"][:16].replace("T", " "),
            **{name: session.get(name) for name in shown},
            **session["libraries"],
        }
        for path in dict.fromkeys(paths)
        for session in load_provenance(path)
    ]
    return pd.DataFrame(sessions).set_index(["table", "started (UTC)"])
