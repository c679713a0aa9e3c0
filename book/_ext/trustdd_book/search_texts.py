"""Search summaries that work from disk, where a page may not fetch another.

Sphinx's search page fetches every page it found to show the lines around the word; browsers
refuse that under ``file://``. The texts are written beside the search page instead, and it is
given them in answer to its own requests.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

NAME = "search-texts.js"
SCRIPT = """\
// The text of every page, in answer to the search page's own requests.
(() => {
  const texts = %s;
  const root = new URL(document.documentElement.dataset.content_root, location.href).href;
  window.fetch = (address) => {
    const page = new URL(address, location.href).href.slice(root.length).replace(/\\.html$/, "");
    return Promise.resolve({ text: () => Promise.resolve(texts[page] || "") });
  };
})();
"""


def section_html(node: nodes.Element) -> str:
    """A document's text with the anchors that search leads to, and no other structure."""
    pieces = []
    for child in node.children:
        if isinstance(child, nodes.section):
            pieces.append(_anchored(child["ids"], section_html(child)))
        elif isinstance(child, nodes.definition_list):
            for item in child.children:
                names = [name for term in item.findall(nodes.term) for name in term["ids"]]
                pieces.append(_anchored(names, html.escape(_text(item))))
        elif isinstance(child, nodes.title | nodes.comment | nodes.raw):
            continue
        elif child.children and any(child.findall(nodes.definition_list)):
            pieces.append(section_html(child))
        else:
            pieces.append(html.escape(_text(child)) + "\n")
    return "".join(pieces)


def _anchored(names: list[str], content: str) -> str:
    for name in names[1:]:
        content = f'<div id="{html.escape(name)}">{content}</div>'
    first = f' id="{html.escape(names[0])}"' if names else ""
    return f"<section{first}>{content}</section>\n"


def _text(node: nodes.Node) -> str:
    parts = [n.astext() for n in node.findall(nodes.Text) if not _hidden(n)]
    return " ".join(" ".join(parts).split())


def _hidden(node: nodes.Node) -> bool:
    """Whether a text is code, markup of another kind, or the key of a citation."""
    parent = node.parent
    while parent is not None:
        if isinstance(parent, nodes.raw | nodes.literal_block | nodes.comment):
            return True
        if isinstance(parent, addnodes.pending_xref) and parent.get("refdomain") == "cite":
            return True
        parent = parent.parent
    return False


def write_texts(app: Sphinx, exception: Exception | None) -> None:
    """Write the pages' texts once all pages are."""
    if exception is not None or app.builder.name != "html":
        return
    texts = {
        name: f'<div role="main">{section_html(app.env.get_doctree(name))}</div>'
        for name in sorted(app.env.found_docs)
    }
    script = SCRIPT % json.dumps(texts, ensure_ascii=False).replace("</", "<\\/")
    (Path(app.outdir) / NAME).write_text(script, encoding="utf-8")


def use_texts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load the texts on the search page only."""
    if page == "search":
        app.add_js_file(f"../{NAME}")


def setup(app: Sphinx) -> None:
    """Register the events."""
    app.connect("html-page-context", use_texts)
    app.connect("build-finished", write_texts)
