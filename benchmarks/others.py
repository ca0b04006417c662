"""The pieces of work beside networks: the linear model, the book, imports."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from scipy import integrate

from benchmarks.baseline import descend
from benchmarks.measure import alternate, bandwidth, seconds
from benchmarks.report import ALIKE
from benchmarks.scales import Scale, Work
from taskhead import toys
from taskhead.parallel import one_thread
from taskhead.presets import load_preset

REPOSITORY = Path(__file__).parents[1]
WIDTH = 40
ARRAYS = 8.5  # of DOP853 for each evaluation: state, slope, and 6.5 earlier slopes on average
RATES = (0.1, 0.03, 0.01, 0.003, 0.001)
LIBRARY = "adaptation, backbones, data, finetuning, heads, probing"


def toy_grid(scale: Scale, preset: str, device: torch.device) -> Work:
    """Solve one width of the linear model's grid, against gradient descent run by run."""
    grid = load_preset("laptop").toy_linear["toy"].model_copy(update={"widths": [WIDTH]})
    runs = toys.plan_toy_linear("toy", "laptop", grid)
    chosen = np.random.default_rng(0).permutation(len(runs))[: scale.toy_runs]

    def ours() -> list[dict]:
        return [dict(row) for rows in toys.compute_toy_linear(runs) for row in rows]

    rows, evaluations = _count_evaluations(ours)
    residual = max(row["final_residual"] for row in rows)

    problems = {
        seed: toys.draw_problem(seed, WIDTH, feature_scale=WIDTH**-0.5) for seed in grid.seeds
    }

    def theirs(lr: float) -> list[float]:
        moved = []
        for run in (runs[i] for i in chosen):
            X, y, B0, v0 = problems[run["seed"]]
            zT = descend(
                X,
                y,
                B0,
                run["init_scale"] * v0,
                tau=run["tau"],
                hp_lr=toys.PROBE_LR,
                lr=lr,
                residual=residual,
            )
            moved.append(float(np.linalg.norm(zT - X @ B0.T, axis=1).mean()))
        return moved

    exact = np.array([rows[i]["euclidean"] for i in chosen])
    moving = exact > 1e-3  # where the head is fitted already, nothing is left to compare

    def error(lr: float) -> float:
        with np.errstate(all="ignore"):
            return float(np.abs(np.array(theirs(lr)) / exact - 1)[moving].max())

    state = 8 * len(runs) * (toys.N_SAMPLES + 1) ** 2  # bytes of all runs
    fitting = ((lr, off) for lr in RATES if (off := error(lr)) <= ALIKE)
    lr, difference = next(fitting, (RATES[-1], np.inf))
    with one_thread():
        times = alternate({"theirs": lambda: theirs(lr), "ours": ours}, scale.repetitions)
    return Work(
        work=f"toy linear grid, width {WIDTH}, {len(grid.taus)} taus x {len(grid.init_scales)} "
        f"scales x {len(grid.seeds)} seeds",
        least=50,
        baseline=[len(runs) / len(chosen) * t for t in times["theirs"]],
        ours=times["ours"],
        floor=evaluations * ARRAYS * state / bandwidth(state),
        difference=difference,
        how=f"baseline: NumPy loops on {len(chosen)} of {len(runs)} runs, scaled up, to a residual "
        f"of {residual:.0e}, at rate {lr:g}, the largest of {', '.join(f'{r:g}' for r in RATES)} "
        "whose distances are within 1 percent everywhere; one thread; floor: bytes of "
        f"{evaluations} evaluations of the flow over the measured bandwidth",
    )


def imports(scale: Scale, preset: str, device: torch.device) -> Work:
    """Import the modules of the README's example in a fresh interpreter, beyond torch itself."""
    script = (
        "import time, torch; start = time.perf_counter(); "
        f"from taskhead import {LIBRARY}; print(time.perf_counter() - start)"
    )
    return Work(
        work=f"import of taskhead ({LIBRARY}) beyond torch's own",
        most=0.3,
        baseline=None,
        ours=[float(_python("-c", script)) for _ in range(scale.repetitions + 2)],
        how="in a fresh interpreter, after torch",
    )


def book(scale: Scale, preset: str, device: torch.device) -> Work:
    """Build the book from recorded results in a copy of the checkout, everything installed."""

    def build() -> None:
        shutil.rmtree(copy / "_build", ignore_errors=True)
        options = ["--cores", "all", "--quiet", "all", "--config", "preset=laptop"]
        _python("-m", "snakemake", *options, cwd=copy)

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "book"
        shutil.copytree(
            REPOSITORY, copy, ignore=shutil.ignore_patterns(".*env", "_build", ".snakemake")
        )
        times = [seconds(build) for _ in range(scale.repetitions)]
    return Work(
        work="book from recorded results, everything installed",
        most=60,
        baseline=None,
        ours=times,
        how="executes the notebooks and builds the strict book",
    )


def _count_evaluations(solve: Callable[[], list[dict]]) -> tuple[list[dict], int]:
    """Return what a call returns, and how often it evaluated the flow."""
    solve_ivp, counts = integrate.solve_ivp, []

    def counting(*arguments: Any, **options: Any) -> Any:
        solution = solve_ivp(*arguments, **options)
        counts.append(solution.nfev)
        return solution

    with mock.patch.object(integrate, "solve_ivp", counting):
        return solve(), sum(counts)


def _python(*arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return done.stdout
