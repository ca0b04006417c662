"""Names of files and classes in messages: in one line, and not too many."""

import os
from collections.abc import Iterable

_FEW = 5


def printable(name: str) -> str:
    r"""Return a name in which escapes stand for what cannot be printed or encoded, as "\n"."""
    text = os.fsencode(name).decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def few(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    every = list(names)
    more = len(every) - _FEW
    return ", ".join(every[:_FEW]) + (f" and {more} more" if more > 0 else "")
