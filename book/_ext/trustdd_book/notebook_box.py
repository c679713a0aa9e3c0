"""``{run-this-page}``: a box with the command that runs this notebook with other parameters."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd.notebooks.parameters import Parameter, parse_cell
from trustdd.report.markdown_text import code
from trustdd_book.results_folder import shown_profile
from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)


class RunThisPage(SphinxDirective):
    """The parameters of the notebook this page was made from, and how to change them.

    Each line of the content is the parameters of one more example, ``dataset=cifar10 ipc=10``.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the box."""
        name = Path(self.env.docname).name
        executed = Path(self.env.doc2path(self.env.docname))
        parameters, injected = notebook_parameters(executed)
        if not parameters:
            logger.warning("%s has no parameters cell", executed, location=self.get_location())
        profile = injected.get("profile", shown_profile(self.env.app).name)
        command = f"trustdd run notebooks/{name}.md"
        box = nodes.container(classes=["run-this-page"], is_div=True)
        box += nodes.rubric("", "Change a parameter")
        box += nodes.paragraph(
            "", "",
            nodes.Text("This page is a notebook; it was run with the profile "),
            nodes.literal("", profile),
            nodes.Text(". Run it yourself, as it is or with any parameter changed:"),
        )  # fmt: skip
        lines = [f"{command} --profile {shlex.quote(profile)}"]
        for example in self.content:
            if example.strip():
                lines.append(
                    f"{command} " + " ".join(f"-p {shlex.quote(p)}" for p in example.split())
                )
        box += nodes.literal_block("", "\n".join(lines), language="bash")
        box += self._table(parameters, injected)
        return [box]

    def _table(self, parameters: dict[str, Parameter], injected: dict[str, Any]) -> nodes.Element:
        rows = [
            [f"`{name}`", code(repr(injected.get(name, parameter.default))), parameter.help]
            for name, parameter in parameters.items()
        ]
        folded = nodes.container(classes=["parameters"])
        folded += nodes.raw(
            "", f"<details><summary>The {len(rows)} parameters</summary>", format="html"
        )
        folded += build_table(["name", "here", "meaning"], rows, self._inline, [False] * 3)
        folded += nodes.raw("", "</details>", format="html")
        return folded

    def _inline(self, text: str) -> list[nodes.Node]:
        parsed, _messages = self.state.inline_text(text, self.lineno)
        return parsed


def notebook_parameters(path: Path) -> tuple[dict[str, Parameter], dict[str, Any]]:
    """Read the parameters cell of an executed notebook, and what was injected over it.

    Args:
        path: a notebook; anything but an ``.ipynb`` has neither.

    Returns:
        The parameters by name, in order, and the values of those that were injected.
    """
    if path.suffix != ".ipynb":
        return {}, {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    injected = parse_cell(_source_of(cells, "injected-parameters"))
    return parse_cell(_source_of(cells, "parameters")), {
        name: parameter.default for name, parameter in injected.items()
    }


def _source_of(cells: list[dict[str, Any]], tag: str) -> str:
    for cell in cells:
        if tag in cell.get("metadata", {}).get("tags", []):
            return "".join(cell["source"])
    return ""


def hide_injected(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out the cell that papermill put in: the box shows what it sets."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if "injected-parameters" in tags:
            tags.append("remove-input")
    source[0] = json.dumps(notebook)


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("run-this-page", RunThisPage)
    app.connect("source-read", hide_injected)
