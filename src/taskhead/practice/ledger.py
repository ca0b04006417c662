"""The ledger of a search: its finished finetunings, kept on the disk as they come."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Ledger:
    """Finished finetunings by their keys, in a file of JSON lines if there is a path.

    A search that was stopped continues from the same file. Rows of other searches, whose `search`
    is not this one, stay there and are passed over.
    """

    path: Path | None = None
    search: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read what is there; a last line that was cut off is taken out.

        Raises `ValueError` if another line is damaged.
        """
        if self.path is None or not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            lines = lines[:-1]
            self.path.write_text("".join(lines), encoding="utf-8")
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                raise ValueError(
                    f"line {number} of {self.path} is damaged; take it out, or give another folder"
                ) from None
            if row.pop("search", "") == self.search:
                self.rows.append(row)

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """Return the row of a key, None if there is none yet."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, on the disk before anything else is computed."""
        self.rows.append(row)
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | {"search": self.search}) + "\n")
