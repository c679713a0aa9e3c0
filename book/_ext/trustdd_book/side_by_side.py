"""``{side-by-side} NOTEBOOK``: one notebook run under several parameter sets, in columns.

The executed variants lie in ``notebooks/variants/NOTEBOOK-NAME.ipynb`` of the source, one for each
name that ``book/variants.yaml`` gives. Shown are the finding of each and its figures and tables,
row by row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd_book.catalogue import entry_nodes
from trustdd_book.notebook_box import notebook_parameters
from trustdd_book.outputs import MIME
from trustdd_book.results_folder import locate

logger = logging.getLogger(__name__)


class SideBySide(SphinxDirective):
    """The outputs of a notebook's variants, each variant a column."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a grid: heads, findings, then a row for every figure and table."""
        name = self.arguments[0].strip()
        files = sorted(Path(self.env.srcdir, "notebooks", "variants").glob(f"{name}-*.ipynb"))
        if len(files) < 2:
            logger.warning("%d variants of notebook '%s' were executed; expected two or more",
                           len(files), name, location=self.get_location())  # fmt: skip
            return []
        variants = []
        for file in files:
            self.env.note_dependency(str(file))
            variants.append(json.loads(file.read_text(encoding="utf-8"))["cells"])
        grid = nodes.container("", classes=["side-by-side", f"columns-{len(files)}"], is_div=True)
        for values in _differing(files):
            grid += self._head(values)
        for cells in variants:
            grid += nodes.container("", *self._finding(cells), classes=["finding"], is_div=True)
        shown = [_entries(cells) for cells in variants]
        for entry_id in [e for e in shown[0] if all(e in others for others in shown)]:
            for entries in shown:
                grid += self._entry(entries[entry_id])
        return [grid]

    def _head(self, values: dict[str, str]) -> nodes.Element:
        lines = [f"{name} = {value}" for name, value in values.items()]
        block = nodes.literal_block("", "\n".join(lines), language="python")
        return nodes.container("", block, classes=["side-by-side-head"], is_div=True)

    def _finding(self, cells: list[dict[str, Any]]) -> list[nodes.Node]:
        for cell in cells:
            if "finding" in cell.get("metadata", {}).get("tags", []):
                for output in cell["outputs"]:
                    text = output.get("data", {}).get("text/markdown", "")
                    return self._parsed("".join(text))
        return []

    def _parsed(self, text: str) -> list[nodes.Node]:
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.splitlines(), ""), self.content_offset, holder)
        return holder.children

    def _entry(self, record: dict[str, Any]) -> nodes.Element:
        path = locate(self.env.app, record["path"])
        if path is None:
            logger.warning("a variant shows '%s', but its record %s is not there", record["id"],
                           record["path"], location=self.get_location())  # fmt: skip
            return nodes.container("", is_div=True)

        def inline(text: str) -> list[nodes.Node]:
            parsed, _messages = self.state.inline_text(text, self.lineno)
            return parsed

        made = entry_nodes(self.env, path, inline, self.state.document, numbered=False)
        return nodes.container("", *made, classes=["side-by-side-entry"], is_div=True)


def _entries(cells: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Catalogue entries that a notebook shows, by id, in order."""
    found = {}
    for cell in cells:
        for output in cell.get("outputs", []):
            record = output.get("data", {}).get(MIME)
            if record and record["kind"] in ("figure", "table"):
                found[record["id"]] = record
    return found


def _differing(files: list[Path]) -> list[dict[str, str]]:
    """Of each variant, the parameters that any of them was given, also those left as they are."""
    read = [notebook_parameters(file) for file in files]
    names = dict.fromkeys(name for _, given in read for name in given if name != "profile")
    found = []
    for parameters, given in read:
        values = {name: p.default for name, p in parameters.items()} | given
        found.append({name: values[name] for name in names})
    return found


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("side-by-side", SideBySide)
