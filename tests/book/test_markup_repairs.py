"""What the theme writes, mended; on pieces of what it wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the book's packages are not installed")

import small_book  # noqa: F401 - puts the extension on the path
from fontTools.ttLib import TTFont
from trustdd_book.icons import cut_font, cut_sheet
from trustdd_book.markup_repairs import REPAIRS


def repaired(page: str) -> str:
    for repair in REPAIRS:
        page = repair(page)
    return page


def test_arrows_in_the_sidebar_are_named_after_their_page() -> None:
    page = (
        '<li><a class="reference internal" href="a.html">A &amp; B</a><details><summary>'
        "<i></i></summary><ul></ul></details></li><details><summary>words</summary></details>"
    )
    said = repaired(page)
    assert '</a><details><summary aria-label="Pages under A &amp; B"><i>' in said
    assert "<summary>words</summary>" in said


def test_nothing_is_fetched_ahead_and_icons_come_once() -> None:
    page = (
        '<link href="x/_static/vendor/fontawesome/6/css/all.min.css?digest=1" rel="stylesheet" />\n'
        '<link rel="preload" as="font" type="font/woff2" crossorigin href="x/fa-solid.woff2" />\n'
        '<link rel="preload" as="script" href="x/bootstrap.js" />\n'
        '<script src="x/_static/vendor/fontawesome/6/js/all.min.js?digest=1"></script>\n'
        '<script src="x/bootstrap.js"></script>'
    )
    said = repaired(page)
    assert re.findall(r'(?:href|src)="([^"?]+)', said) == [
        "x/_static/vendor/fontawesome/6/css/all.min.css", "x/bootstrap.js",
    ]  # fmt: skip


@pytest.mark.parametrize(("body", "kept"), [('<span class="math inline">', 2), ("<p>", 0)])
def test_what_sets_formulas_comes_where_there_are_some(body: str, kept: int) -> None:
    scripts = (
        '<script>window.MathJax = {"options": {}}</script>'
        '<script defer="defer" src="../mathjax/tex-chtml.js"></script>'
    )
    assert repaired(scripts + body).count("<script") == kept


def test_a_button_is_named_as_it_reads() -> None:
    page = '<button title="Search" aria-label="Search" data-bs-placement="bottom">Search Ctrl+K'
    assert "aria-label" not in repaired(page)


def test_only_icons_that_are_used_stay() -> None:
    sheet = (
        '.fa-lg{font-size:2em}.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}'
        '.fa-at:before{content:"\\40"}.fa-moon:before{content:"\\f186"}@font-face{src:x}'
    )
    text, shown = cut_sheet(sheet, {"fa-navicon", "fa-at", "fa-lg"})
    assert text == (
        '.fa-lg{font-size:2em}.fa-bars:before,.fa-navicon:before{content:"\\f0c9"}'
        '.fa-at:before{content:"\\40"}@font-face{src:x}'
    )
    assert shown == {0xF0C9, 0x40}


def test_a_font_keeps_the_characters_asked_for(tmp_path: Path) -> None:
    theme = pytest.importorskip("pydata_sphinx_theme")
    whole = next(Path(theme.__file__).parent.rglob("fa-solid-900.woff2"))
    cut = tmp_path / "font.woff2"
    cut.write_bytes(whole.read_bytes())
    cut_font(cut, {0xF0C9, 0xF186})
    with TTFont(cut) as font:
        assert set(font.getBestCmap()) == {0xF0C9, 0xF186}
    assert cut.stat().st_size < whole.stat().st_size / 50
