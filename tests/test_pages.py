"""Pages with notebooks: minutes and prerequisites on top, code folded, a summary at the end."""

import re
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY
from minutes import minutes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pages import pages

from taskhead.report.claims import CLAIMS
from taskhead.report.principles import PRINCIPLES
from taskhead.report.scorecard import SYMBOLS

PAGES = [REPOSITORY / file for file in pages(REPOSITORY).values() if file.endswith(".ipynb")]
EVERY = pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
TUTORIALS = {"quickstart", "your-own-data"}  # their code is to be read


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def folded(cell: NotebookNode) -> bool:
    return bool({"hide-input", "remove-input", "remove-cell"} & set(cell.metadata.get("tags", [])))


def test_words_and_figures_take_minutes():
    figure = new_code_cell("draw()", metadata={"mystnb": {"image": {"alt": "Dots."}}})
    assert minutes(new_notebook(cells=[new_markdown_cell("word " * 300), figure])) == 2.0


@EVERY
def test_minutes_and_prerequisites_stand_below_the_title(path: Path):
    notebook = read(path)
    line = notebook.cells[0].source.split("\n\n")[1]
    stated = re.match(r"About (\d+) minutes\. Read before: .", line)
    assert stated, line
    assert abs(int(stated[1]) - minutes(notebook)) <= 1


@EVERY
def test_code_is_folded_where_it_is_not_to_be_read(path: Path):
    for cell in (cell for cell in read(path).cells if cell.cell_type == "code"):
        if "globals()" in cell.source:
            assert "remove-input" in cell.metadata.tags
        elif path.stem not in TUTORIALS:
            assert folded(cell), cell.source


@EVERY
def test_summary_says_what_was_found_without_a_number_written_by_hand(path: Path):
    prose = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    summary = prose.split("## In short\n\n")[1].split("\n\n")[0]
    names = [re.match(r"- \*\*([\w ]+):\*\* ", line) for line in summary.splitlines()]
    counted = any("scorecard.found(" in cell.source for cell in read(path).cells)
    found = [] if counted else ["Found"]
    assert [name and name[1] for name in names] == ["Claim tested", "Evidence", *found, "Limits"]
    assert not re.search("|".join([r"\d", *SYMBOLS]), summary)
    assert prose.count("## Provenance") <= prose.split("## In short")[1].count("## Provenance")


@EVERY
def test_verdicts_of_known_claims_follow_the_check_of_parameters(path: Path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    shown = [at for at, source in enumerate(cells) if "scorecard.badges(" in source]
    claims = {*CLAIMS.values(), *PRINCIPLES}
    for at in shown:
        assert "globals()" in cells[at - 1]
        named = cells[at].split("scorecard.badges(")[1]
        assert set(re.findall(r'"([a-z ]+)"', named)) <= claims
        [summed] = [source for source in cells if "scorecard.found(" in source]
        every = [cell.source for cell in read(path).cells]
        provenance = next(at for at, source in enumerate(every) if "## Provenance" in source)
        assert "**Claim tested:**" in every[every.index(summed) - 1]
        assert every.index(summed) < provenance
        assert "".join(summed.split("scorecard.found(")[1].split()) == "".join(named.split())
    assert len(shown) == sum("scorecard.scorecard(" in source for source in cells) <= 1
