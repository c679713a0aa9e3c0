"""A headless Chromium for tests, and the pieces of the book's pages that they try by themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: nothing that the browser does by itself may reach for the network
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip
STATIC = ROOT / "book" / "_static"
MODULES = ROOT / "node_modules"


def opened_browser() -> Iterator[Any]:
    """Start Chromium, or skip the test where there is none; for a fixture to yield from."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield chromium
        chromium.close()


def page_of(folder: Path, place: str, scripts: Sequence[Path], data: Sequence[str] = ()) -> Path:
    """Write a page with one interactive place, the data, and the scripts in their order.

    Args:
        folder: where to.
        place: the name of the place.
        scripts: files.
        data: texts of scripts, which run first.
    """
    written = []
    for number, text in enumerate(data):
        written.append(folder / f"data{number}.js")
        written[-1].write_text(text, encoding="utf-8")
    tags = "".join(
        f'<script defer src="{path.as_uri()}"></script>' for path in (*written, *scripts)
    )
    page = folder / f"{place}.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{place}</title>{tags}'
        f'<article><div class="interactive" data-name="{place}">without scripts</div></article>',
        encoding="utf-8",
    )
    return page
