"""What the prose quotes: its numbers and its main figure, both from results tables."""

from pathlib import Path

import pandas as pd

from taskhead import claims, figures, records, studies


def numbers(results: Path, preset: str) -> dict[str, str]:
    """Compute the numbers that pages write as ``{{ name }}``."""
    sweep = _table("energy_sweep", results, preset)
    trends = claims.feature_trends(sweep)
    comparison = claims.best_in_between(sweep)
    by_tau = sweep.groupby("tau")[["aie", "euclidean"]].mean()
    search = records.table_path(records.recorded_folder(), "rate_search", "digits")
    rates = claims.rate_choice(records.load(search, studies.STUDIES["rate_search"].columns))
    return {
        "preset": preset,
        "seeds": str(sweep["seed"].nunique()),
        "aie_first": f"{by_tau['aie'].iloc[0]:.2f}",
        "aie_last": f"{by_tau['aie'].iloc[-1]:.3f}",
        "tau_last": str(by_tau.index[-1]),
        "euclidean_first": f"{by_tau['euclidean'].iloc[0]:.1f}",
        "euclidean_last": f"{by_tau['euclidean'].iloc[-1]:.1f}",
        **{
            f"{name}_verdict": "**holds**" if row["verdict"] == "holds" else "is **not shown**"
            for name, row in trends.iterrows()
        },
        "tau_chosen": str(comparison["chosen tau"].iloc[0]),
        "accuracy": " ".join(claims.sentences(comparison)),
        "in_between": "The claim that the optimum lies in between "
        + ("**holds**." if (comparison["verdict"] == "holds").all() else "is **not shown** here."),
        "rate_table": rates.round(4).to_markdown(),
    }


def draw_main_figure(results: Path, preset: str, target: Path) -> None:
    """Draw the introduction's figure."""
    figures.overview(_table("energy_sweep", results, preset)).savefig(target, dpi=150)


def _table(study: str, results: Path, preset: str) -> pd.DataFrame:
    return studies.load_or_run(study, setting="digits", preset=preset, results=results)[0]
