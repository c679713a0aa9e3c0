"""The whole book as one PDF: every page of its contents behind the other, printed by Chromium.

    python workflow/print_book.py --html _build/html --toc _toc.yml --out _build/trustdd-quick.pdf

Links between pages become links inside the document; each page starts on a fresh sheet; formulas
and figures are those of the pages.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlparse

import yaml
from bs4 import BeautifulSoup, Tag

#: where Debian and others put it
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: of the page, nothing that a reader of paper can use
LEFT_OUT = (
    "a.headerlink", "button", ".provenance", ".run-this-page details", ".prev-next-area",
    "script:not([type^='math/'])",
)  # fmt: skip
STYLE = """
  body { margin: 0; }
  .printed-page { break-before: page; }
  .printed-page:first-of-type { break-before: auto; }
  details > :not(summary) { display: block; }
"""


def main() -> int:
    """Print the book; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--html", type=Path, required=True, help="the built pages")
    parser.add_argument("--toc", type=Path, required=True, help="the table of contents")
    parser.add_argument("--out", type=Path, required=True, help="the PDF")
    options = parser.parse_args()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"no browser; expected one of {', '.join(BROWSERS)} on the path", file=sys.stderr)
        return 2
    names = list(pages_in_order(yaml.safe_load(options.toc.read_text(encoding="utf-8"))))
    missing = [name for name in names if not (options.html / f"{name}.html").is_file()]
    if missing:
        print(f"{options.html}: {', '.join(missing)} not built; run `make book`", file=sys.stderr)
        return 2
    print_pages(options.html, names, options.out, browser)
    print(options.out)
    return 0


def pages_in_order(toc: Any) -> Iterator[str]:
    """Yield the names of all pages, depth first, as the sidebar lists them."""
    if isinstance(toc, dict):
        for key in ("root", "file"):
            if key in toc:
                yield toc[key]
        for key in ("parts", "chapters", "sections"):
            yield from pages_in_order(toc.get(key, []))
    else:
        for part in toc:
            yield from pages_in_order(part)


def one_document(html: Path, names: list[str]) -> str:
    """Join the pages' articles into one HTML document that lies at the top of the book."""
    first = BeautifulSoup((html / f"{names[0]}.html").read_text(encoding="utf-8"), "html.parser")
    _rebase(first, names[0], names, html)
    body = first.new_tag("body")
    for name in names:
        page = BeautifulSoup((html / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        article = page.select_one("article.bd-article")
        if article is None:
            raise ValueError(f"{name}.html has no article")
        for selector in LEFT_OUT:
            for found in article.select(selector):
                found.decompose()
        for folded in article.select("details"):
            folded["open"] = ""
        _rebase(article, name, names, html)
        holder = first.new_tag("section", attrs={"class": "printed-page", "id": _anchor(name, "")})
        holder.append(article)
        body.append(holder)
    assert first.body is not None and first.head is not None
    first.body.replace_with(body)
    style = first.new_tag("style")
    style.string = STYLE
    first.head.append(style)
    assert isinstance(first.html, Tag)
    first.html["data-theme"] = "light"
    return str(first)


def _rebase(part: Tag, name: str, names: list[str], html: Path) -> None:
    """Make addresses start at the top of the book, and links to its pages lead inside it."""
    folder = os.path.dirname(name)
    for element in part.select("[id]"):
        element["id"] = _anchor(name, str(element["id"]))
    for attribute in ("src", "href", "data"):
        for element in part.select(f"[{attribute}]"):
            address = str(element[attribute])
            if urlparse(address).scheme:
                continue
            target, fragment = urldefrag(address)
            path = os.path.normpath(os.path.join(folder, target)) if target else f"{name}.html"
            page = re.sub(r"\.html$", "", path)
            if element.name == "a" and page in names:
                element[attribute] = f"#{_anchor(page, fragment)}"
            elif target:
                element[attribute] = path + (f"#{fragment}" if fragment else "")


def _anchor(name: str, fragment: str) -> str:
    return f"{name.replace('/', '-')}--{fragment}"


def print_pages(html: Path, names: list[str], out: Path, browser: str) -> None:
    """Write the PDF, whole or not at all."""
    from playwright.sync_api import sync_playwright

    joined = html / ".printed.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        joined.write_text(one_document(html, names), encoding="utf-8")
        with tempfile.TemporaryDirectory(dir=out.parent) as folder, sync_playwright() as play:
            chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page()
            page.goto(joined.resolve().as_uri(), wait_until="load")
            page.wait_for_function(
                "!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)"
            )
            page.emulate_media(media="print", color_scheme="light")
            partial = Path(folder) / "book.pdf"
            page.pdf(
                path=partial, format="A4", print_background=True, outline=True, tagged=True,
                margin={"top": "18mm", "bottom": "18mm", "left": "18mm", "right": "18mm"},
                display_header_footer=True, header_template="<span></span>",
                footer_template='<div style="width:100%;text-align:center;font-size:8px">'
                '<span class="pageNumber"></span></div>',
            )  # fmt: skip
            chromium.close()
            partial.replace(out)
    finally:
        joined.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
