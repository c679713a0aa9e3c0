"""``{benchmark} NAME``: what a benchmark measured, from ``benchmarks/results/NAME.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)
HEADS = ["part", "plain (s)", "here (s)", "times as fast", "range", "relative error"]
TITLES = {
    "cifar10": "CIFAR-10 at IPC 10: ConvNet-3 of width 128, 256 real images a class",
    "digits": "This book's digits: ConvNet-2 of width 32, 64 real images a class",
}


class Benchmark(SphinxDirective):
    """A table for each setting, and the machine they were measured on."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the tables, or a warning where there is no such file."""
        path = Path(self.env.srcdir, "benchmarks", f"{self.arguments[0].strip()}.json")
        if not path.is_file():
            logger.warning("%s is not there", path, location=self.get_location())
            return []
        self.env.note_dependency(str(path))
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        shown: list[nodes.Node] = []
        for name, setting in report["settings"].items():
            shown.append(nodes.rubric("", TITLES.get(name, name)))
            rows = [_row(part) for part in setting["parts"]]
            right = [False, *[True] * (len(HEADS) - 1)]
            shown.append(build_table(HEADS, rows, self._inline, right))
            ratio = setting["outer_step_ratio"]
            words = f"One outer step, images and outliers: {ratio:.1f} times as fast."
            shown.append(nodes.paragraph("", words))
        machine = report["machine"]
        words = (
            f"{machine['device']}, torch {machine['torch']}, {machine['date']}; "
            f"{machine['repeats']} turns."
        )
        return [*shown, nodes.paragraph("", words)]

    def _inline(self, text: str) -> list[nodes.Node]:
        return [nodes.Text(text)]


def _row(part: dict[str, Any]) -> list[str]:
    error = part["relative_error"]
    return [
        part["part"], f"{part['plain_seconds']:.3f}", f"{part['seconds']:.3f}",
        f"{part['ratio']:.1f}", f"{part['least']:.1f}–{part['most']:.1f}",
        "–" if error is None else f"{error:.0e}",
    ]  # fmt: skip


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("benchmark", Benchmark)
