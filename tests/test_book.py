"""The book: strict, without traces of the machine, its links on files that git tracks."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from conftest import REPOSITORY, Build, Checkout, repository_files
from pages import pages
from repository import repository_url, web_address

from taskhead import __version__

ADDRESS = "https://github.com/owner/name"
PAGES = pages(REPOSITORY)


def toc_pages() -> list[str]:
    toc = yaml.safe_load((REPOSITORY / "_toc.yml").read_text())
    return [toc["root"], *(page["file"] for part in toc["parts"] for page in part["chapters"])]


def html_pages(checkout: Checkout) -> dict[str, str]:
    html = checkout.path / "_build" / "html"
    return {page: (html / f"{page}.html").read_text() for page in toc_pages()}


@pytest.fixture(scope="module")
def linked(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Build the book once more in a copy, now with a repository address."""
    path = tmp_path_factory.mktemp("linked") / "checkout"
    shutil.copytree(build.checkout.path, path)
    checkout = Checkout(path, build.checkout.data)
    checkout.run(url="git@github.com:owner/name.git")
    return checkout


@pytest.mark.parametrize(
    "remote",
    [
        ADDRESS,
        f"{ADDRESS}.git",
        f"{ADDRESS}/",
        "https://user:secret@github.com/owner/name.git",
        "git@github.com:owner/name.git",
        "ssh://git@github.com/owner/name.git",
        "ssh://git@github.com:22/owner/name",
    ],
)
def test_every_form_of_an_address_is_one_web_address(remote: str):
    assert web_address(remote) == ADDRESS


@pytest.mark.parametrize("remote", ["", "/srv/git/name.git", "../name", "https://example.org/a/b"])
def test_other_remotes_give_no_address(remote: str):
    assert web_address(remote) is None


def test_address_comes_from_the_remote_unless_stated(tmp_path: Path, monkeypatch):
    monkeypatch.delenv("TASKHEAD_REPOSITORY_URL", raising=False)
    assert repository_url(root=tmp_path) is None
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    remote = ["git", "-C", tmp_path, "remote", "add", "origin", "git@github.com:owner/name.git"]
    subprocess.run(remote, check=True)
    assert repository_url(root=tmp_path) == ADDRESS
    monkeypatch.setenv("TASKHEAD_REPOSITORY_URL", "https://github.com/other/fork")
    assert repository_url(root=tmp_path) == "https://github.com/other/fork"
    with pytest.raises(ValueError, match="no GitHub repository"):
        repository_url("/srv/git/name.git", root=tmp_path)


def test_every_page_is_a_file_of_the_repository():
    files = repository_files()
    for page in toc_pages():
        assert {f"{page}.md", f"{page}.ipynb"} & files, page


def test_without_a_repository_there_are_no_buttons(build: Build):
    for page, html in html_pages(build.checkout).items():
        for host in ("mybinder.org", "colab.research.google.com", "/edit/main/", "issues/new"):
            assert host not in html, page


def test_launch_and_edit_links_point_at_files_of_the_repository(linked: Checkout):
    files = repository_files()
    forms = {
        "edit": rf"{ADDRESS}/edit/main/([^\"]+)",
        "Colab": r"https://colab\.research\.google\.com/github/owner/name/blob/main/([^\"]+)",
        "Binder": r"https://mybinder\.org/v2/gh/owner/name/main\?urlpath=lab/tree/([^\"]+)",
    }
    for page, html in html_pages(linked).items():
        for form, pattern in forms.items():
            targets = [unquote(target) for target in re.findall(pattern, html)]
            assert targets or (form != "edit" and not page.startswith("notebooks/")), (page, form)
            if page == "book/launch" and form != "edit":
                assert set(targets) == {f for f in PAGES.values() if f.endswith(".ipynb")} <= files
            else:
                assert set(targets) <= files & {f"{page}.md", f"{page}.ipynb"}


def test_without_a_repository_the_launch_page_says_how_to_give_an_address(build: Build):
    assert "TASKHEAD_REPOSITORY_URL" in html_pages(build.checkout)["book/launch"].split("footer")[0]


def test_every_page_says_which_version_it_shows(build: Build):
    for page, html in html_pages(build.checkout).items():
        assert html.count(f"taskhead {__version__}, built outside git") == 1, page


def test_names_of_pages_in_notebooks_are_links_of_the_book(build: Build):
    html = html_pages(build.checkout)["notebooks/quickstart"].split("<article")[1]
    assert re.search(r'href="energy-sweep\.html"[^>]*>(<[^>]*>)*Energy sweep<', html)


def test_notebook_taken_from_the_book_has_its_outputs_and_no_relative_links(build: Build):
    html = build.checkout.path / "_build" / "html"
    for file in (f for f in PAGES.values() if f.endswith(".ipynb")):
        cells = nbformat.read(html / "_sources" / file, as_version=4).cells
        assert any(cell.get("outputs") for cell in cells)
        prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
        assert not any(re.search(r"\]\((?!https://)", text) for text in prose), file


def test_index_of_figures_brings_its_tables(build: Build):
    html = html_pages(build.checkout)["book/figures"]
    tables = re.findall(r'href="\.\./(_downloads/[^"]*\.csv)"', html)
    recorded = {file.read_bytes() for file in (REPOSITORY / "results").glob("*/*.csv")}
    assert tables
    for file in tables:
        assert (build.checkout.path / "_build" / "html" / file).read_bytes() in recorded


def test_pages_show_nothing_of_the_machine(build: Build):
    html = build.checkout.path / "_build" / "html"
    pages = [*html.glob("book/*.html"), *html.glob("notebooks/*.html"), *html.glob("_sources/*/*")]
    assert len(pages) > 2 * len(toc_pages()) - 1
    for page in pages:
        text = page.read_text()
        for trace in (
            str(build.checkout.path),
            str(build.checkout.data),
            sys.prefix,
            'papermill":',
        ):
            assert trace not in text, page


@pytest.mark.parametrize(("name", "known"), [("preset", True), ("no_such_number", False)])
def test_unknown_number_breaks_the_strict_build(
    build: Build, tmp_path: Path, name: str, known: bool
):
    stage = tmp_path / "stage"
    (stage / "book").mkdir(parents=True)
    shutil.copy(build.checkout.path / "_build" / "stage" / "_config.yml", stage)
    shutil.copy(REPOSITORY / "book" / "references.bib", stage / "book")
    shutil.copytree(REPOSITORY / "book" / "_static", stage / "book" / "_static")
    (stage / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    (stage / "page.md").write_text(f"# Page\n\nIt is {{{{ {name} }}}}.\n")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", stage]
    options = ["--path-output", tmp_path, "-W", "-n", "--keep-going"]
    built = subprocess.run([*command, *options], capture_output=True, text=True)
    assert (built.returncode == 0) == known, built.stdout + built.stderr
    assert known or name in built.stdout + built.stderr
