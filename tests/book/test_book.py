"""The built book, opened from disk in a headless browser as a reader would.

``TRUSTDD_BOOK`` names a folder of built pages to look at; without it the smoke profile's book is
built by the workflow. Needs Chromium, node_modules (`npm ci`) and the book's own packages.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from browsing import MODULES, ROOT, opened_browser

AXE = MODULES / "axe-core" / "axe.min.js"
#: pages that Sphinx makes by itself
OWN_PAGES = ("genindex.html", "search.html", "py-modindex.html")
#: bytes that a page without formulas may load
HEAVIEST = 1_500_000
#: the page that computes brings the library it computes with
COMPUTES = "book/draw.html"
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built pages."""
    given = os.environ.get("TRUSTDD_BOOK")
    if given:
        folder = Path(given).resolve()
        if not (folder / "index.html").is_file():
            pytest.fail(f"TRUSTDD_BOOK={given}: no index.html there")
        return folder
    pytest.importorskip("jupyter_book", reason="the book's packages are not installed")
    if not (ROOT / "node_modules" / "mathjax").is_dir():
        pytest.skip("node_modules is not there (npm ci)")
    out = ROOT / "_build" / "smoke" / "html"
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", "workflow/Snakefile", "--cores", "2",
        "--rerun-incomplete", "--nolock", "--config", "profile=smoke",
        f"out={out.relative_to(ROOT)}",
    ]  # fmt: skip
    # kept where `make book PROFILE=smoke` keeps them, so that a second run has nothing to build
    environment = {k: v for k, v in os.environ.items() if k != "TRUSTDD_RESULTS"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if built.returncode:
        logs = sorted((ROOT / "_build" / "smoke" / "logs").glob("*.log"), key=os.path.getmtime)
        last = logs[-1].read_text()[-3000:] if logs else ""
        pytest.fail(f"the book was not built:\n{built.stderr[-2000:]}\n{last}")
    return out


@pytest.fixture(scope="session")
def pages(book: Path) -> list[str]:
    """Every page below the book's folder, as paths from it."""
    found = sorted(str(p.relative_to(book)) for p in book.rglob("*.html"))
    # the front door only leads to the landing page
    return [p for p in found if p != "index.html" and not p.startswith(("_static/", "_downloads/"))]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    yield from opened_browser()


@dataclass
class Seen:
    """What a browser shows and says of one page."""

    outside: list[str]
    errors: list[str]
    formulas: int
    formulas_set: int
    formula_errors: int
    formula_font: bool
    pictures: list[dict[str, Any]]
    complaints: dict[str, list[tuple[str, str, list[str]]]]
    phone_width: int
    bytes: int


MEASURE = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  // pictures are fetched as they come into view; those of the other theme never
  const images = [...document.images].filter(image => image.checkVisibility());
  for (const image of images) {
    image.loading = "eager";
    await image.decode().catch(() => null);
  }
  const count = selector => document.querySelectorAll(selector).length;
  return {
    formulas: count("article .math"),
    formulas_set: count("article .math mjx-container"),
    formula_errors: count("article mjx-merror"),
    formula_font: document.fonts.check("16px MJXTEX-I"),
    pictures: images.filter(image => image.closest("article")).map(image => ({
      source: image.src, natural: image.naturalWidth, alt: image.alt.trim(),
      shown: image.getBoundingClientRect().width,
    })),
  };
}"""


class Visit:
    """A browser's tab, and what was heard from it."""

    def __init__(self, browser: Any) -> None:
        self.context = browser.new_context(color_scheme="light", viewport=DESK)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", self._failed)
        self.page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        self.page.on("console", self._said)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _failed(self, request: Any) -> None:
        # going on to the next page ends what the last one was still reading
        if request.failure != "net::ERR_ABORTED":
            self.errors.append(f"failed: {request.url} ({request.failure})")

    def open(self, path: Path, query: str = "") -> None:
        self.requests.clear()
        self.errors.clear()
        self.page.goto(path.as_uri() + query, wait_until="load")

    def loaded(self) -> int:
        """Bytes of the files that were loaded."""
        paths = {unquote(urlparse(url).path) for url in self.requests if url.startswith("file:")}
        return sum(Path(path).stat().st_size for path in paths if Path(path).is_file())

    def outside(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def axe(self, scheme: str) -> list[tuple[str, str, list[str]]]:
        """What axe-core finds on the whole page, in light or dark."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
        # colours take a moment to turn from one scheme to the other
        self.page.wait_for_timeout(300)
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.add_script_tag(path=str(AXE))
        # in the dark, only colours are others
        chosen = "{}" if scheme == "light" else "{runOnly: ['color-contrast']}"
        result = self.page.evaluate(
            f"() => axe.run({{resultTypes: ['violations'], preload: false, ...{chosen}}})"
        )
        return [
            (v["id"], v["help"], [node["html"][:120] for node in v["nodes"][:3]])
            for v in result["violations"]
        ]


@pytest.fixture(scope="session")
def seen(book: Path, pages: list[str], browser: Any) -> dict[str, Seen]:
    """Every page as a browser sees it: in light, in dark, and as wide as a phone."""
    found = {}
    tab = Visit(browser)
    for name in pages:
        tab.page.emulate_media(color_scheme="light")
        tab.open(book / name)
        measured = tab.page.evaluate(MEASURE)
        loaded = tab.loaded()
        complaints = {}
        looked_at = name not in OWN_PAGES and AXE.is_file()
        if looked_at:
            complaints = {scheme: tab.axe(scheme) for scheme in ("light", "dark")}
        tab.page.set_viewport_size(PHONE)
        width = tab.page.evaluate("() => document.documentElement.scrollWidth")
        if looked_at:
            complaints["phone"] = tab.axe("light")
        tab.page.set_viewport_size(DESK)
        found[name] = Seen(
            outside=tab.outside(), errors=list(tab.errors), complaints=complaints,
            phone_width=width, bytes=loaded, **measured,
        )  # fmt: skip
    tab.context.close()
    return found


@pytest.fixture
def visit(browser: Any) -> Iterator[Visit]:
    opened = Visit(browser)
    yield opened
    opened.context.close()


def test_the_front_door_leads_to_the_landing_page(book: Path, visit: Visit) -> None:
    visit.open(book / "index.html")
    visit.page.wait_for_selector("article h1")
    assert "Trustworthy dataset distillation" in visit.page.inner_text("article h1")
    assert visit.outside() == []


def test_no_page_asks_the_network_or_stumbles(seen: dict[str, Seen]) -> None:
    assert len(seen) > 10
    assert {name: page.outside for name, page in seen.items() if page.outside} == {}
    assert {name: page.errors for name, page in seen.items() if page.errors} == {}


def test_formulas_are_set(book: Path, seen: dict[str, Seen]) -> None:
    with_math = [name for name in seen if 'class="math' in (book / name).read_text()]
    assert any(name.startswith("notebooks/") for name in with_math)
    for name in with_math:
        page = seen[name]
        assert page.formulas_set >= page.formulas > 0, name
        assert page.formula_errors == 0, name
        # in MathJax's own fonts, which lie beside the page
        assert page.formula_font, name


def test_every_picture_is_there_and_described(seen: dict[str, Seen]) -> None:
    pictures = [(name, p) for name, page in seen.items() for p in page.pictures]
    assert len(pictures) >= 8
    for name, picture in pictures:
        assert picture["natural"] > 0, (name, picture["source"])
        assert picture["shown"] > 100, (name, picture["source"])
        assert len(picture["alt"]) > 20, (name, picture["source"])


def test_nothing_shuts_readers_out(seen: dict[str, Seen]) -> None:
    """axe-core finds nothing, in light, in dark and on a phone."""
    if not AXE.is_file():
        pytest.skip("axe-core is not there (npm ci)")
    complaints = {
        (name, scheme): found
        for name, page in seen.items()
        for scheme, found in page.complaints.items()
        if found
    }
    assert complaints == {}
    assert sum(len(page.complaints) for page in seen.values()) >= 30


def test_pages_without_formulas_are_light(seen: dict[str, Seen]) -> None:
    heavy = {name: page.bytes for name, page in seen.items()
             if not page.formulas and name not in (*OWN_PAGES, COMPUTES)
             and page.bytes > HEAVIEST}  # fmt: skip
    assert heavy == {}
    assert max(page.bytes for page in seen.values()) > 0


def test_no_role_is_shown_as_it_was_typed(book: Path, pages: list[str]) -> None:
    typed = {}
    for name in pages:
        html = re.sub(
            r"<(pre|code|script)\b.*?</\1>", "", (book / name).read_text(), flags=re.DOTALL
        )
        found = re.findall(r"\{[A-Za-z][\w:.+-]*\}`[^<]*", re.sub(r"<[^>]+>", "", html))
        if found:
            typed[name] = found
    assert typed == {}


def test_figures_are_drawn_for_both_themes_and_for_a_phone(book: Path, visit: Visit) -> None:
    visit.open(book / "notebooks" / "03_detection.html")
    # pictures are loaded when they come near the window
    shown = """() => Promise.all([...document.querySelectorAll("figure.catalogue img")]
        .filter(image => image.checkVisibility()).map(async image => {
            image.loading = "eager";
            await image.decode();
            return [image.currentSrc.split("/").pop(), image.getBoundingClientRect().width];
        }))"""
    drawn: dict[tuple[str, int], list[list[Any]]] = {}
    for scheme in ("light", "dark"):
        for size in (DESK, PHONE):
            visit.page.emulate_media(color_scheme=scheme)
            visit.page.set_viewport_size(size)
            visit.page.wait_for_timeout(200)
            drawn[scheme, size["width"]] = visit.page.evaluate(shown)
    for (scheme, width), images in drawn.items():
        kind = "narrow" if width == PHONE["width"] else "wide"
        assert images
        for name, across in images:
            assert f"-{kind}-{scheme}-" in name
            assert across <= width


def test_no_page_is_wider_than_a_phone(seen: dict[str, Seen]) -> None:
    assert {name: p.phone_width for name, p in seen.items() if p.phone_width > 391} == {}


def test_catalogue_figures_are_numbered_as_in_the_catalogue(book: Path, pages: list[str]) -> None:
    numbered: dict[str, str] = {}
    for name in pages:
        html = (book / name).read_text()
        for entry, number in re.findall(
            r'<figure[^>]*id="(fig\d\d)">.*?<span class="caption-number">Figure (\d+)',
            html,
            re.DOTALL,
        ):
            assert entry not in numbered, f"{entry} is numbered on {numbered.get(entry)} and {name}"
            numbered[entry] = name
            assert int(entry.removeprefix("fig")) == int(number)
    assert {"fig01", "fig02", "fig03", "fig04", "fig05"} <= set(numbered)


def test_every_page_names_its_profile(book: Path, pages: list[str]) -> None:
    names = set()
    for name in pages:
        shown = re.search(r'profile-banner__name">([^<]+)<', (book / name).read_text())
        assert shown, name
        names.add(shown[1])
    assert len(names) == 1


def test_search_finds_a_word(book: Path, visit: Visit) -> None:
    visit.open(book / "search.html", "?q=pseudo-outlier")
    visit.page.wait_for_function(
        "() => /found/i.test(document.querySelector('#search-results').innerText) "
        "&& document.querySelectorAll('#search-results p.context').length"
    )
    found = visit.page.locator("#search-results ul.search li")
    assert found.count() >= 2
    # the lines around the word are there without fetching the page that they are on
    assert any("outlier" in text.lower() for text in found.all_inner_texts())
    assert visit.errors == []
    assert visit.outside() == []


def test_links_and_anchors_lead_somewhere(book: Path, pages: list[str]) -> None:
    texts = {name: (book / name).read_text() for name in pages}
    anchors = {name: set(re.findall(r'\b(?:id|name)="([^"]+)"', t)) for name, t in texts.items()}
    broken = []
    for name, html in texts.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]*)"', html):
            target, anchor = urldefrag(link.replace("&amp;", "&"))
            if urlparse(target).scheme:
                continue
            path = unquote(target.partition("?")[0])
            linked = (book / name).parent / path if path else book / name
            if not linked.resolve().is_file():
                broken.append((name, link))
                continue
            page = str(linked.resolve().relative_to(book.resolve()))
            # "#" alone is the top of the page
            if anchor and page in anchors and unquote(anchor) not in anchors[page]:
                broken.append((name, link))
    assert broken == []
