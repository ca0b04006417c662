"""The report of a benchmark run as tables: for the terminal, the README and the book."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.work import Work

ALIKE = 0.01  # relative difference of energies and feature measures
HEADER = ["work", "target", "baseline", "ours", "ratio", "met", "floor", "floor / ours"]


def summary(work: "Work") -> dict[str, Any]:
    """Return a row of the report: all repetitions in seconds, and the verdict on the target.

    No target is met by a work whose sides differ by more than `ALIKE`.
    """
    met = ratio(vars(work)) >= work.least and work.difference <= ALIKE
    return {"target": f"at least {work.least:g} times", "met": met, **vars(work)}


def table(works: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all works in Markdown."""
    rows = [
        [
            work["work"],
            work["target"],
            _median(work["baseline"]),
            _median(work["ours"]),
            f"{ratio(work):.3g}",
            "yes" if work["met"] else "**no**",
            _seconds(work["floor"]),
            f"{work['floor'] / statistics.median(work['ours']):.0%}",
        ]
        for work in works
    ]
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def in_short(works: Sequence[Mapping[str, Any]]) -> str:
    """Return a line on each work: how many times as fast as the baseline, and the target."""
    return "\n".join(
        f"- **{', '.join(work['work'].split(', ')[:2])}:** {ratio(work):.3g} times as fast. The "
        f"target, {work['target']}, is {'met' if work['met'] else 'missed'}."
        for work in works
    )


def notes(works: Sequence[Mapping[str, Any]]) -> str:
    """Return how each work was measured, and how far both sides agree."""
    return "\n".join(
        f"- {work['work']}: {work['how']}; largest relative difference {work['difference']:.1e}; "
        f"test accuracies at most {100 * work['accuracy_gap']:.2g} points apart; "
        f"B0 {_median(work['b0'])}; warm-up {_seconds(work['warm_up'])}, not counted."
        for work in works
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
    works = report["works"]
    return "\n\n".join([provenance(report), table(works), notes(works)]) + "\n"


def ratio(work: Mapping[str, Any]) -> float:
    """Return how many times ours the baseline takes."""
    return statistics.median(work["baseline"]) / statistics.median(work["ours"])


def _median(times: Sequence[float]) -> str:
    return _seconds(statistics.median(times)) + _range(times, _seconds)


def _range(values: Sequence[float], text: Callable[[float], str]) -> str:
    if len(values) == 1:
        return ""
    return f" ({text(min(values))} to {text(max(values))}, n = {len(values)})"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"
