"""Provenance: which sessions wrote a table, with which code, on which machine."""

import json
import platform
import subprocess
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from taskhead import __version__
from taskhead.tasks.storage import write_whole

Session = dict[str, Any]
SAID = {"started", "preset", "taskhead", "device", "libraries", "rows"}  # what captions need


def describe_session(preset: str, values: Session, device: torch.device) -> Session:
    """Return who computes: version, commit, date, preset, values, device, library versions."""
    return {
        "id": uuid.uuid4().hex[:12],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "taskhead": __version__,
        "commit": commit("src"),
        "preset": preset,
        "parameters": dict(values),
        "device": device_name(device),
        "threads": 1,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: version(name) for name in ("torch", "torchvision", "numpy", "scipy")},
    }


def load_provenance(path: Path) -> list[Session]:
    """Return the sessions that wrote the table at `path`, oldest first; empty if there is none.

    Raises `ValueError` if the provenance file is damaged, or is missing beside a table.
    """
    file = path.with_suffix(".json")
    if not file.exists():
        if path.exists():
            raise ValueError(
                f"provenance file {file} is missing beside its table; restore it, or move the "
                "table away"
            )
        return []
    try:
        sessions = json.loads(file.read_text(encoding="utf-8"))["sessions"]
        if not all(set(each) >= SAID and isinstance(each["rows"], int) for each in sessions):
            raise TypeError
        return [dict(session) for session in sessions]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"provenance file {file} is damaged; restore it, or move it away with its table"
        ) from None


def record_session(path: Path, session: Session, n_rows: int) -> None:
    """Add rows to what a session has written to the table at `path`.

    A process killed between this and the table leaves a count too high, not rows without a session.
    """
    sessions = load_provenance(path)
    known = next((each for each in sessions if each.get("id") == session["id"]), None)
    if known is None:
        known = {**session, "rows": 0}
        sessions.append(known)
    known["rows"] += n_rows
    text = json.dumps({"sessions": sessions}, indent=1) + "\n"
    write_whole(path.with_suffix(".json"), text.encode())


def commit(*folders: str) -> str | None:
    """Return the checkout's commit, and whether these folders differ from it; None outside git."""
    checkout = Path(__file__).parents[3]
    if not (checkout / ".git").exists():
        return None
    git = ["git", "-C", str(checkout)]
    try:
        head, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout
            for words in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--", *folders],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{head.strip()}, changed" if changed else head.strip()


def device_name(device: torch.device) -> str:
    """Return the name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or device.type
