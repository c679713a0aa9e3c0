"""Repairs of markup by others that keeps readers with a screen reader out.

Found by axe-core in what docutils and myst-nb write: a list whose items are no list items, and
a folded cell whose name differs from the words it shows.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REPAIRS = {
    '<div role="list" class="citation-list">': '<div class="citation-list">',
    ' role="doc-biblioentry"': "",
    '<summary aria-label="Toggle hidden content">': "<summary>",
}


def repair(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Apply the repairs to a page's body."""
    for broken, whole in REPAIRS.items():
        if "body" in context:
            context["body"] = context["body"].replace(broken, whole)


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("html-page-context", repair)
