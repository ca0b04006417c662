"""What a table shows, in sentences whose numbers are taken from it."""

import pandas as pd

from taskhead.experiments.kinds import KINDS
from taskhead.experiments.run import field_names
from taskhead.experiments.settings import Setting
from taskhead.report import claims

NAMES = {
    "euclidean": "the Euclidean distance",
    "cosine": "cosine similarity",
    "dot": "the dot product",
    "norm": "the norm",
}
_RATES = {
    "searched": (
        "of the finetuning rates at which every run of the rate search is done, the smallest whose "
        "mean validation accuracy is within one standard error of the best; the probing rate only "
        "sets how fast tau passes"
    )
}
_KEYS = dict.fromkeys(key for kind in KINDS.values() for key in field_names(kind.run))


def describe(table: pd.DataFrame, setting: Setting) -> str:
    """Say what the runs of an `energy_sweep` table have in common."""
    first, domains = table.iloc[0], table["domain"].dropna().unique()
    own = [f"{name} {first[name]}" for name in ("data", "weights") if pd.notna(first[name])]
    given = f" Given: {', '.join(own)}." if own else ""
    target = f" Target: {' and '.join(domains)}, one at a time." if len(domains) else ""
    return (
        f"**Setting {setting.name}:** {setting.description}.{target} Backbone {first['backbone']}, "
        f"images of {first['image_size']} pixels, {first['train_per_class']} training images of "
        f"each class.{given} Probing rate {first['hp_lr']:g}, finetuning rate {first['ft_lr']:g} "
        f"({_reason(first, setting)}), {first['ft_epochs']} epochs of finetuning. "
        f"{left_out(table) or f'All {len(table)} runs are done'}."
    )


def left_out(table: pd.DataFrame) -> str:
    """Say which runs of a table are not done, at which values, for how many seeds; "" if all are.

    It reads as "2 of 60 runs left out: diverged at tau = 0, 199 (1 of 5 seeds each)".
    """
    keys = [key for key in _KEYS if key in table and key != "seed"]
    runs = table.drop_duplicates([*keys, "seed"])
    varied = [key for key in keys if key == "tau" or runs[key].nunique(dropna=False) > 1]
    places: dict[tuple[str, ...], list[str]] = {}
    for values, alike in runs.groupby(varied or keys, dropna=False):
        at = dict(zip(varied or keys, values, strict=True))
        tau = str(at.pop("tau", ""))
        where = [claims.name_value(key, value) for key, value in at.items()]
        for outcome, count in alike["outcome"].value_counts().items():
            if outcome != "done":
                share = f"{count} of {len(alike)} seeds"
                places.setdefault((str(outcome), share, *where), []).append(tau)
    said = []
    for (outcome, share, *where), taus in sorted(places.items()):
        where = [f"tau = {', '.join(taus)}"] * any(taus) + where
        said.append(f"{outcome} at {', '.join(where)} ({share}{' each' * (len(taus) > 1)})")
    count = (runs["outcome"] != "done").sum()
    return f"{count} of {len(runs)} runs left out: {', '.join(said)}" if said else ""


def _reason(run: pd.Series, setting: Setting) -> str:
    """Say why these rates: the setting's reason holds for its own rates and backbone alone."""
    general, special = setting.values_of("laptop", "energy_sweep")
    own = general | special
    if any(run[rate] != own[rate] for rate in ("hp_lr", "ft_lr")):
        return "given by the user"
    if run["backbone"] != own["backbone"]:
        return f"taken over from backbone {own['backbone']}, not searched for this one"
    return _RATES.get(str(setting.rates), str(setting.rates))


def trends(table: pd.DataFrame) -> str:
    """Say of every series of an `energy_sweep` table which trends hold."""
    return "\n".join(
        f"- **{name}:** {_trends_of(runs)}" for name, runs in claims.by_series(table).items()
    )


def optimum(table: pd.DataFrame, *, judged_on: str = "test_accuracy") -> str:
    """Say of every series how the probing time chosen on validation compares with both ends.

    Series in which a run that is done lacks the column `judged_on` are left out.
    """
    return "\n".join(
        f"- **{name}:** {comparison(claims.best_in_between(runs, judged_on=judged_on))}"
        for name, runs in claims.by_series(table).items()
        if judged_on in runs and claims.done(runs)[judged_on].notna().all()
    )


def comparison(ends: pd.DataFrame) -> str:
    """Put the rows of a `best_in_between` table into words."""
    verdict = claims.together(ends["verdict"])
    return (
        f"The probing time with the best mean validation accuracy is tau = "
        f"{ends['chosen tau'].iloc[0]}. {' '.join(map(_against, ends.to_dict('records')))} "
        f"The claim that the optimum lies in between "
        f"{'**holds**' if verdict == 'holds' else 'is **not shown**'} here."
    )


def drift(table: pd.DataFrame) -> str:
    """Say what probing in train mode did, from a `batchnorm_drift` table."""
    runs = claims.done(table).assign(distance=table["euclidean"] / table["z0_norm"])
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
    mean, half = claims.interval(chosen[name])
    return f"{mean:.3f} ± {half:.3f}" if half == half else f"{mean:.3f}"


def _trends_of(runs: pd.DataFrame) -> str:
    judged = claims.feature_trends(runs)
    said = []
    for verdict in ("holds", "not shown", claims.NOT_RECORDED):
        having = [
            f"{NAMES[str(name)]} {row['claim'].replace(',', ' and')}"
            for name, row in judged.iterrows()
            if row["verdict"] == verdict
        ]
        if having:
            said.append(f"{verdict.capitalize()}: {'; '.join(having)}.")
    return " ".join(said)


def _against(end: dict) -> str:
    difference = 100 * end["difference"]
    if end["chosen tau"] == end["compared with tau"]:
        return f"It is an end of the grid itself: no gain over tau = {end['compared with tau']}."
    change = f"{'gains' if difference >= 0 else 'loses'} {abs(difference):.1f}"
    shown = "." if end["verdict"] == "holds" else ", which is not shown to differ from zero."
    spread = f" ± {100 * end['half width']:.1f}" if end["half width"] == end["half width"] else ""
    return (
        f"Against tau = {end['compared with tau']}, it {change}{spread} points of accuracy{shown}"
    )
