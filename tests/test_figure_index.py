"""The index of figures: each with the tables behind it, and a line that runs."""

import re
from pathlib import Path

import nbformat
import pytest
from conftest import REPOSITORY, repository_files
from figure_index import figure_index, figures
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from pages import pages

from taskhead.experiments.plan import make_plan


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def notebook(*cells: str) -> NotebookNode:
    figure = {"mystnb": {"image": {"alt": "Dots."}}}
    *before, last = (new_code_cell(source) for source in cells)
    return new_notebook(cells=[*before, new_code_cell(last.source, metadata=figure)])


def drawn_from(*cells: str) -> set[str]:
    ((_, tables),) = figures(notebook(*cells))
    return {f"{table.parent.name}/{table.stem}" for table in tables}


ONE = 'table, path = load_or_compute("crossed", setting=setting, preset=preset)'
TWO = 'a, b = (load_all_recorded(study) for study in ("crossed", "views"))'


def test_tables_are_followed_through_names():
    assert drawn_from('setting = "digits"', ONE, "rows = table.mean()\ndraw(rows)") == {
        "crossed/digits"
    }
    assert drawn_from('setting = "digits"', ONE, "draw(other)") == set()


def test_every_setting_or_the_one_that_is_named():
    assert {"crossed/digits", "crossed/imagenet-to-cifar10"} <= drawn_from(
        'x = load_all_recorded("crossed")', "draw(x)"
    )
    assert drawn_from('x = load_all_recorded("crossed")["digits"]\ndraw(x)') == {"crossed/digits"}
    assert drawn_from(TWO, "draw(b)") == {"views/imagenet-to-cifar10"}
    assert drawn_from('x = recorded_folder() / "clean_probing" / "before.csv"', "draw(x)") == {
        "clean_probing/before"
    }


def test_index_has_every_figure_and_links_tracked_tables():
    files = pages()
    index = figure_index(files)
    notebooks = [nbformat.read(file, as_version=4) for file in files.values() if "ipynb" in file]
    shown = [alt for each in notebooks for alt, _ in figures(each)]
    assert re.findall(r"^- (.*)$", index, re.MULTILINE) == shown
    assert len(set(shown)) > 30
    linked = re.findall(r"\]\(\.\./([^)]*)\)", index)
    assert set(linked) <= repository_files()
    assert {Path(file).suffix for file in linked} == {".csv", ".ipynb"}


def test_every_line_computes_the_tables_linked_before_it():
    lines = re.findall(r"data of `(\w+)`: (.*); run it: `(.*)`", figure_index(pages()))
    assert len(lines) > 30
    for study, links, command in lines:
        settings = re.findall(r"\[([\w-]+)\]", links)
        _, _, named, _, setting, _, preset = command.split()
        assert named == study
        chosen = [setting] if setting != "NAME" else settings
        assert set(chosen) <= set(settings)
        for each in chosen:
            assert make_plan(study, setting=each, preset=preset).runs
