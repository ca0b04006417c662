"""The scorecard: every claim in every setting, with its verdict, its effect and what is pooled."""

from pathlib import Path
from typing import Any

import pandas as pd

from taskhead.experiments.results import read_study
from taskhead.report import claims, principles, rules
from taskhead.report.names import titled
from taskhead.report.series import over_settings

SYMBOLS = {rules.SUPPORTED: "●", rules.CONTRADICTED: "✕", rules.UNDECIDED: "○"}
INTERVALS = (
    "The number after ± is the 95 percent interval of one series. Verdicts allow for chance in all "
    "series at once, so they ask for more. *Smallest* is the effect that would be found with a "
    "probability of 80 percent."
)
COLUMNS = [
    "claim",
    "series",
    "seeds",
    "verdict",
    "effect",
    "half_width",
    "smallest",
    "unit",
    "note",
]


def scorecard(results: Path) -> pd.DataFrame:
    """Judge every claim and principle on the tables below a folder of results.

    One row per claim and series: `effect` with `half_width`, the `smallest` effect that its seeds
    would have shown with a probability of 0.8, all in `unit`; the number of `seeds`, `verdict` and
    `note`.

    Raises `ValueError` if there is no sweep.
    """
    sweeps = read_study("energy_sweep", results)
    if sweeps.empty:
        raise ValueError(f"no table of energy_sweep in {results}; compute one with taskhead run")
    judged = claims.judge(sweeps).query(f"reading == '{claims.WHOLE}'")
    trends = judged.assign(
        claim=judged["measure"].map(claims.CLAIMS), unit=judged["measure"].map(claims.UNITS)
    )
    order = list(claims.CLAIMS.values())
    trends = trends.sort_values("claim", key=lambda column: column.map(order.index), kind="stable")
    others = principles.evidence(results, sweeps)
    others = claims.decide(others, counts=others["seeds"] > 0, within="claim")
    card = pd.concat([trends, others], ignore_index=True)
    scale = card["unit"].isin([rules.POINTS, principles.PERCENT]).map({True: 100, False: 1})
    numbers = {name: card[name] * scale for name in ("effect", "half_width", "smallest")}
    return card.assign(**numbers)[COLUMNS]


def pooled(card: pd.DataFrame) -> pd.DataFrame:
    """Return for each claim its mean effect over settings, each counting once, and the verdicts.

    Series of one setting, as several heads or domains, are averaged first. The settings are taken
    for a sample: `half_width` is that of Student's t interval over their effects. Only series of
    ten seeds count.
    """
    rows = {}
    for claim, alike in card[card["seeds"] >= rules.SEEDS].groupby("claim", sort=False):
        setting = alike["series"].str.split("[ ,:]", regex=True).str[0]
        effect, half = over_settings(alike.groupby(setting)["effect"].mean().dropna())
        counts = alike["verdict"].value_counts()
        rows[claim] = {
            "effect": effect,
            "half_width": half,
            "unit": alike["unit"].iloc[0],
            "settings": setting.nunique(),
            **{verdict: int(counts.get(verdict, 0)) for verdict in SYMBOLS},
        }
    return pd.DataFrame(rows).T


def in_short(card: pd.DataFrame) -> pd.DataFrame:
    """Return a table of series by claims whose cells are a symbol and the verdict in a word."""
    cells = card.assign(cell=[f"{SYMBOLS[verdict]} {verdict}" for verdict in card["verdict"]])
    shown = cells.pivot(index="series", columns="claim", values="cell").fillna("")
    shown = shown.loc[list(dict.fromkeys(card["series"])), list(dict.fromkeys(card["claim"]))]
    seeds = card.groupby("series")["seeds"].first()
    return shown.assign(seeds=seeds).rename_axis(index=None, columns=None)


def in_full(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the scorecard, or what is pooled, with their numbers in words."""
    records = rows.to_dict("records")
    effects = [rules.in_words(row["effect"], row["half_width"], row["unit"]) for row in records]
    shown = rows.assign(effect=effects)
    if "series" in rows:
        shown["series"] = rows["series"].map(titled)
    if "smallest" in rows:
        shown["smallest"] = [f"{rules.short(row['smallest'])} {row['unit']}" for row in records]
    return shown.drop(columns=["half_width", "unit"], errors="ignore")


def badges(card: pd.DataFrame, *claims: str) -> str:
    """Say of each claim, as a list in Markdown, what is decided on it and in which series."""
    lines = []
    for claim in claims:
        found = card[card["claim"] == claim].groupby("verdict")["series"].agg(_titles)
        said = [f"{SYMBOLS[each]} {each} ({found[each]})" for each in SYMBOLS if each in found]
        lines.append(f"- **{claim.capitalize()}:** {'; '.join(said) or 'not recorded'}.")
    return "\n".join(lines)


def _titles(series: pd.Series) -> str:
    return ", ".join(map(titled, series))


def found(card: pd.DataFrame, *claims: str) -> str:
    """Say of each claim, as a list in Markdown, how often it is supported and contradicted."""
    lines = []
    for claim in claims:
        verdicts = card.loc[card["claim"] == claim, "verdict"]
        supported, contradicted = (
            (verdicts == each).sum() for each in (rules.SUPPORTED, rules.CONTRADICTED)
        )
        lines.append(
            f"- **Found:** “{claim}” is supported in {supported}, contradicted in {contradicted} "
            f"and not decided in {len(verdicts) - supported - contradicted} recorded series."
        )
    return "\n".join(lines)


def in_words(card: pd.DataFrame, claim: str) -> str:
    """Say of every series what is decided on one claim, as a list in Markdown."""
    rows = card[card["claim"] == claim]
    lines = map(_said, in_full(rows).to_dict("records"), rows["half_width"] != 0)
    return "\n".join([*lines, "", INTERVALS])


def _said(row: dict[Any, Any], measured: bool) -> str:
    """Say of a row in full what is decided, and its numbers unless there was nothing to measure."""
    effect = f"; {row['effect']}" if measured else ""
    facts = [f"n = {row['seeds']}", f"smallest {row['smallest']}" if measured else "", row["note"]]
    return f"- **{row['series']}:** {row['verdict']}{effect} ({'; '.join(filter(None, facts))})."


def to_markdown(card: pd.DataFrame) -> str:
    """Return the scorecard as Markdown: claims in short, all pooled over settings, and in full."""
    trends = card["claim"].isin(claims.CLAIMS.values())
    parts = [
        in_short(card[trends]).rename(index=titled),
        in_full(pooled(card)),
        in_full(card).set_index("claim"),
    ]
    return "\n\n".join(part.to_markdown() for part in parts) + "\n"
