"""What preparing a model for a folder of images came to."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor, nn

from taskhead.method.evaluation import accuracy
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.prepared import Prepared
from taskhead.practice.recommend import Advice
from taskhead.tasks.found import Found
from taskhead.tasks.names import printable
from taskhead.tasks.task import Task


@dataclass(frozen=True)
class Final:
    """A model that was finetuned on all images but those for testing, and what it says of these.

    `head` is the prepared head it started from, `logits` (N, K) are those of the test images.
    """

    head: Prepared
    network: nn.Sequential
    logits: Tensor

    def accuracy(self, task: Task) -> float:
        """Return the share of the test images of a task that is told right."""
        return accuracy(self.logits, task.test.labels)

    def by_class(self, task: Task) -> pd.Series:
        """Return the share of each class's test images that is told right, by its number."""
        right = self.logits.argmax(dim=1) == task.test.labels
        labels = task.test.labels.cpu().numpy()
        return pd.Series(right.cpu().numpy(), dtype=float).groupby(labels).mean()


@dataclass(frozen=True)
class Outcome:
    """What preparing a model for a folder came to; `finals` begins with the recommended one.

    `falling` are the heads along the trajectory of the recommended one, from its start to its end.
    """

    found: Found
    task: Task
    advice: Advice
    finals: dict[HeadPreparation, Final]
    facts: dict[str, Any]
    falling: list[Prepared]

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes as they can be printed and written."""
        return list(map(printable, self.found.classes))
