"""Stage the book: a tree that mirrors the repository, with its notebooks executed.

Page paths equal repository paths, so launch links open the file they name.
"""

import argparse
import copy
import re
import shutil
from pathlib import Path

import nbformat
import vl_convert
import yaml
from figure_index import figure_index
from launch import launch_table
from memory import memory_table
from nbformat import NotebookNode
from pages import link_pages, pages
from repository import HOW, edition

from taskhead import __version__

BUILD = Path("_build")
STAGE = BUILD / "stage"
DOWNLOADS = BUILD / "downloads"  # notebooks as readers take them from the book
VEGA_LITE = "6.4"  # draws the figures to touch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--repository-url", default="")
    options = parser.parse_args()

    for made in (STAGE, DOWNLOADS):
        shutil.rmtree(made, ignore_errors=True)
    shutil.copytree("book", STAGE / "book")
    shutil.copy("_toc.yml", STAGE)
    for table in Path("results").glob("*/*.csv"):
        (STAGE / table).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table, STAGE / table)
    # Closed, for browsers load a module from a server only, and readers open files as well.
    bundle = vl_convert.javascript_bundle(None, vl_version=VEGA_LITE)  # pyright: ignore
    library = f"(() => {{{bundle}}})();"
    (STAGE / "book" / "_static" / "vega.js").write_text(library, encoding="utf-8")
    files = pages()
    for executed in sorted((BUILD / "notebooks" / options.preset).glob("*.ipynb")):
        notebook = without_traces(nbformat.read(executed, as_version=4))
        write(notebook, DOWNLOADS / executed.name)
        link_pages(notebook, files, "..")
        write(notebook, STAGE / "notebooks" / executed.name)
    prose = BUILD / "prose" / options.preset
    for figure in prose.glob("*.png"):
        shutil.copy(figure, STAGE / "book" / "images")

    address = options.repository_url or None
    if address is None:
        print(f"The book is built without launch, edit and repository buttons. {HOW}")
    config = yaml.safe_load(Path("_config.yml").read_text(encoding="utf-8"))
    substitutions = {
        **yaml.safe_load((prose / "numbers.yaml").read_text(encoding="utf-8")),
        "launch": launch_table(address, config["repository"]["branch"], files),
        "memory": memory_table(files),
        "figure_index": figure_index(files),
    }
    footer = edition(__version__, address=address)
    config = resolve(config, address=address, substitutions=substitutions, footer=footer)
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    (STAGE / "_config.yml").write_text(text, encoding="utf-8")


def resolve(
    config: dict, *, address: str | None, substitutions: dict[str, str], footer: str
) -> dict:
    """Complete the book's configuration with what is known only at build time."""
    resolved = copy.deepcopy(config)
    resolved["sphinx"]["config"]["myst_substitutions"] = substitutions
    if address:
        resolved["repository"]["url"] = address
    else:
        for buttons in ("repository", "launch_buttons", "html"):
            del resolved[buttons]
    resolved.setdefault("html", {})["extra_footer"] = footer
    return resolved


def without_traces(notebook: NotebookNode) -> NotebookNode:
    """Take the machine's paths, timings and progress output from an executed notebook."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            tags = [*tags, "remove-cell"]
        kept = {"tags": tags, "mystnb": cell.metadata.get("mystnb")}
        cell.metadata = nbformat.from_dict({name: value for name, value in kept.items() if value})
        if cell.cell_type == "code":
            cell.outputs = [
                _portable(output) for output in cell.outputs if not _is_progress(output)
            ]
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)


def _is_progress(output: dict) -> bool:
    return output.get("name") == "stderr"


def _portable(output: dict) -> dict:
    if "text" in output:
        output["text"] = without_paths(output["text"])
    for kind, content in output.get("data", {}).items():
        if kind.startswith("text/"):
            output["data"][kind] = without_paths(content)
    return output


def without_paths(text: str) -> str:
    """Write paths below the repository and below the user's home relative to them."""
    for folder, name in ((Path.cwd(), "."), (Path.home(), "~")):
        text = re.sub(rf"(?<![\w./+-]){re.escape(str(folder))}(?![\w.-])", name, text)
    return text


if __name__ == "__main__":
    main()
