"""A book of a few pages with made-up results, and what Sphinx makes of it."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("myst_nb", reason="the book's packages are not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "_ext"))

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="486pt" height="100pt"/>'
RECORD = {
    "kind": "figure", "id": "fig12", "title": "Images per class", "finding": "More help.",
    "caption": "Means over seeds.", "alt": "A line that rises with IPC.",
    "page": "notebooks/03_detection", "path": "results/quick/figures/fig12.json",
    "profile": "quick", "variant": False, "seeds": [0, 1, 2], "commit": "0123456789ab",
    "device": "cpu, 1 threads", "date": "2024-02-29", "wall_seconds": 90.0,
    "command": "trustdd figure fig12 --profile quick", "size_inches": [6.75, 2.0],
}  # fmt: skip
TABLE = """\
| OOD set | AUROC · OE | AUROC · POE |
| :--- | ---: | ---: |
| *digits, IPC 2* |  |  |
| text\\_ures | **98.1** ± 0.3 | 97.0 ± 0.2 |
"""


class Book:
    """A source folder of a few pages, and what Sphinx makes of it."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "source", folder / "out"
        results = self.source / "results" / "quick"
        for kind in ("figures", "tables"):
            (results / kind).mkdir(parents=True)
        note = {"name": "quick", "title": "Quick", "description": "shrunk"}
        self.write("profile.json", json.dumps(note))
        self.write("results/quick/numbers.json", json.dumps({"main.poe.auroc": 0.97126}))
        self.write("results/quick/figures/fig12.json", json.dumps(RECORD))
        self.write("results/quick/figures/fig12.svg", SVG)
        self.write("results/quick/figures/fig12.csv", "ipc,auroc\n1,0.9\n")
        table = {**RECORD, "kind": "table", "id": "tab03", "caption": "Better. In percent."}
        self.write("results/quick/tables/tab03.json", json.dumps(table))
        self.write("results/quick/tables/tab03.md", TABLE)

    def write(self, name: str, text: str) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def build(self) -> str:
        """Build and return what Sphinx warned of."""
        warnings = io.StringIO()
        settings = {
            "extensions": ["myst_nb", "trustdd_book"], "nb_execution_mode": "off", "numfig": True,
            "numfig_format": {"figure": "Figure %s", "table": "Table %s"},
            "exclude_patterns": ["results/**"], "html_theme": "basic", "master_doc": "index",
        }  # fmt: skip
        with docutils_namespace():
            Sphinx(
                str(self.source), None, str(self.out), str(self.out / ".doctrees"), "html",
                confoverrides=settings, status=None, warning=warnings,
            ).build()  # fmt: skip
        lines = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).splitlines()
        return "\n".join(line for line in lines if "npm ci" not in line)

    def html(self, name: str = "index") -> str:
        return (self.out / f"{name}.html").read_text(encoding="utf-8")
