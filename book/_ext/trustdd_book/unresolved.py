"""Roles that reached the page as they were typed: a warning, which fails the build.

A bar inside a role ends a table's cell before the role does, and nothing else complains of that.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
ROLE = re.compile(r"\{[A-Za-z][\w:.+-]*\}`[^`]*`?")
#: what is made from stored results and profiles shows names as they are, whatever they look like
FROM_DATA = {"result-table", "catalogue", "echo", "finding", "frame", "picture", "provenance"}


def warn_of_roles(app: Sphinx, doctree: nodes.document) -> None:
    """Look for the markup of roles in a page's text, code left out."""
    for text in doctree.findall(nodes.Text):
        parent = text.parent
        code = isinstance(parent, nodes.literal | nodes.literal_block | nodes.raw | nodes.comment)
        found = None if code or _is_from_data(text) else ROLE.search(text.astext())
        if found:
            logger.warning(
                "%s is shown as it was typed; in a table, a bar ends the cell", found[0],
                location=parent,
            )  # fmt: skip


def _is_from_data(node: nodes.Node) -> bool:
    parent = node.parent
    while isinstance(parent, nodes.Element):
        if FROM_DATA & set(parent.get("classes", [])):
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("doctree-read", warn_of_roles)
