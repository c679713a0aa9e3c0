"""The profile that made the book, named at the top of every page."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from trustdd_book.results_folder import shown_profile


def add_profile(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Hand the profile to the page template ``profile-banner.html``."""
    context["shown_profile"] = shown_profile(app)


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("html-page-context", add_profile)
