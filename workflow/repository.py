"""The repository's address: given, or from the environment, or from the git remote."""

import os
import re
import subprocess
from pathlib import Path

GITHUB = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^/@]+@)?|git@)github\.com(?::\d+/|[:/])"
    r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?"
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
    return web_address(_origin(root))


def _origin(root: Path) -> str:
    command = ["git", "-C", str(root), "remote", "get-url", "origin"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
