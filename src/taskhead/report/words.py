"""What a table shows, in sentences whose numbers are taken from it."""

import math
from typing import Any

import pandas as pd

from taskhead.experiments.kinds import KINDS
from taskhead.experiments.run import field_names
from taskhead.experiments.settings import Setting
from taskhead.report import claims, rules
from taskhead.report.choices import chosen_stop
from taskhead.report.effects import powers
from taskhead.report.names import titled
from taskhead.report.series import by_series, done, interval, name_value, stops

LEAST_RANGE = 0.2  # of the energies of a sweep
_RATES = {
    "searched": (
        "it is the smallest rate of the rate search whose validation accuracy after the last epoch "
        "is within one point of the best; rates at which a run diverged or collapsed are left out"
    )
}
_ACCURACIES = {
    "test_accuracy": "test accuracy",
    "ood_accuracy": "accuracy on domains that finetuning has not seen",
}
_KEYS = dict.fromkeys(key for kind in KINDS.values() for key in field_names(kind.run))


def describe(table: pd.DataFrame, setting: Setting) -> str:
    """Say what the runs of an `energy_sweep` table have in common."""
    first, domains = table.iloc[0], table["domain"].dropna().unique()
    own = [f"{name} {first[name]}" for name in ("data", "weights") if pd.notna(first[name])]
    size = f", images of {first['image_size']} pixels" if pd.notna(first["image_size"]) else ""
    probing = "taken from the data" if first["hp_lr"] == "auto" else first["hp_lr"]
    facts = {
        "Backbone": f"{first['backbone']}{size}",
        "Training samples": f"{first['train_per_class']} of each class",
        "Target": f"{' and '.join(domains)}, one at a time" if len(domains) else "",
        "Given": ", ".join(own),
        "Rate of probing": probing,
        "Finetuning": f"{first['ft_epochs']} epochs at the rate {first['ft_lr']:g}",
        "Why this rate": _reason(first, setting),
        "Runs": left_out(table) or f"all {len(table)} are done",
    }
    listed = "\n".join(f"- {name}: {fact}." for name, fact in facts.items() if fact)
    said = [f"**Setting {setting.name}:** {setting.description}.", listed, small_range(table)]
    return "\n\n".join(filter(None, said))


def small_range(table: pd.DataFrame) -> str:
    """Say why a sweep says little if its energies span less than 0.2; "" if they span more."""
    runs = done(table)
    span = runs["aie"].max() - runs["aie"].min()
    if len(runs) < 2 or not span < LEAST_RANGE:
        return ""
    longest = runs.nlargest(1, "probed_epochs").iloc[0]
    return (
        f"Its energies span {span:.3f} only, too little to see a trend: the head was probed for "
        f"{longest['probed_epochs']:.0f} epochs at most, at the rate {longest['probed_lr']:.3g}. "
        "Probe for longer or at a higher rate, or down to lower energies."
    )


def what_acts(table: pd.DataFrame) -> str:
    """Say how the distance follows energy, head norm and rate in a `crossed` table."""
    found: dict[Any, dict[Any, float]] = powers(table).to_dict("index")
    shares = {name: f"{100 * row['variance explained']:.0f} percent" for name, row in found.items()}
    a, b = found["energy"], found["head norm"]
    weak, strong = sorted(("energy", "head norm"), key=lambda name: abs(found[name]["power"]))
    if abs(found[weak]["power"]) < abs(found[strong]["power"]) / 2:
        closest = f"the {strong} alone"
    else:
        closest = "their ratio" if a["power"] * b["power"] < 0 else "their product"
    return (
        f"In {table['setting'].iloc[0]} the distance goes with the energy to the power "
        f"{a['power']:.2f} ± {a['half width']:.2f}, and with the norm of the head to the power "
        f"{b['power']:.2f} ± {b['half width']:.2f}, at the same rate. That is closest to "
        f"{closest}. By itself the energy explains {shares['energy']} of the variance, the norm "
        f"{shares['head norm']}; with the rate they explain {shares['all three']}."
    )


def left_out(table: pd.DataFrame) -> str:
    """Say which runs of a table are not done, at which values, for how many seeds; "" if all are.

    It reads as "2 of 60 runs left out: diverged at no probing, energy 0.1 (1 of 5 seeds each)".
    """
    keys = [key for key in _KEYS if key in table and key not in ("seed", "tau", "energy")]
    runs = table.assign(stop=stops(table)) if "tau" in table else table
    runs = runs.drop_duplicates([*keys, "seed", *(["stop"] if "stop" in runs else [])])
    varied = ["stop"] if "stop" in runs else []
    varied += [key for key in keys if runs[key].nunique(dropna=False) > 1]
    places: dict[tuple[str, ...], list[str]] = {}
    for values, alike in runs.groupby(varied or keys, dropna=False):
        at = dict(zip(varied or keys, values, strict=True))
        stop = str(at.pop("stop", ""))
        where = [name_value(key, value) for key, value in at.items()]
        for outcome, count in alike["outcome"].value_counts().items():
            if outcome != "done":
                share = f"{count} of {len(alike)} seeds"
                places.setdefault((str(outcome), share, *where), []).append(stop)
    said = []
    for (outcome, share, *where), at in sorted(places.items()):
        where = [", ".join(filter(None, at)), *where]
        each = " each" if len(at) > 1 else ""
        said.append(f"{outcome} at {', '.join(filter(None, where))} ({share}{each})")
    count = (runs["outcome"] != "done").sum()
    return f"{count} of {len(runs)} runs left out: {', '.join(said)}" if said else ""


