"""Names of head preparations: in the rows of a search, and for people."""

from dataclasses import fields
from typing import Any

import pandas as pd

from taskhead.method.head_preparation import HeadPreparation

END = 400  # epochs of probing that count as its end


def name_of(preparation: HeadPreparation) -> dict[str, Any]:
    """Return the fields of a preparation, as a row holds them."""
    energy = None if preparation.energy is None else round(preparation.energy, 4)
    hidden = " ".join(map(str, preparation.hidden))
    return vars(preparation) | {"energy": energy, "hidden": hidden}


def of_name(row: dict[str, Any]) -> HeadPreparation:
    """Return the preparation that `name_of` gave a row its fields of."""
    own = {each.name: row[each.name] for each in fields(HeadPreparation)}
    tau = None if pd.isna(own["tau"]) else int(own["tau"])
    energy = None if pd.isna(own["energy"]) else own["energy"]
    hidden = tuple(map(int, own["hidden"].split()))
    return HeadPreparation(**own | {"tau": tau, "energy": energy, "hidden": hidden})


def in_words(preparation: HeadPreparation) -> str:
    """Return what people would call a preparation."""
    said = [_stop_in_words(preparation)]
    if preparation.eps:
        said[0] += f" with labels smoothed by {preparation.eps:g}"
    if preparation.hidden:
        said.append(f"hidden layers of {' and '.join(map(str, preparation.hidden))}")
    if preparation.init != "uniform":
        said.append(f"{preparation.init} start")
    if preparation.init_scale != 1:
        said.append(f"initial scale {preparation.init_scale:g}")
    if blocks := preparation.reinitialised_blocks:
        said.append(f"last {'block' if blocks == 1 else f'{blocks} blocks'} drawn anew")
    return ", ".join(said)


def _stop_in_words(preparation: HeadPreparation) -> str:
    if preparation.tau == 0:
        return "no probing"
    if preparation.energy is not None:
        return f"probing down to energy {preparation.energy:.2f}"
    end = preparation.tau == END
    return "probing to the end" if end else f"{preparation.tau} epochs of probing"
