"""One function per figure to touch; each takes a results table and shows what stands in it."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from taskhead.report.names import titled
from taskhead.report.panels import means_over_seeds
from taskhead.report.series import by_series, done, relative, stops
from taskhead.report.touch import Touchable, menu, rounded, slider

MEASURES = {
    "euclidean": "distance",
    "cosine": "cosine similarity",
    "dot": "dot product",
    "norm": "norm",
}
_COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"]  # safe for the colour-blind
_ABOVE = {"orient": "top", "direction": "horizontal"}
_VALUE = {"type": "quantitative", "scale": {"zero": False}, "title": None}


def evidence(table: pd.DataFrame) -> Touchable:
    """Show the runs of `energy_sweep` tables by setting and measure, with mean and interval."""
    labels = {
        "euclidean": "distance, in norms of the features before",
        "cosine": "cosine similarity",
        "dot": "dot product, 1 is no change",
        "norm": "norm, 1 is no change",
        "test_accuracy": "test accuracy",
    }
    series = {name: relative(rows) for name, rows in by_series(table).items()}
    columns = ["seed", "stop", "aie", *labels]
    runs = [
        {"series": name, **run}
        for name, rows in series.items()
        for run in done(rows).assign(stop=stops)[columns].to_dict("records")
    ]
    means, says = [], {}
    for name, rows in series.items():
        for measure, label in labels.items():
            curve = means_over_seeds(rows, "aie", measure)
            means += _curve(curve, series=name, measure=measure)
            says[f"{name}|{measure}"] = (
                f"{titled(name)}, {label}: {_ends(curve, rows['seed'].nunique())}"
            )
    y = {"field": "value", **_VALUE}
    tooltip = [{"field": name, "type": "nominal"} for name in ("seed", "stop")]
    tooltip += [{**y, "title": "measure"}, {**_energy("aie"), "title": "energy"}]
    dots = {
        "data": {"values": rounded(runs)},
        "transform": [
            {"filter": "datum.series === setting"},
            {"calculate": "datum[measure]", "as": "value"},
        ],
        "mark": {"type": "point", "filled": True, "size": 40, "opacity": 0.6},
        "encoding": {"x": _energy("aie"), "y": y, "tooltip": tooltip},
    }
    spec = {
        "params": [
            menu("setting", "Setting", {name: titled(name) for name in series}),
            menu("measure", "Measure", labels),
        ],
        "datasets": {"means": rounded(means)},
        "title": {"text": {"expr": f"({json.dumps(labels)})[measure]"}},
        "width": "container",
        "height": 280,
        "encoding": {"color": {"value": _COLORS[0]}},
        "layer": [
            *_band_and_line("datum.series === setting && datum.measure === measure"),
            dots,
        ],
    }
    return Touchable(spec, says)


def geometry(table: pd.DataFrame, *, first_class: int = 0) -> Touchable:
    """Show `feature_geometry` with a slider over the epochs of probing.

    Classes are counted from `first_class`.
    """
    shown = done(table)
    runs = [rows for _, rows in shown.groupby("aie")][::-1]
    half = 1.05 * shown[["z0_x", "z0_y", "zT_x", "zT_y"]].abs().to_numpy().max()
    points = [
        {"step": step, "x": x, "y": y, "class": str(first_class + int(label))}
        for step, rows in enumerate(runs)
        for x, y, label in zip(rows["zT_x"], rows["zT_y"], rows["label"], strict=True)
    ]
    before = [{"x": x, "y": y} for x, y in runs[0][["z0_x", "z0_y"]].to_numpy().tolist()]
    steps = [
        {"step": step, **rows[["probed_epochs", "aie", *MEASURES]].iloc[0].to_dict()}
        for step, rows in enumerate(runs)
    ]
    scale = {"domain": [-half, half], "nice": False}
    place = {
        axis: {"field": axis, "type": "quantitative", "title": f"{title} direction", "scale": scale}
        for axis, title in (("x", "first"), ("y", "second"))
    }
    features = {
        "width": 270,
        "height": 270,
        "title": "features: before in grey, after in colour",
        "encoding": place,
        "layer": [
            {"data": {"values": rounded(before)}, "mark": {"type": "point", "color": "#999"}},
            {
                "data": {"values": rounded(points)},
                "transform": [{"filter": "datum.step == step"}],
                "mark": {"type": "point", "filled": True, "opacity": 0.7},
                "encoding": {
                    "color": {"field": "class", "scale": {"range": _COLORS}, "legend": _ABOVE},
                    "shape": {"field": "class", "legend": _ABOVE},
                },
            },
        ],
    }
    curves = [
        {"energy": row["aie"], "measure": name}
        | dict.fromkeys(("mean", "low", "high"), row[name])  # one run has no interval
        for row in steps
        for name in MEASURES
    ]
    spec = {
        "params": [
            slider("step", "Epochs of head probing", [row["probed_epochs"] for row in steps])
        ],
        "datasets": {"means": rounded(curves), "here": rounded(steps)},
        "vconcat": [features, _measures("true", "datum.step == step")],
    }
    says = {
        str(row["step"]): f"After {row['probed_epochs']:g} epochs of probing the energy is "
        f"{row['aie']:.2g}. After finetuning: {_values(row)}."
        for row in steps
    }
    return Touchable(spec, says)


def linear(table: pd.DataFrame) -> Touchable:
    """Show the widest model of `toy_linear` with sliders over tau and the scale of the head."""
    widest = done(table[table["width"] == table["width"].max()])
    scales, taus = (sorted(widest[name].unique()) for name in ("init_scale", "tau"))
    curves, here, says = [], [], {}
    for place, scale in enumerate(scales):
        rows = widest[widest["init_scale"] == scale]
        for name in MEASURES:
            curves += _curve(means_over_seeds(rows, "aie", name), scale=place, measure=name)
        means = rows.groupby("tau")[["aie", *MEASURES]].mean()
        for step, tau in enumerate(taus):
            row = means.loc[tau].to_dict()
            here.append({"step": step, "scale": place, **row})
            says[f"{step}|{place}"] = (
                f"After {tau:g} steps of probing a head of scale {scale:g} the energy is "
                f"{row['aie']:.2g}. After finetuning: {_values(row)}."
            )
    chosen = "datum.scale == scale"
    spec = {
        "params": [
            slider("step", "Steps of head probing", taus),
            slider("scale", "Scale of the initial head", scales),
        ],
        "datasets": {"means": rounded(curves), "here": rounded(here)},
        **_measures(chosen, f"{chosen} && datum.step == step"),
    }
    return Touchable(spec, says)


def _measures(chosen: str, now: str) -> dict[str, Any]:
    """Return a panel for each measure: the `chosen` curve of "means", and a dot `now` of "here"."""
    return {
        "columns": 4,
        "concat": [
            {
                "width": 110,
                "height": 110,
                "title": title,
                "encoding": {"color": {"value": _COLORS[0]}},
                "layer": [
                    *_band_and_line(f"{chosen} && datum.measure === '{name}'"),
                    {
                        "data": {"name": "here"},
                        "transform": [{"filter": now}],
                        "mark": {"type": "point", "filled": True, "size": 120},
                        "encoding": {
                            "x": _energy("aie"),
                            "y": {"field": name, **_VALUE},
                            "color": {"value": _COLORS[1]},
                        },
                    },
                ],
            }
            for name, title in MEASURES.items()
        ],
    }


def _band_and_line(chosen: str) -> list[dict[str, Any]]:
    """Return layers for the intervals and the line of the `chosen` rows of "means"."""
    shared = {"data": {"name": "means"}, "transform": [{"filter": chosen}]}
    x = _energy("energy")
    ends = {"x": x, "y": {"field": "low", **_VALUE}, "y2": {"field": "high"}}
    return [
        {**shared, "mark": {"type": "area", "opacity": 0.2}, "encoding": ends},
        {**shared, "mark": "line", "encoding": {"x": x, "y": {"field": "mean", **_VALUE}}},
    ]


def _curve(means: pd.DataFrame, **named: Any) -> list[dict[str, Any]]:
    return [
        {"energy": x, "mean": mean, **named}
        | ({"low": mean - half, "high": mean + half} if half == half else {})
        for x, mean, half in means.itertuples(index=False)
    ]


def _ends(curve: pd.DataFrame, seeds: int) -> str:
    ends = [curve.iloc[0], curve.iloc[-1]] if len(curve) else []
    said = [f"{end['mean']:.3g} ± {end['half_width']:.2g} at energy {end['x']:.2g}" for end in ends]
    return f"mean of {seeds} seeds {' and '.join(said)}." if said else "no stop has all seeds yet."


def _values(row: Mapping[Any, float]) -> str:
    return ", ".join(f"{label} {row[name]:.3g}" for name, label in MEASURES.items())


def _energy(field: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": "energy (AIE)"}
