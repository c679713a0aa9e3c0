"""Notebook outputs of this project's own kind, rendered by the code that renders the prose.

A cell may show ``application/vnd.trustdd.entry+json``. Its field ``kind`` says what it holds:
``figure`` or ``table``, a catalogue entry by the ``path`` of its record; ``picture``, an image
with alt text and caption that is no entry; ``frame``, a table that is no entry.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx
from sphinx.util import logging

from trustdd_book.catalogue import entry_nodes, is_home
from trustdd_book.pictures import drawing
from trustdd_book.results_folder import locate
from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)
MIME = "application/vnd.trustdd.entry+json"


class EntryRenderer:
    """Renders the mime type above; any other is left to the next renderer."""

    #: before every other form of the same output
    mime_priority_overrides: ClassVar[list[tuple[str, str, int]]] = [("*", MIME, 1)]

    @staticmethod
    def handle_mime(
        renderer: NbElementRenderer, data: MimeData, inline: bool
    ) -> list[nodes.Node] | None:
        """Return the output's nodes, or ``None`` where it is not of this kind."""
        if data.mime_type != MIME or inline:
            return None
        content: Any = data.content
        entry = json.loads(content) if isinstance(content, str | bytes) else content

        def parse(text: str) -> list[nodes.Node]:
            holder = nodes.Element()
            with renderer.renderer.current_node_context(holder):
                renderer.renderer.nested_render_text(text, data.line or 0, inline=True)
            children = list(holder.children)
            for child in children:
                holder.remove(child)
            return children

        if entry["kind"] == "picture":
            return _picture(renderer, entry, parse)
        if entry["kind"] == "frame":
            return _frame(entry, parse)
        return _catalogue(renderer, entry, parse)


def _catalogue(renderer: NbElementRenderer, entry: dict[str, Any], parse: Any) -> list[nodes.Node]:
    env = renderer.renderer.sphinx_env
    path = locate(env.app, entry["path"])
    if path is None:
        logger.warning(
            "the notebook shows '%s', but its record %s is not there", entry["id"],
            entry["path"], location=env.docname,
        )  # fmt: skip
        return []
    # a page of another method shows the same entry, from runs of its own
    document = renderer.renderer.document
    return entry_nodes(env, path, parse, document, numbered=is_home(env, path))


def _picture(renderer: NbElementRenderer, entry: dict[str, Any], parse: Any) -> list[nodes.Node]:
    env = renderer.renderer.sphinx_env
    if not entry["alt"].strip():
        logger.warning("a picture has no alt text", location=env.docname)
    name = env.docname.rpartition("/")[2]
    shown = drawing(env, entry["svg"], entry["alt"], name=name, classes=("picture-image",))
    box = nodes.container("", *shown, classes=["picture"])
    if entry.get("caption"):
        box += nodes.paragraph("", "", *parse(entry["caption"]), classes=["picture-caption"])
    return [box]


def _frame(entry: dict[str, Any], parse: Any) -> list[nodes.Node]:
    table = build_table(entry["columns"], entry["rows"], parse)
    box = nodes.container("", classes=["frame"])
    if entry.get("caption"):
        box += nodes.paragraph("", "", *parse(entry["caption"]), classes=["frame-caption"])
    box += table
    return [box]


def setup(app: Sphinx) -> None:
    """Put the renderer before myst-nb's own.

    myst-nb finds renderers by the entry points of installed packages; this one belongs to
    the book, not to the package, so it joins the list that those were loaded into.
    """
    renderers = load_mime_renders()
    if EntryRenderer not in renderers:
        renderers.insert(0, EntryRenderer)
