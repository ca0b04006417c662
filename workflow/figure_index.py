"""The index of figures: what each shows, its tables, and the line that computes them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from taskhead.experiments.studies import STUDY_NAMES, load_study, settings_of

RESULTS = Path("results")
LOADERS = {"load_or_compute", "load_all_recorded", "recorded_folder"}


def figure_index(files: dict[str, str]) -> str:
    """Return the index of the figures on pages, given by title, as Markdown."""
    parts = []
    for title, file in files.items():
        if file.endswith(".ipynb"):
            notebook = nbformat.read(file, as_version=4)
            shown = [_entry(alt, tables, file) for alt, tables in figures(notebook)]
            parts.append("\n".join([f"## [{title}](../{file})\n", *shown]))
    return "\n\n".join(parts)


def figures(notebook: NotebookNode) -> Iterator[tuple[str, set[Path]]]:
    """Yield the alternative text of each figure of a notebook, and the tables behind it.

    Tables are followed from where they are loaded through the names they are assigned to.
    """
    known: dict[str, set[Path]] = {}
    values: dict[str, object] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or "%pip" in cell.source:
            continue
        used: set[Path] = set()
        for statement in ast.parse(cell.source).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=value)):
                    values[name] = value
            used = _loaded(statement, values).union(*(known.get(n, ()) for n in _names(statement)))
            if isinstance(statement, ast.Assign):
                known |= _shared_out(_names(*statement.targets), used, statement)
        if alt := cell.metadata.get("mystnb", {}).get("image", {}).get("alt"):
            yield alt, used


def _shared_out(targets: list[str], used: set[Path], statement: ast.Assign) -> dict[str, set[Path]]:
    """Return the tables behind each target: those of its study where as many studies are named."""
    studies = [each for each in _strings(statement) if each in STUDY_NAMES]
    if len(studies) != len(targets):
        return dict.fromkeys(targets, used)
    shared = zip(targets, studies, strict=True)
    return {name: {table for table in used if table.parent.name == study} for name, study in shared}


def _loaded(statement: ast.stmt, values: dict[str, object]) -> set[Path]:
    """Return the recorded tables that a statement loads."""
    names = set(_names(statement))
    if not names & LOADERS:
        return set()
    said = {each.removesuffix(".csv") for each in _strings(statement)}
    studies = said & set(STUDY_NAMES) or set(STUDY_NAMES)
    tables = {table for study in studies for table in (RESULTS / study).glob("*.csv")}
    if "load_all_recorded" not in names and "setting" in names:
        said.add(str(values["setting"]))
    return {table for table in tables if table.stem in said} or tables


def _names(*nodes: ast.AST) -> list[str]:
    return [each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name)]


def _strings(node: ast.AST) -> list[str]:
    constants = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant))
    return [each for each in constants if isinstance(each, str)]


def _entry(alt: str, tables: set[Path], file: str) -> str:
    """Return a figure's item: its text, links to its tables and the commands that compute them."""
    studies = sorted({table.parent.name for table in tables})
    if not studies or len(studies) > len(STUDY_NAMES) // 2:
        data = "[every recorded table](scorecard.md)" if studies else "computed on the page"
        return f"- {alt}\n  - data: {data}; run it: `papermill {file} out.ipynb`"
    lines = [f"- {alt}"]
    for study in studies:
        named = sorted(table.stem for table in tables if table.parent.name == study)
        links = ", ".join(f"[{name}](../{RESULTS / study / name}.csv)" for name in named)
        settings = [name for name in named if name in settings_of(load_study(study))]
        setting = settings[0] if len(settings) == 1 else "NAME"
        run = f"taskhead run {study} --setting {setting} --preset laptop"
        lines.append(f"  - data of `{study}`: {links}; run it: `{run}`")
    return "\n".join(lines)
