"""The repository: its address (given, from the environment, or the git remote) and its commit."""

import os
import re
import subprocess
from pathlib import Path

GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]+@)?|git@)github\.com(?::\d+/|[:/])"
    r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?"
)

HOW = (
    "The repository's address is not known: set TASKHEAD_REPOSITORY_URL to "
    "https://github.com/OWNER/NAME, or add the git remote origin."
)


def web_address(remote: str) -> str | None:
    """Turn any form of a GitHub address into that of its page; None for other addresses."""
    match = GITHUB.fullmatch(remote.strip())
    return f"https://github.com/{match['owner']}/{match['name']}" if match else None


def repository_url(given: str | None = None, *, root: Path = Path()) -> str | None:
    """Find the address that launch and edit buttons point at; None builds the book without them."""
    stated = given or os.environ.get("TASKHEAD_REPOSITORY_URL")
    if stated:
        if address := web_address(stated):
            return address
        raise ValueError(
            f"repository_url {stated!r} is no GitHub repository: give https://github.com/OWNER/NAME"
        )
    return web_address(_git(root, "remote", "get-url", "origin"))


def edition(version: str, *, root: Path = Path(), address: str | None = None) -> str:
    """Say in HTML which version, commit and date the pages show.

    The date is that of the commit, so that a build of the same commit is the same on any day.
    """
    if not (root / ".git").exists():
        return f"taskhead {version}, built outside git"
    commit, date = _git(root, "show", "--no-patch", "--format=%h %cs", "HEAD").split()
    shown = f'<a href="{address}/commit/{commit}">{commit}</a>' if address else commit
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"taskhead {version}, commit {shown} of {date}{', with changes' if changed else ''}"


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
