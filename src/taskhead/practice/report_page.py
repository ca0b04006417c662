"""The report of a prepared model: one HTML file that needs no other."""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from taskhead.practice.figures import (
    accuracy_against_energy,
    confusion_matrix,
    energy_as_it_falls,
)
from taskhead.practice.model_files import EXAMPLE
from taskhead.practice.names import in_words
from taskhead.practice.outcome import Final, Outcome
from taskhead.report.panels import grid
from taskhead.report.series import interval
from taskhead.tasks.names import printable
from taskhead.tasks.words import describe

SHOWN = 12  # images on which the model errs
_MANY = 30  # classes above which the confusion matrix is not drawn

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 48rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
pre { overflow-x: auto; }
td, th { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ccc; }
th:first-child, td:first-child { text-align: left; }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")


def write_report(outcome: Outcome, path: Path) -> None:
    """Write what was found, what is recommended and why, and where the model errs."""
    best = outcome.finals[outcome.advice.preparation]
    parts = [
        _paragraphs(describe(outcome.found)),
        "<h2>Recommended</h2>",
        _paragraphs(_recommended(outcome, best)),
        _picture(
            energy_as_it_falls(outcome.falling, best.head),
            "Energy against the epochs of probing, with a square where probing stops",
        ),
        "<h2>How sure</h2>",
        _paragraphs(
            [
                "Validation accuracy of each preparation: the mean over splits of the images into "
                "those to learn from and those held out, with its 95 percent interval. Intervals "
                "that overlap widely mean that the order may be chance."
            ]
        ),
        _table(compared(outcome)),
        _picture(
            accuracy_against_energy(outcome.advice),
            "Validation accuracy against the energy left by probing",
        ),
        "<h2>On the test images</h2>",
        _paragraphs(
            [
                "These images had no part in the choices above. The recommended model stands "
                "first; the others are the fixed choices, as a check."
            ]
        ),
        _table(tested(outcome)),
        *_by_class(outcome, best),
        *_errors(outcome, best),
        "<h2>Use it</h2>",
        f"<pre>taskhead predict {html.escape(printable(str(path.parent)))} IMAGE</pre>",
        _paragraphs([f"Or without this library, by {EXAMPLE} in the same folder:"]),
        f"<pre>{html.escape((path.parent / EXAMPLE).read_text(encoding='utf-8'))}</pre>",
    ]
    title = f"A model for {html.escape(printable(outcome.found.root.name))}"
    path.write_text(_PAGE.substitute(title=title, body="\n".join(parts)), encoding="utf-8")


def _recommended(outcome: Outcome, best: Final) -> Iterable[str]:
    how, head, n = outcome.advice.finetuning, best.head, len(outcome.task.test)
    yield (
        f"The model in this folder is right on {_share(best.accuracy(outcome.task), n)} of the {n} "
        "images for testing; the brackets hold the 95 percent interval that comes of their number."
    )
    yield (
        "Probing trains the new head alone, on the frozen backbone; finetuning then trains both. "
        "The energy is the mean error of the head that probing leaves to finetuning. Here it falls "
        f"from {outcome.falling[0].aie:.2f} without probing to {outcome.falling[-1].aie:.2f}."
    )
    yield (
        f"{in_words(outcome.advice.preparation).capitalize()}: {head.tau:.1f} epochs of probing on "
        f"cached features, which leave an energy of {head.aie:.2f}. Then {how['epochs']} epochs of "
        f"finetuning at the rate {how['lr']:g}."
    )
    yield f"{outcome.advice.reason[0].upper()}{outcome.advice.reason[1:]}."


def compared(outcome: Outcome) -> pd.DataFrame:
    """Return the mean validation accuracy of each preparation, with its interval, in percent."""
    rows = {}
    for name, accuracies in outcome.advice.compared.iterrows():
        mean, half = interval(accuracies, overlap=outcome.advice.overlap)
        rows[name] = {"validation accuracy": _percent(mean, half), "splits": len(accuracies)}
    return pd.DataFrame(rows).T


def tested(outcome: Outcome) -> pd.DataFrame:
    """Return the test accuracy of each final model, with Wilson's interval for its images."""
    n = len(outcome.task.test)
    rows = {}
    for way, final in outcome.finals.items():
        share = final.accuracy(outcome.task)
        rows[in_words(way)] = {
            "test accuracy": _share(share, n),
            "mean over classes": f"{100 * final.by_class(outcome.task).mean():.1f} %",
        }
    return pd.DataFrame(rows).T


def _by_class(outcome: Outcome, best: Final) -> Iterable[str]:
    classes, labels = outcome.classes, outcome.task.test.labels.cpu().numpy()
    shares = best.by_class(outcome.task)
    counts = np.bincount(labels, minlength=len(classes))
    right = [f"{100 * share:.0f} %" for share in shares.reindex(range(len(classes)))]
    yield _table(pd.DataFrame({"test images": counts, "right": right}, index=classes))
    if len(classes) <= _MANY:
        figure = confusion_matrix(outcome, best)
        yield _picture(figure, "Confusion matrix: true classes by predicted classes")


def _errors(outcome: Outcome, best: Final) -> Iterable[str]:
    told = best.logits.argmax(dim=1)
    wrong = (told != outcome.task.test.labels).nonzero()[:SHOWN, 0].tolist()
    if not wrong:
        return
    yield "<h2>Where it errs</h2>"
    figure, axes = grid(len(wrong), 4)
    for axis, index in zip(axes, wrong, strict=False):
        axis.imshow(outcome.task.test.images[index].permute(1, 2, 0).cpu().numpy())
        true = outcome.classes[int(outcome.task.test.labels[index])]
        axis.set_title(f"{outcome.classes[int(told[index])]}, not {true}", fontsize=8)
        axis.axis("off")
    yield _picture(figure, "Test images with the predicted class and the true one")


def _share(share: float, n: int) -> str:
    low, high = binomtest(round(share * n), n).proportion_ci(method="wilson")
    return f"{100 * share:.1f} % ({100 * low:.0f} to {100 * high:.0f})"


def _percent(mean: float, half: float) -> str:
    return f"{100 * mean:.1f} %" if np.isnan(half) else f"{100 * mean:.1f} ± {100 * half:.1f} %"


def _paragraphs(lines: Iterable[str]) -> str:
    return "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _table(table: pd.DataFrame) -> str:
    return table.to_html(border=0)


def _picture(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}"></p>'
