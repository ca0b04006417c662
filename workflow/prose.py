"""What the prose quotes: its numbers and its main figure, both from results tables."""

import json
from pathlib import Path

import pandas as pd

from benchmarks import report
from taskhead.experiments.results import load_all_recorded, load_or_compute, read_study
from taskhead.experiments.table import recorded_folder
from taskhead.report import claims, figures, front_page, replay, rules, scorecard, words
from taskhead.report.choices import chosen_stop, smallest_sufficient
from taskhead.report.names import titled
from taskhead.report.series import done, interval, relative, stops

PAGES = {  # by the beginning of a series' name, where its figures stand
    "digits": "energy-sweep",
    "cifar10": "cifar-probing",
    "imagenet": "imagenet-probing",
    "minilm": "sentences",
}
SHOWN_BEFORE = {  # measures whose trend the rules and tables of 2026-11-26 took for shown
    "digits": ["euclidean", "cosine", "dot"],
    "cifar10-to-cifar100": ["euclidean", "cosine", "dot", "norm"],
    "imagenet-to-cifar10": ["cosine", "dot", "norm"],
    "imagenet-to-pacs (photo)": ["euclidean", "cosine"],
    "imagenet-to-pacs (sketch)": ["dot"],
}
RECORDED = Path("benchmarks/recorded")
NOT_RECORDED = "*Not recorded yet.*"
BESIDE = (
    "The difference is the mean over seeds, in points of accuracy, with its 95 percent interval. "
    "The minutes of `taskhead prepare` are what it was given, and most of them go into the search. "
    "With few seeds the table can show large differences only."
)


def numbers(results: str | None, preset: str) -> dict[str, str]:
    """Compute the numbers that pages write as ``{{ name }}``."""
    sweep = _table("energy_sweep", results, preset)
    runs = done(relative(sweep)).assign(stop=stops)
    by_stop = runs.groupby("stop")[["aie", "euclidean"]].mean()
    by_stop = by_stop.sort_values("aie")
    return {
        "preset": preset,
        "seeds": str(sweep["seed"].nunique()),
        "aie_first": f"{by_stop['aie'].iloc[-1]:.2f}",
        "aie_last": f"{by_stop['aie'].iloc[0]:.3f}",
        "tau_last": str(int(sweep["tau"].max())),
        "euclidean_first": f"{by_stop['euclidean'].iloc[-1]:.1f}",
        "euclidean_last": f"{by_stop['euclidean'].iloc[0]:.1f}",
        "accuracy": words.comparison(chosen_stop(sweep)),
        "trends": words.trends(_every_setting()),
        **_scorecard(),
        "tolerance": words.tolerance(),
        "rate_tables": _choices("rate_search", "ft_lr"),
        "length_tables": _choices("length_search", "ft_epochs"),
        **benchmark_tables("benchmark", RECORDED / "cpu.json"),
        **benchmark_tables("search", RECORDED / "search.json"),
        "libraries": libraries(RECORDED / "library_comparison.csv"),
    }


def benchmark_tables(name: str, file: Path) -> dict[str, str]:
    """Return the parts of a recorded benchmark report as the page on speed shows them."""
    if not file.exists():
        empty = dict.fromkeys((f"{name}_{part}" for part in ("provenance", "answer", "notes")), "")
        return {f"{name}_table": NOT_RECORDED} | empty
    measured = json.loads(file.read_text(encoding="utf-8"))
    return {
        f"{name}_answer": report.in_short(measured["works"]),
        f"{name}_provenance": report.provenance(measured),
        f"{name}_table": report.table(measured["works"]),
        f"{name}_notes": report.notes(measured["works"]),
    }


def libraries(file: Path) -> str:
    """Return accuracy and minutes of each library on each folder, and the difference by seed."""
    if not file.exists():
        return NOT_RECORDED
    shown: dict[tuple[str, str], dict[str, str]] = {}
    for folder, rows in pd.read_csv(file, dtype={"folder": str}).groupby("folder", sort=False):
        first = rows.iloc[0]
        name = f"{folder}: {first['images']:,} images of {first['classes']} classes"
        by_seed = rows.pivot(index="seed", columns="library", values="test_accuracy").dropna()
        (own,) = (each for each in map(str, by_seed) if each.startswith("taskhead"))
        for library, own_rows in rows.groupby("library", sort=False):
            gain, half = interval(100 * (by_seed[own] - by_seed[library]))
            shown[name, f"{library}, {own_rows['what'].iloc[0]}"] = {
                "test accuracy": f"{100 * own_rows['test_accuracy'].mean():.1f} %",
                "minutes": f"{own_rows['minutes'].mean():.1f}",
                "taskhead is better by": "" if library == own else f"{gain:.1f} ± {half:.1f}",
                "seeds": str(len(own_rows)),
            }
    table = pd.DataFrame(shown).T.rename_axis(["folder", "library"]).reset_index()
    return f"{table.to_markdown(index=False)}\n\n{BESIDE}"


