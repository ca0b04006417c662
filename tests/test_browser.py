"""The built book as a reader meets it: in Chromium, on a phone and a screen, light and dark.

`make test-browser` builds the book and runs this; it needs Chromium on the path.
"""

import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from conftest import REPOSITORY

playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install '.[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.browser
HTML = REPOSITORY / "_build" / "html"
PAGES = sorted(
    str(page.relative_to(HTML)) for room in ("book", "notebooks") for page in HTML.glob(f"{room}/*")
)
LOOKS = [(width, theme) for width in (390, 1440) for theme in ("light", "dark")]
SEARCHES = {
    "average initial energy": "introduction",
    "label smoothing": "label-smoothing",
    "own images": "your-own-data",
    "prepare a head": "library",
    "glossary": "glossary",
    "colab": "launch",
}


@dataclass
class Visit:
    """A page that was loaded, and what went wrong meanwhile."""

    page: playwright.Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if not PAGES:
        pytest.skip("there is no book; make book builds it")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[playwright.Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


SETTLED = """async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def load(chromium: playwright.Browser, address: str, name: str, width: int, theme: str) -> Visit:
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    visit = Visit(page)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("console", lambda m: visit.errors.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith(address) else visit.foreign.append(r.url))
    page.route(lambda url: not url.startswith(address), lambda route: route.abort())
    page.goto(f"{address}/{name}")
    page.evaluate(SETTLED)
    # Colours that the theme still fades in are nobody's colours.
    page.evaluate("() => Promise.all(document.getAnimations().map(each => each.finished))")
    return visit


@pytest.fixture(scope="module", params=LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def look(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param


@pytest.fixture(scope="module", params=PAGES)
def visit(
    request: pytest.FixtureRequest,
    chromium: playwright.Browser,
    address: str,
    look: tuple[int, str],
) -> Iterator[Visit]:
    visit = load(chromium, address, request.param, *look)
    yield visit
    visit.page.close()


def test_page_loads_without_an_error_and_from_its_own_host_alone(visit: Visit):
    assert not visit.errors
    assert not visit.foreign


def test_page_does_not_scroll_sideways(visit: Visit, look: tuple[int, str]):
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= look[0]


def test_no_serious_violation_of_accessibility(visit: Visit):
    more = {"rules": {"label-content-name-mismatch": {"enabled": True}}}  # off by default
    found = axe.Axe().run(visit.page, options=more).response["violations"]
    serious = {
        (rule["id"], tuple(node["html"][:200] for node in rule["nodes"][:3]))
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }
    assert not serious


def test_equations_are_rendered_and_the_tab_key_passes_them_by(visit: Visit):
    formulas = visit.page.locator(".math")
    rendered = visit.page.locator(".math mjx-container mjx-math")
    assert rendered.count() == formulas.count()
    assert visit.page.locator("mjx-merror").count() == 0
    assert visit.page.locator("mjx-container").evaluate_all(WRONG_STOPS) == 0


# Displayed formulas scroll where they are too wide; only those may hold up the Tab key.
WRONG_STOPS = """all => all.filter(f => {
  const wide = f.closest("div.math") !== null && f.scrollWidth > f.clientWidth;
  return (f.tabIndex >= 0) !== wide;
}).length"""


def test_tab_key_stops_at_formulas_that_scroll_also_after_the_phone_is_turned(
    chromium: playwright.Browser, address: str
):
    page = load(chromium, address, "notebooks/learning-dynamics.html", 390, "light").page
    stops = page.locator("mjx-container[tabindex='0']")
    assert stops.count()
    page.set_viewport_size({"width": 1440, "height": 900})
    playwright.expect(stops).to_have_count(0)
    page.close()


SAID = ".touch [aria-live]"


def test_wide_table_fades_at_its_edge_until_its_end(chromium: playwright.Browser, address: str):
    page = load(chromium, address, "notebooks/which-way.html", 390, "light").page
    wide = page.locator(".goes-on").first
    wide.scroll_into_view_if_needed()
    assert wide.evaluate("box => getComputedStyle(box).maskImage").startswith("linear-gradient")
    box = wide.element_handle()
    box.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
    page.wait_for_function("box => !box.classList.contains('goes-on')", arg=box)
    page.close()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize(("name", "sliders"), [("feature-geometry", 1), ("toy-linear", 2)])
def test_sliders_move_dots_and_the_values_told(
    chromium: playwright.Browser, address: str, name: str, sliders: int, width: int
):
    page = load(chromium, address, f"notebooks/{name}.html", width, "light").page
    inputs = page.get_by_role("slider")
    playwright.expect(inputs).to_have_count(sliders)
    for slider in inputs.all():
        said, drawn = page.inner_text(SAID), page.inner_html(".touch svg")
        before = slider.get_attribute("aria-valuetext")
        slider.press("ArrowRight")
        playwright.expect(slider).not_to_have_attribute("aria-valuetext", before)
        playwright.expect(page.locator(SAID)).not_to_have_text(said)
        assert page.inner_html(".touch svg") != drawn
    page.close()


def test_reader_chooses_setting_and_measure_and_points_at_a_run(
    chromium: playwright.Browser, address: str
):
    page = load(chromium, address, "notebooks/energy-sweep.html", 1440, "light").page
    page.get_by_label("Setting").select_option(label="ImageNet → CIFAR-10")
    page.get_by_label("Measure").select_option(label="cosine similarity")
    playwright.expect(page.locator(SAID)).to_contain_text("ImageNet → CIFAR-10, cosine similarity")
    page.locator(".touch .mark-symbol path").first.hover(force=True)
    playwright.expect(page.locator("#vg-tooltip-element.visible")).to_contain_text("seed")
    page.close()


@pytest.mark.parametrize("name", ["energy-sweep", "feature-geometry", "toy-linear"])
def test_without_scripts_the_still_figure_is_there(
    chromium: playwright.Browser, address: str, name: str
):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(f"{address}/notebooks/{name}.html")
    playwright.expect(page.locator(".touch p")).to_contain_text("can be touched")
    assert page.locator("div.cell_output img").first.is_visible()
    page.close()


def documents() -> dict[Path, BeautifulSoup]:
    return {
        HTML / name: BeautifulSoup((HTML / name).read_text(encoding="utf-8"), "html.parser")
        for name in PAGES
    }


@pytest.mark.skipif(not PAGES, reason="there is no book; make book builds it")
def test_links_and_anchors_resolve():
    pages = documents()
    anchors = {page: {tag["id"] for tag in soup.select("[id]")} for page, soup in pages.items()}
    broken = []
    for page, soup in pages.items():
        for tag in soup.select("[href], [src]"):
            link = urlsplit(str(tag.get("href") or tag.get("src")))
            if link.scheme or link.netloc:
                continue
            target = (page.parent / unquote(link.path)).resolve() if link.path else page
            known = anchors.get(target)
            if not target.exists() or (link.fragment and known and link.fragment not in known):
                broken.append((page.name, link.geturl()))
    assert not broken


@pytest.mark.parametrize(("words", "page"), SEARCHES.items())
def test_search_finds_the_page_first(
    chromium: playwright.Browser, address: str, words: str, page: str
):
    visit = load(chromium, address, f"search.html?q={words.replace(' ', '+')}", 1440, "light")
    first = visit.page.locator("#search-results li a").first
    first.wait_for(timeout=20_000)
    assert re.search(page, str(first.get_attribute("href")))
    visit.page.close()
