"""The first screen of the book: the answer, how much farther, and names that people use."""

import pandas as pd
import pytest

from taskhead.report import front_page, replay
from taskhead.report.claims import CLAIMS
from taskhead.report.names import titled
from taskhead.report.rules import CONTRADICTED, SUPPORTED, UNDECIDED
from taskhead.report.series import NO_PROBING


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


def test_scope_of_a_series_is_its_backbone_and_its_samples():
    rows = {"setting": ["one"], "domain": [None], "backbone": ["resnet20"], "train_per_class": [10]}
    assert front_page.scopes(pd.DataFrame(rows)) == {"one": "ResNet-20, 10 a class"}


def test_costs_are_those_of_either_end_against_halfway():
    ways = [NO_PROBING, replay.HALFWAY, replay.TO_THE_END]
    found = {
        "one": pd.DataFrame([[0.5, 0.7, 0.8], [0.6, 0.8, 0.9]], columns=ways),
        "digits": pd.DataFrame([[0.7, 0.8, 0.7], [0.7, 0.8, 0.7]], columns=ways),
        "pacs": pd.DataFrame([[0.7, 0.8, 0.8], [0.7, 0.8, 0.8]], columns=ways),
    }
    assert front_page.costs(found) == (
        "Against halfway, no probing costs 10.0 points of test accuracy in the median series and "
        "up to 20.0 ± 0.0 (one); in 0 of 3 series it gains, by up to 0.0. Probing to the end costs "
        "0.0 points of test accuracy in the median series and up to 10.0 ± 0.0 (digits); in 1 of 3 "
        "series it gains, by up to 10.0. Halfway is nowhere more than 10.0 points below the best "
        "of the ways that are compared."
    )


@pytest.mark.parametrize(
    ("series", "name"),
    [
        ("digits", "digits"),
        ("cifar10-to-cifar100", "CIFAR-10 → CIFAR-100"),
        ("imagenet-to-pacs (sketch)", "ImageNet → PACS (sketch)"),
        ("imagenet-to-solar-cells", "ImageNet → solar cells"),
        ("minilm-to-subj, hidden layers: 64", "MiniLM → Subj, hidden layers: 64"),
        ("hard labels", "hard labels"),
    ],
)
def test_series_are_named_as_people_name_them(series: str, name: str):
    assert titled(series) == name