def draw_figures(results: str | None, preset: str, folder: Path) -> None:
    """Draw the introduction's figures."""
    sweep = _table("energy_sweep", results, preset)
    figures.overview(sweep).savefig(folder / "main-figure.png")
    every = _every_setting()
    figures.settings_side_by_side(every).savefig(folder / "every-setting.png")
    front_page.distances(every).savefig(folder / "distances.png")


def _scorecard() -> dict[str, str]:
    """Return the scorecard of the recorded tables: in short, with links, pooled, and in full."""
    card = scorecard.scorecard(recorded_folder())
    trends = card["claim"].isin(claims.CLAIMS.values())
    parts = {"claims": card[trends], "principles": card[~trends]}
    return {
        "answer": front_page.answer(card),
        "costs": front_page.costs(replay.accuracies(recorded_folder())),
        "scorecard": _by_setting(card[trends]).to_markdown(),
        "before_and_now": _before_and_now(card).to_markdown(),
        "regrets": _regrets().to_markdown(),
        **{
            f"{name}_pooled": scorecard.in_full(scorecard.pooled(part)).to_markdown()
            for name, part in parts.items()
        },
        **{
            f"{name}_in_full": scorecard.in_full(part).to_markdown(index=False)
            for name, part in parts.items()
        },
    }


def _regrets() -> pd.DataFrame:
    """Return the regret of each way with two digits; what has no interval has an empty place."""
    found = replay.regrets(replay.accuracies(recorded_folder()))
    return found.map(lambda value: "" if pd.isna(value) else f"{value:.2g}")


def _by_setting(card: pd.DataFrame) -> pd.DataFrame:
    """Return settings by claims; each cell leads to its figure, and narrow screens hide words."""
    sweeps = read_study("energy_sweep", recorded_folder())
    ratios, scopes = front_page.times_as_far(sweeps), front_page.scopes(sweeps)
    shown = scorecard.in_short(card).drop(columns="seeds")
    names = {}
    for series, row in zip(map(str, shown.index), shown.to_dict("records"), strict=True):
        page = next(page for prefix, page in PAGES.items() if series.startswith(prefix))
        for claim, cell in row.items():
            symbol, verdict = cell.split(" ", 1)
            words = f'{symbol} <span class="verdict">{verdict}</span>'
            shown.loc[series, claim] = f"[{words}](../notebooks/{page}.ipynb)"
        names[series] = f'{titled(series)} <span class="scope">{scopes[series]}</span>'
    times = [f"{ratios[series]:.2g} &times;" for series in shown.index]
    return shown.assign(**{"how far": times}).rename(index=names)


def _before_and_now(card: pd.DataFrame) -> pd.DataFrame:
    """Return, for each series that was recorded before, the claims that were shown and are now."""
    rows = {}
    for series, shown in SHOWN_BEFORE.items():
        now = card[(card["series"] == series) & card["claim"].isin(claims.CLAIMS.values())]
        verdicts = {
            verdict: "; ".join(now.loc[now["verdict"] == verdict, "claim"]) or "none"
            for verdict in (rules.SUPPORTED, rules.CONTRADICTED)
        }
        before = "; ".join(claims.CLAIMS[measure] for measure in shown)
        rows[titled(series)] = {
            "shown before": before,
            **{f"{verdict} now": named for verdict, named in verdicts.items()},
        }
    return pd.DataFrame(rows).T


def _every_setting() -> pd.DataFrame:
    recorded = load_all_recorded("energy_sweep", preset="laptop")
    return pd.concat([table for table, _ in recorded.values()], ignore_index=True)


def _table(study: str, results: str | None, preset: str) -> pd.DataFrame:
    return load_or_compute(study, setting="digits", preset=preset, results=results)[0]


def _choices(study: str, searched: str) -> str:
    tables = {
        name: smallest_sufficient(table, searched).round(4)
        for name, (table, _) in load_all_recorded(study, preset="laptop").items()
    }
    return "\n\n".join(f"**{name}**\n\n{table.to_markdown()}" for name, table in tables.items())