def _reason(run: pd.Series, setting: Setting) -> str:
    """Say why these rates: the setting's reason holds for its own rates and backbone alone."""
    general, special = setting.values_of("laptop", "energy_sweep")
    own = general | special
    if any(run[rate] != own.get(rate, "auto") for rate in ("hp_lr", "ft_lr")):
        return "given by the user"
    if run["backbone"] != own["backbone"]:
        return f"taken over from backbone {own['backbone']}, not searched for this one"
    return _RATES.get(str(setting.rates), str(setting.rates))


def trends(table: pd.DataFrame) -> str:
    """Say of every series of `energy_sweep` tables what the rules decide on each claim."""
    judged = claims.judge_beside_recorded(table).query(f"reading == '{claims.WHOLE}'")
    lines = []
    for name, rows in judged.groupby("series", sort=False):
        said = [
            f"{str(verdict).capitalize()}: {'; '.join(map(_claim, alike.to_dict('records')))}."
            for verdict, alike in rows.groupby("verdict", sort=False)
        ]
        few = rows["seeds"].iloc[0]
        counted = "1 seed" if few == 1 else f"{few} seeds"
        why = f" With {counted} nothing is decided." if few < rules.SEEDS else ""
        lines.append(f"- **{titled(str(name))}:** {' '.join(said)}{why}")
    return "\n".join(lines)


def optimum(table: pd.DataFrame, *, judged_on: str = "test_accuracy") -> str:
    """Say of every series how the stop that validation chose compares with both ends.

    Series in which a run that is done lacks the column `judged_on` are left out.
    """
    return "\n".join(
        f"- **{titled(name)}:** {comparison(chosen_stop(runs, judged_on=judged_on), judged_on)}"
        for name, runs in by_series(table).items()
        if judged_on in runs and done(runs)[judged_on].notna().all()
    )


def comparison(ends: pd.DataFrame, judged_on: str = "test_accuracy") -> str:
    """Put the rows of a `chosen_stop` table, made with `judged_on`, into words."""
    first = ends.iloc[0]
    said = [
        f"{_change(end['difference'], end['half width'])} than with {end['compared with']}"
        for end in ends.to_dict("records")
        if end["compared with"] != end["chosen"]
    ]
    return (
        f"Validation accuracy is best at {first['chosen']} (AIE {first['AIE']:.2f}). There "
        f"{_ACCURACIES[judged_on]} is {' and '.join(said)}."
    )


def drift(table: pd.DataFrame) -> str:
    """Say what probing in train mode did, from a `batchnorm_drift` table."""
    runs = done(table).assign(distance=table["relative_euclidean"])
    modes_done = runs[runs["tau"] > 0].groupby("tau")["bn_mode"].nunique()
    taus = modes_done.index[modes_done == 2]
    if taus.empty:
        return "At no tau above 0 is a run done in both modes."
    first, last = taus[0], taus[-1]
    modes = ("train", "eval")
    energy, accuracy = (
        " in train mode and ".join(_at(runs, last, mode, name) for mode in modes)
        for name in ("aie", "probe_val_accuracy")
    )
    return (
        f"In train mode the features of the validation images lie "
        f"{_at(runs, first, 'train', 'distance')} of their norm from the pretrained ones after "
        f"tau = {first}, and {_at(runs, last, 'train', 'distance')} after tau = {last}; in eval "
        f"mode they stay where they were. After tau = {last} the energy is {energy} in eval mode; "
        f"the validation accuracy of the probed head is {accuracy} in eval mode."
    )


def lazy_errors(table: pd.DataFrame) -> str:
    """Say how errors of a `lazy_limit` table fall between its largest heads, and their bounds."""
    names = {
        "euclidean": "distance",
        "dot_change": "dot product",
        "squared_norm_change": "squared norm",
    }
    said = []
    for name, label in names.items():
        most = table.groupby("head_norm")[[f"{name}_error", f"{name}_bound"]].max().iloc[-2:]
        (before, last), (_, bound) = most.iloc[:, 0], most.iloc[:, 1]
        slope = math.log(last / before) / math.log(most.index[1] / most.index[0])
        said.append(
            f"- **{label.capitalize()}:** slope {slope:.2f}; the bound is {bound / last:.0f} times "
            "as high as the error."
        )
    return "Between the two largest heads:\n\n" + "\n".join(said)


def tolerance() -> str:
    """Say how closely a recorded run is to be reproduced on another CPU."""
    allowed = {name: f"{100 * value:g}" for name, value in claims.TOLERANCE.items()}
    return (
        f"The tests hold a run computed again to {allowed['aie']} percent of its recorded energy, "
        f"{allowed['euclidean']} percent of the feature measures and {allowed['test_accuracy']} "
        "points of test accuracy. On another kind of CPU single runs may miss this, most of all "
        "those close to divergence; the verdicts rest on means over seeds."
    )


def _at(runs: pd.DataFrame, tau: int, mode: str, name: str) -> str:
    chosen = runs[(runs["tau"] == tau) & (runs["bn_mode"] == mode)]
    mean, half = interval(chosen[name])
    return f"{mean:.3f} ± {half:.3f}" if half == half else f"{mean:.3f}"


def _claim(row: dict) -> str:
    note = f" ({row['note']})" if row["note"] and row["seeds"] >= rules.SEEDS else ""
    return claims.CLAIMS[row["measure"]] + note


def _change(difference: float, half: float) -> str:
    spread = f" ± {100 * half:.1f}" if half == half else ""
    side = "higher" if difference >= 0 else "lower"
    return f"{abs(100 * difference):.1f}{spread} points {side}"
