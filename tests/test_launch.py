"""Notebooks where no book renders them: on Colab, on Binder, on GitHub, and alone."""

import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import ModuleType

import nbformat
import pandas as pd
import pytest
import yaml
from address import write_address
from conftest import REPOSITORY, repository_files
from IPython.core.interactiveshell import InteractiveShell
from launch import launch_links, launch_table
from memory import COLUMN, MEASURED, memory_table
from nbformat import NotebookNode
from pages import link_pages, pages, title
from pybtex.database import parse_file
from repository import HOW

import taskhead

ADDRESS = "https://github.com/owner/name"
BRANCH = yaml.safe_load((REPOSITORY / "_config.yml").read_text())["repository"]["branch"]
FILES = pages(REPOSITORY)
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
EVERY = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
LINK = re.compile(r"\[((?:[^][]|!\[[^]]*\]\([^)]*\))*)\]\(([^)]*)\)")  # its text may be a badge


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def colab_cell(notebook: NotebookNode) -> str:
    return next(cell.source for cell in notebook.cells if cell.cell_type == "code")


def home(notebook: NotebookNode) -> str | None:
    """Return the repository's address in a notebook."""
    found = re.search(r"git\+(\S+)@", colab_cell(notebook))
    return found[1] if found else None


def addressed(path: Path, *addresses: str) -> NotebookNode:
    """Return a notebook in which these addresses were written, one after the other."""
    notebook = read(path)
    for address in addresses or [ADDRESS]:
        write_address(notebook, f"notebooks/{path.name}", address, BRANCH, FILES)
    return notebook
    return notebook


@cache
def references() -> dict[str, tuple[str, str]]:
    """Return the first author's last name and the year of each reference, by its address."""
    entries = parse_file(REPOSITORY / "book" / "references.bib").entries.values()
    return {
        each.fields["url"]: (str(each.persons["author"][0].last_names[0]), each.fields["year"])
        for each in entries
    }


@EVERY
def test_prose_is_plain_markdown(path: Path):
    text = prose(read(path))
    for form in (r"\{[\w:-]+\}`", r"^(```|~~~)\{", r"^:::", r"\{\{", r"^\(\S+\)=", r"<\w"):
        assert not re.search(form, text, re.MULTILINE), form


def check_links(notebook: NotebookNode) -> None:
    """Each link leads to a reference, named by author and year, or to a file at the address."""
    known, files, address = references(), repository_files(), home(notebook)
    for text, target in LINK.findall(prose(notebook)):
        if target in known:
            name, year = known[target]
            assert re.match(rf"{name}\b.*, {year}$", text), text
        elif not text.startswith("!["):
            assert address
            assert target.removeprefix(f"{address}/blob/{BRANCH}/") in files, target


@EVERY
def test_links_lead_to_references_or_to_tracked_files_at_the_address(path: Path):
    check_links(read(path))
    check_links(addressed(path))


def test_all_notebooks_hold_the_same_address():
    assert len({home(read(path)) for path in NOTEBOOKS}) == 1


@EVERY
def test_italics_with_a_capital_name_a_page_and_become_links(path: Path):
    notebook = read(path)
    named = re.findall(r"(?<!\*)\*([A-Z][^*]*)\*(?!\*)", prose(notebook))
    assert set(named) <= {*FILES, *map(title, NOTEBOOKS)}
    staged = deepcopy(notebook)
    link_pages(staged, FILES, "..")
    linked = dict(LINK.findall(prose(staged)))
    assert all(linked[name] == f"../{FILES[name]}" for name in set(named) & set(FILES))


@EVERY
def test_badges_open_the_notebook_itself(path: Path):
    shown = [target for text, target in LINK.findall(prose(addressed(path))) if text[0] == "!"]
    assert f"notebooks/{path.name}" in repository_files()
    assert shown == [
        f"https://colab.research.google.com/github/owner/name/blob/{BRANCH}/notebooks/{path.name}",
        f"https://mybinder.org/v2/gh/owner/name/{BRANCH}?urlpath=lab/tree/notebooks/{path.name}",
    ]


@EVERY
def test_address_may_be_written_again_and_replaced(path: Path):
    fork = "https://github.com/other/fork"
    assert addressed(path, ADDRESS, fork, ADDRESS) == addressed(path) != addressed(path, fork)
    nbformat.validate(addressed(path))


def test_branch_is_the_one_that_is_published():
    published = (REPOSITORY / ".github" / "workflows" / "book.yml").read_text()
    assert f"branches: [{BRANCH}]" in published


def test_list_of_notebooks_links_each_or_says_how_to_give_an_address():
    table = launch_table(ADDRESS, BRANCH, FILES)
    for file in FILES.values():
        links = launch_links(ADDRESS, BRANCH, file).values()
        assert all(link in table for link in links) == file.endswith(".ipynb")
    alone = launch_table(None, BRANCH, FILES)
    assert HOW in alone
    assert "](" not in alone


@pytest.fixture
def shell(monkeypatch) -> Iterator[tuple[InteractiveShell, list[str]]]:
    """Return a shell on Colab without the library, and what pip is asked for."""
    shell, asked = InteractiveShell.instance(), []
    shell.register_magic_function(asked.append, "line", "pip")
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    yield shell, asked
    InteractiveShell.clear_instance()


def test_colab_installs_from_the_repository_at_the_tag(shell, monkeypatch):
    run, asked = shell
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True if asked else None)
    run.run_cell(colab_cell(addressed(NOTEBOOKS[0]))).raise_error()
    assert asked == [f"install --quiet git+{ADDRESS}@v{taskhead.__version__}"]


def test_colab_says_so_where_there_is_neither_address_nor_release(shell):
    run, asked = shell
    result = run.run_cell(colab_cell(read(NOTEBOOKS[0])))
    assert len(asked) == 1
    with pytest.raises(ModuleNotFoundError, match="make address"):
        result.raise_error()


@pytest.mark.parametrize("missing", ["google.colab", None])
def test_nothing_is_installed_elsewhere_nor_twice(shell, monkeypatch, missing: str | None):
    run, asked = shell
    if missing:
        monkeypatch.delitem(sys.modules, missing)
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    run.run_cell(colab_cell(read(NOTEBOOKS[0]))).raise_error()
    assert not asked


@EVERY
def test_colab_cell_names_the_version_of_the_library(path: Path):
    assert re.findall(r"(?:==|@v)([\d.]+)", colab_cell(read(path))) == [taskhead.__version__]


def test_every_notebook_fits_into_the_memory_that_binder_gives(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(REPOSITORY)
    peaks = pd.read_csv(MEASURED, index_col="notebook")[COLUMN]
    notebooks = [Path(file).stem for file in FILES.values() if file.endswith(".ipynb")]
    assert sorted(peaks.index) == sorted(notebooks)
    assert peaks.between(100, 2000).all()
    assert memory_table(FILES).count("](../notebooks/") == len(notebooks)
