"""What the prose quotes: its numbers and its main figure, both from results tables."""

from pathlib import Path

import pandas as pd
import seaborn as sns


def numbers(results: Path, preset: str) -> dict[str, str]:
    """Compute the numbers that pages write as ``{{ name }}``."""
    sweep = pd.read_csv(results / "energy_sweep" / "digits.csv")
    return {"preset": preset, "sweep_runs": str(len(sweep))}


def draw_main_figure(results: Path, target: Path) -> None:
    """Draw the introduction's figure."""
    sweep = pd.read_csv(results / "energy_sweep" / "digits.csv")
    sns.relplot(sweep, x="aie", y="euclidean").savefig(target, dpi=150)
