"""Write the repository's address into the notebooks: `make address`.

Badges, links to other pages, and from where Colab installs the library.
"""

import re
import sys
from pathlib import Path

import nbformat
import yaml
from launch import badges
from nbformat import NotebookNode
from pages import link_pages, pages
from repository import HOW, repository_url

from taskhead import __version__

BADGES_CELL = "badges"


def main() -> None:
    address = repository_url()
    if address is None:
        sys.exit(HOW)
    branch = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))["repository"]["branch"]
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        write_address(notebook, path.as_posix(), address, branch, pages())
        nbformat.write(notebook, path)


def write_address(
    notebook: NotebookNode, file: str, address: str, branch: str, files: dict[str, str]
) -> None:
    """Write the address into a notebook, in place of the one that stands there."""
    link_pages(notebook, files, f"{address}/blob/{branch}")
    cell = nbformat.v4.new_markdown_cell(
        badges(address, branch, file), id=BADGES_CELL, metadata={"tags": ["remove-cell"]}
    )
    notebook.cells = [cell, *(each for each in notebook.cells if each.id != BADGES_CELL)]
    for each in notebook.cells:
        each.source = re.sub(
            r"(%pip install --quiet) \S+",
            rf"\1 git+{address}@v{__version__}",
            each.source,
        )


if __name__ == "__main__":
    main()
