"""Repairs of pages as others write them: what keeps readers out, and what pages load for nothing.

Found by axe-core, in the browser's console and on the scales in what docutils, myst-nb, Sphinx and
the theme write. Each is a function of a whole page's text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from typing import Any

from sphinx.application import Sphinx

#: a list whose items are no list items; a cell and a button whose names are not what they show
REPLACED = {
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    ' role="doc-biblioentry"': "",
    '<summary aria-label="Toggle hidden content">': "<summary>",
    'title="Search" aria-label="Search" data-bs-placement': 'title="Search" data-bs-placement',
    '<div class="bd-sidebar-primary bd-sidebar': (
        '<div role="navigation" aria-label="Book" class="bd-sidebar-primary bd-sidebar'
    ),
}
_ICON_SCRIPT = re.compile(r"\s*<script [^>]*vendor/fontawesome/[^>]*></script>")
_PRELOAD = re.compile(r'\s*<link rel="preload" [^>]*/?>')
_FORMULA_SCRIPTS = re.compile(
    r"\s*<script>window\.MathJax = .*?</script>|\s*<script [^>]*tex-chtml\.js[^>]*></script>"
)
_FOLDED_PAGES = re.compile(
    r'(<a class="(?:current )?reference [^>]*>(?P<name>[^<]*)</a>\s*<details[^>]*>)\s*<summary>'
)


def replace_markup(page: str) -> str:
    """Mend what is the same on every page."""
    for broken, whole in REPLACED.items():
        page = page.replace(broken, whole)
    return page


def name_folded_pages(page: str) -> str:
    """Name the arrows that unfold a page's sub-pages in the sidebar."""

    def named(found: re.Match[str]) -> str:
        name = escape(f"Pages under {unescape(found['name']).strip()}")
        return f'{found[1]}<summary aria-label="{name}">'

    return _FOLDED_PAGES.sub(named, page)


def load_less(page: str) -> str:
    """Leave out icons as a script, beside those of the style sheet, and fetching ahead of use.

    Browsers refuse to fetch fonts ahead for a page that is opened from disk, and say so.
    """
    return _PRELOAD.sub("", _ICON_SCRIPT.sub("", page))


def load_formulas_where_they_are(page: str) -> str:
    """Leave out what sets formulas on a page that has none."""
    return page if 'class="math' in page else _FORMULA_SCRIPTS.sub("", page)


REPAIRS: tuple[Callable[[str], str], ...] = (
    replace_markup,
    name_folded_pages,
    load_less,
    load_formulas_where_they_are,
)


def repair_pages(app: Sphinx) -> None:
    """Have every page repaired as it is rendered."""
    templates: Any = getattr(app.builder, "templates", None)
    if app.builder.format != "html" or templates is None:
        return
    render = templates.render

    def repaired(template: str, context: dict[str, Any]) -> str:
        page: str = render(template, context)
        for repair in REPAIRS:
            page = repair(page)
        return page

    templates.render = repaired


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("builder-inited", repair_pages)
