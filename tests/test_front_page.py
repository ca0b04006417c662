"""The first screen of the book: the answer, how much farther, and names that people use."""

import pandas as pd
import pytest

from taskhead.report import front_page
from taskhead.report.claims import CLAIMS
from taskhead.report.rules import CONTRADICTED, SUPPORTED, UNDECIDED


def card(**verdicts: list[str]) -> pd.DataFrame:
    rows = [
        {"claim": CLAIMS[measure], "series": f"series {place}", "verdict": verdict, "seeds": 10}
        for measure, given in verdicts.items()
        for place, verdict in enumerate(given)
    ]
    few = {"claim": CLAIMS["norm"], "series": "few", "verdict": UNDECIDED, "seeds": 3}
    return pd.DataFrame([*rows, few])


def test_answer_counts_series_of_ten_seeds_by_verdict():
    lines = front_page.answer(
        card(
            euclidean=[SUPPORTED, CONTRADICTED],
            cosine=[SUPPORTED, SUPPORTED],
            norm=[UNDECIDED, UNDECIDED],
        )
    ).splitlines()
    assert lines == [
        "- **Supported:** features move further (in 1 of 2 series); features turn more (in 2 of 2 "
        "series).",
        "- **Contradicted:** features move further (in 1 of 2 series).",
        "- **Not decided anywhere:** norm rises, then falls.",
    ]


def test_distance_without_probing_is_compared_with_the_longest():
    runs = pd.DataFrame(
        {
            "setting": "one",
            "domain": None,
            "seed": [0, 0, 0, 1, 1, 1],
            "tau": [0, None, 9] * 2,
            "energy": [None, 0.5, None] * 2,
            "relative_euclidean": [3.0, 9.0, 1.0, 5.0, 9.0, 3.0],
            "dot": 1.0,
            "norm": 1.0,
            "z0_norm": 1.0,
            "z0_squared_norm": 1.0,
            "aie": [0.9, 0.5, 0.1] * 2,
            "outcome": "done",
        }
    )
    assert front_page.times_as_far(runs) == {"one": pytest.approx(2)}


def test_costs_name_the_worst_series_of_either_end():
    accuracies = {  # no probing, in between, the end; validation prefers the one in between
        "one": [[0.5, 0.7, 0.8], [0.6, 0.8, 0.9]],
        "digits": [[0.7, 0.8, 0.7], [0.7, 0.8, 0.7]],
    }
    runs = pd.DataFrame(
        [
            {"setting": setting, "domain": None, "seed": seed, "tau": tau, "energy": energy}
            | {"aie": aie, "test_accuracy": accuracy, "outcome": "done"}
            | {"val_accuracy": 1.0 if energy else 0.5}
            for setting, of_seeds in accuracies.items()
            for seed, of_stops in enumerate(of_seeds)
            for tau, energy, aie, accuracy in zip(
                [0, None, 9], [None, 0.5, None], [0.9, 0.5, 0.1], of_stops, strict=True
            )
        ]
    )
    assert front_page.costs(runs) == (
        "Against the stop that validation chooses, no probing costs up to 20.0 ± 0.0 (one) points "
        "of test accuracy, probing to the end up to 10.0 ± 0.0 (digits). In 1 of 2 series "
        "(one) one of the two was better than that stop."
    )


@pytest.mark.parametrize(
    ("series", "title"),
    [
        ("digits", "digits"),
        ("cifar10-to-cifar100", "CIFAR-10 → CIFAR-100"),
        ("imagenet-to-pacs (sketch)", "ImageNet → PACS (sketch)"),
        ("imagenet-to-solar-cells", "ImageNet → solar cells"),
    ],
)
def test_series_are_named_as_people_name_them(series: str, title: str):
    assert front_page.title(series) == title
