"""Pages of the book by title: how a notebook names another page.

A notebook writes the title in italics, which reads well where no book renders it. The book, and
`make address` for Colab and GitHub, turn the name into a link.
"""

import re
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode


def pages(root: Path = Path()) -> dict[str, str]:
    """Return the file of each page of the book, below `root`, by the page's title."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]
    files = [next(root.glob(f"{name}.*")) for name in names]
    return {title(file): file.relative_to(root).as_posix() for file in files}


def title(file: Path) -> str:
    """Return the first heading of a page, a notebook or a Markdown file."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        text = "\n".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    return next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ")


def link_pages(notebook: NotebookNode, files: dict[str, str], folder: str) -> None:
    """Turn each title in italics, or linked before, into a link to its file below `folder`."""
    titles = "|".join(map(re.escape, files))
    named = re.compile(rf"(?<!\*)\*({titles})\*(?!\*)|\[({titles})\]\([^)]*\)")
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = named.sub(
                lambda m: f"[{m[1] or m[2]}]({folder}/{files[m[1] or m[2]]})", cell.source
            )
