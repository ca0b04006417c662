"""How long a page of the book takes to read."""

from nbformat import NotebookNode

WORDS = 200  # read in a minute
FIGURE = 0.5  # minutes to look at one


def minutes(notebook: NotebookNode) -> float:
    """Return the minutes that the Markdown and the figures of a notebook take."""
    words = sum(len(c.source.split()) for c in notebook.cells if c.cell_type == "markdown")
    figures = sum("mystnb" in cell.metadata for cell in notebook.cells)
    return words / WORDS + figures * FIGURE
