"""The report of a benchmark run as tables: for the terminal, the README and the book."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.scales import Work

HEADER = ["work", "target", "baseline", "ours", "ratio", "met", "floor", "floor / ours"]


def summary(work: Work) -> dict[str, Any]:
    """Return a row of the report: medians in seconds, and the verdict on the target."""
    ours = statistics.median(work.ours)
    baseline = statistics.median(work.baseline) if work.baseline else None
    ratio = baseline / ours if baseline else None
    return {
        "work": work.work,
        "target": f"at least {work.least:g} times" if work.least else f"at most {work.most:g} s",
        "b0": statistics.median(work.b0) if work.b0 else None,
        "baseline": baseline,
        "ours": ours,
        "fastest": min(work.ours),
        "slowest": max(work.ours),
        "repetitions": len(work.ours),
        "ratio": ratio,
        "met": ours <= work.most if work.most else bool(ratio and ratio >= (work.least or 0)),
        "floor": work.floor,
        "share_of_floor": work.floor / ours if work.floor else None,
        "difference": work.difference,
        "how": work.how,
    }


def table(works: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all works in Markdown."""
    rows = [
        [
            work["work"],
            work["target"],
            _seconds(work["baseline"]),
            f"{_seconds(work['ours'])} ({_seconds(work['fastest'])} to "
            f"{_seconds(work['slowest'])}, n = {work['repetitions']})",
            "-" if work["ratio"] is None else f"{work['ratio']:.3g}",
            "yes" if work["met"] else "**no**",
            _seconds(work["floor"]),
            "-" if work["floor"] is None else f"{work['share_of_floor']:.0%}",
        ]
        for work in works
    ]
    return _markdown(HEADER, rows)


def notes(works: Sequence[Mapping[str, Any]]) -> str:
    """Return how each work was measured, and how far both sides agree."""
    said = []
    for work in works:
        b0 = "" if work["b0"] is None else f"; B0 {_seconds(work['b0'])}"
        same = work["difference"]
        same = "" if same is None else f"; largest relative difference {same:.1e}"
        said.append(f"- {work['work']}: {work['how']}{same}{b0}.")
    return "\n".join(said)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return cost and peak memory against each number in Markdown."""
    return _markdown(
        ["number of", "work", "numbers", "seconds", "slope (log-log)", "peak memory, MiB"],
        [
            [
                row["of"],
                row["work"],
                ", ".join(f"{number:,}" for number in row["numbers"]),
                ", ".join(f"{value:.3g}" for value in row["seconds"]),
                f"{row['slope']:.2f}",
                ", ".join(f"{value:,.0f}" for value in row["peak_mib"]),
            ]
            for row in rows
        ],
    )


def levers_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many times faster each lever makes its work in Markdown."""
    return _markdown(
        ["lever", "measured on", "times faster", ""],
        [[row["lever"], row["work"], _times_faster(row), row["verdict"]] for row in rows],
    )


def costs_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what each recorded sweep took and would have taken in Markdown."""
    return _markdown(
        [
            "setting",
            "runs",
            "FT epochs",
            "recorded, minutes of one core",
            "ours, minutes on all",
            "B1, minutes on all",
            "ratio",
        ],
        [
            [
                row["setting"],
                str(row["runs"]),
                str(row["ft_epochs"]),
                *(f"{row[name] / 60:.1f}" for name in ("recorded", "ours", "baseline")),
                f"{row['baseline'] / row['ours']:.2g}",
            ]
            for row in rows
        ],
    )


def provenance(report: Mapping[str, Any]) -> str:
    """Return one line: where, when and with which versions."""
    named = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return f"*Preset {report['preset']}, {report['started'][:10]}: {named}.*"


def render(report: Mapping[str, Any]) -> str:
    """Return the whole report in Markdown."""
    tables = {
        "works": lambda works: f"{table(works)}\n\n{notes(works)}",
        "scaling": scaling_table,
        "levers": levers_table,
        "recorded": costs_table,
    }
    parts = [provenance(report)]
    parts += [draw(report[part]) for part, draw in tables.items() if report[part]]
    return "\n\n".join(parts) + "\n"


def _times_faster(row: Mapping[str, Any]) -> str:
    ratios = [a / b for a, b in zip(row["without"], row["with"], strict=True)]
    median = statistics.median(row["without"]) / statistics.median(row["with"])
    return f"{median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
