"""A release: what stands against it, its tag, and the version, commit and date on every page."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from release import why_not
from repository import edition

ADDRESS = "https://github.com/owner/name"
NIGHT = "2024-02-29T23:30:00-08:00"  # in UTC the day after


def git(*words: str) -> str:
    names = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    environment = os.environ | {"GIT_COMMITTER_DATE": NIGHT, "GIT_AUTHOR_DATE": NIGHT}
    command = ["git", *names, *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """Enter a repository with one commit that may be released as 0.2.0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.2.0\n\n- New.\n\n## 0.1.0\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n')
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "Begin")
    return tmp_path


def run(step: str) -> subprocess.CompletedProcess:
    command = [sys.executable, REPOSITORY / "workflow" / "release.py", step]
    who = {"GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org"}
    return subprocess.run(command, env=os.environ | who, capture_output=True, text=True)


def test_release_is_tagged_once(project: Path):
    assert run("check").returncode == 0
    assert not git("tag")
    assert run("tag").returncode == 0
    assert git("rev-parse", "v0.2.0^{commit}") == git("rev-parse", "HEAD")
    again = run("tag")
    assert again.returncode == 1
    assert "v0.2.0 is tagged already" in again.stderr


def test_changes_outside_the_commit_and_unreleased_notes_stand_against_it(project: Path):
    (project / "new.py").touch()
    assert "outside the last commit" in str(why_not("0.2.0"))
    (project / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 0.2.0\n")
    assert "'Unreleased'" in str(why_not("0.2.0"))
    done = run("tag")
    assert done.returncode == 1
    assert not git("tag")


def test_edition_has_the_date_of_the_commit_and_says_what_is_changed(project: Path):
    commit = git("rev-parse", "--short", "HEAD")
    assert edition("0.2.0") == f"taskhead 0.2.0, commit {commit} of 2024-02-29"
    assert f'<a href="{ADDRESS}/commit/{commit}">{commit}</a>' in edition("0.2.0", address=ADDRESS)
    (project / "pyproject.toml").touch()
    (project / "untracked").touch()
    assert "with changes" not in edition("0.2.0")
    (project / "pyproject.toml").write_text("")
    assert edition("0.2.0").endswith(", with changes")
    shutil.rmtree(project / ".git")
    assert edition("0.2.0") == "taskhead 0.2.0, built outside git"
