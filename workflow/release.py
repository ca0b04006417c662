"""The tag of a release: `make release` checks that it may be set, builds, and sets it."""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["check", "tag"])
    step = parser.parse_args().step
    version = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    if why := why_not(version):
        sys.exit(f"No release of {version}: {why}.")
    if step == "tag":
        subprocess.run(["git", "tag", "--annotate", f"v{version}", "-m", version], check=True)
        print(
            f"dist/ holds {version}, tagged v{version}; to publish, upload dist/ and push the tag"
        )


def why_not(version: str) -> str | None:
    """Return what stands against the release of a version, and what to do; None if nothing does."""
    changelog = Path("CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    newest = next(line.removeprefix("## ") for line in changelog if line.startswith("## "))
    if newest != version:
        return f"CHANGELOG.md begins with {newest!r}; give its changes the heading '## {version}'"
    if _git("status", "--porcelain"):
        return "there are changes outside the last commit; commit them"
    if _git("tag", "--list", f"v{version}"):
        return f"v{version} is tagged already; raise the version in pyproject.toml"
    return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
