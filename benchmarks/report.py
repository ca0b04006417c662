"""The report of a benchmark run as tables: for the terminal, the README and the book."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.scales import Work

ALIKE = 0.01  # relative difference of energies and feature measures
HEADER = ["work", "target", "baseline", "ours", "ratio", "met", "floor", "floor / ours"]


def summary(work: Work) -> dict[str, Any]:
    """Return a row of the report: all repetitions in seconds, and the verdict on the target.

    No target is met by a work whose sides differ by more than `ALIKE`.
    """
    if work.baseline:
        target, met = f"at least {work.least:g} times", _ratio(vars(work)) >= work.least
    else:
        target, met = f"at most {work.most:g} s", statistics.median(work.ours) <= work.most
    return {"target": target, "met": met and (work.difference or 0) <= ALIKE, **vars(work)}


def table(works: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all works in Markdown."""
    rows = [
        [
            work["work"],
            work["target"],
            _median(work["baseline"]),
            _median(work["ours"]),
            f"{_ratio(work):.3g}" if work["baseline"] else "-",
            "yes" if work["met"] else "**no**",
            _seconds(work["floor"]) if work["floor"] else "-",
            f"{work['floor'] / statistics.median(work['ours']):.0%}" if work["floor"] else "-",
        ]
        for work in works
    ]
    return _markdown(HEADER, rows)


def notes(works: Sequence[Mapping[str, Any]]) -> str:
    """Return how each work was measured, and how far both sides agree."""
    said = []
    for work in works:
        b0 = f"; B0 {_median(work['b0'])}" if work["b0"] else ""
        off, gap = work["difference"], work["accuracy_gap"]
        same = "" if off is None else f"; largest relative difference {off:.1e}"
        same += "" if gap is None else f"; test accuracies at most {100 * gap:.2g} points apart"
        warm = f"; warm-up {_seconds(work['warm_up'])}, not counted" if work["warm_up"] else ""
        said.append(f"- {work['work']}: {work['how']}{same}{b0}{warm}.")
    return "\n".join(said)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return cost and peak memory against each number in Markdown."""
    return _markdown(
        ["number of", "work", "numbers", "seconds", "slope", "last slope", "peak memory, MiB"],
        [
            [
                row["of"],
                row["work"],
                ", ".join(f"{number:,}" for number in row["numbers"]),
                ", ".join(f"{value:.3g}" for value in row["seconds"]),
                f"{row['slope']:.2f}",
                f"{row['last_slope']:.2f}",
                ", ".join(f"{value:,.0f}" for value in row["peak_mib"]),
            ]
            for row in rows
        ],
    )


def levers_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return how many times faster each lever makes its work in Markdown."""
    return _markdown(
        ["lever", "measured on", "times faster", "engine"],
        [
            [row["lever"], row["work"], _times_faster(row["without"], row["with"]), row["engine"]]
            for row in rows
        ],
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
                f"{row['recorded'] / 60:.1f}",
                *(f"{statistics.median(row[name]) / 60:.1f}" for name in ("ours", "baseline")),
                _times_faster(row["baseline"], row["ours"]),
            ]
            for row in rows
        ],
    )


def provenance(report: Mapping[str, Any]) -> str:
    """Return one line: where, when and with which versions."""
    named = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    return (
        f"*Preset {report['preset']}, {report['started'][:10]}, {report['minutes']:.0f} minutes: "
        f"{named}.*"
    )


def render(report: Mapping[str, Any]) -> str:
    """Return the whole report in Markdown."""
    tables = {
        "works": lambda works: f"{table(works)}\n\n{notes(works)}",
        "scaling": scaling_table,
        "levers": levers_table,
        "costs": costs_table,
    }
    parts = [provenance(report)]
    parts += [draw(report[part]) for part, draw in tables.items() if report[part]]
    return "\n\n".join(parts) + "\n"


def _ratio(work: Mapping[str, Any]) -> float:
    return statistics.median(work["baseline"]) / statistics.median(work["ours"])


def _times_faster(slow: Sequence[float], fast: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    median = statistics.median(slow) / statistics.median(fast)
    return f"{median:.3g}" + _range(ratios, "{:.3g}".format)


def _median(times: Sequence[float] | None) -> str:
    return _seconds(statistics.median(times)) + _range(times, _seconds) if times else "-"


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    if len(values) == 1:
        return ""
    return f" ({text(min(values))} to {text(max(values))}, n = {len(values)})"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
