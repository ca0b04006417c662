"""What is known of one piece of work, done with the engine and by the baseline."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One piece of work; lists hold seconds, one for each repetition.

    `b0` and `baseline` are the two variants of the baseline. The target is a ratio of `baseline` to
    ours of at least `least`. `floor` is the least time that the arithmetic of the work takes at the
    machine's measured peak. `difference` is the largest relative difference between what both sides
    computed, `accuracy_gap` that of test accuracies in [0, 1]. `warm_up` are the seconds of a first
    round that is not counted.
    """

    work: str
    least: float
    ours: list[float]
    baseline: list[float]
    b0: list[float]
    floor: float
    difference: float
    accuracy_gap: float
    warm_up: float
    how: str
