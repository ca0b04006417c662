"""What figures to touch are made of: a Vega-Lite specification, and what it shows in words.

The book ships Vega-Lite and draws them without a kernel (`book/_static/book.js`). Elsewhere one
line says where they can be touched, and the still figure beside it shows the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CONFIG = {  # the text takes the page's colour, so that it can be read in the dark theme too
    "background": None,
    "view": {"stroke": None},
    "axis": {
        **{name: "currentColor" for name in ("labelColor", "titleColor", "domainColor")},
        **{
            "gridColor": "#888",
            "gridOpacity": 0.3,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "tickCount": 4,
        },
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor"},
    "title": {"color": "currentColor", "anchor": "start", "fontSize": 13},
    "aria": False,  # the sentence below the figure says more than a list of marks
}
_ELSEWHERE = "In the book, where scripts are allowed, this figure can be touched."


@dataclass(frozen=True, repr=False)
class Touchable:
    """A figure with sliders or menus.

    `says` holds a sentence for each choice of the parameters of `spec`, joined by "|" in their
    order; a screen reader reads it when the choice changes.
    """

    spec: dict[str, Any]
    says: dict[str, str]

    def __repr__(self) -> str:
        """Return what paper and consoles show in its place."""
        return _ELSEWHERE

    def _repr_html_(self) -> str:
        spec = {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "config": _CONFIG,
            "usermeta": {"says": self.says},
            **self.spec,
        }
        text = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
        shown = f'<script type="application/json">{text}</script><p>{_ELSEWHERE}</p>'
        return f'<div class="touch">{shown}</div>'


def menu(name: str, label: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Return a parameter that a menu sets to a key of `options`, at first the first."""
    keys, labels = list(options), list(options.values())
    bind = {"input": "select", "options": keys, "labels": labels, "name": label}
    return {"name": name, "value": keys[0], "bind": bind}


def slider(name: str, label: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a parameter that a slider sets to the place of one of `values`, which it names."""
    bind = {"input": "range", "min": 0, "max": len(values) - 1, "step": 1, "name": label}
    return {"name": name, "value": 0, "bind": bind, "values": [f"{value:g}" for value in values]}


def rounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write numbers with four digits, as more cannot be seen, and None for NaN."""
    return [
        {
            key: (float(f"{value:.4g}") if value == value else None)
            if isinstance(value, float)
            else value
            for key, value in row.items()
        }
        for row in rows
    ]
