"""Results of other profiles than the book's own: claims side by side, and what has been run.

``{verdicts}`` sets the ledgers of all profiles that are at hand beside each other; ``{runs-of}
NAME`` says which experiments of a profile are finished, and what the others would take.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd_book.results_folder import shown_profile
from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)
#: how a claim's measure is said behind it
MEASURES = {
    "near": "near OOD", "far": "far OOD", "natural": "near and far OOD", "accuracy": "in accuracy",
    "ece": "in ECE",
}  # fmt: skip
GROUP_HEADS = ["experiments", "finished", "accuracy (%)", "AUROC (%)", "hours spent"]
ESTIMATE = {"cpu": "hours expected, CPU", "cuda": "hours expected, GPU"}


class Verdicts(SphinxDirective):
    """A column for each profile, the shown one first; a line for each claim and comparison."""

    def run(self) -> list[nodes.Node]:
        """Return the table, or nothing where only the shown profile has a ledger."""
        own = shown_profile(self.env.app).name
        results = Path(self.env.srcdir, "results")
        ledgers = {p.parents[1].name: p for p in sorted(results.glob("*/tables/tab15.csv"))}
        names = sorted(ledgers, key=lambda name: (name != own, name))
        cells: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        for name in names:
            self.env.note_dependency(str(ledgers[name]))
            with ledgers[name].open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    claim = f"{row['claim']}, {MEASURES[row['measure']]}"
                    cells.setdefault((claim, row["comparison"]), {})[name] = row
        rows: list[list[str]] = []
        for claim in dict.fromkeys(claim for claim, _ in cells):
            own_rows = {c: found for (k, c), found in cells.items() if k == claim}
            verdicts = [self._verdict(name, own_rows.values()) for name in names]
            rows.append([claim, *verdicts])
            for comparison, found in own_rows.items():
                if any(name in found and found[name]["difference"] for name in names):
                    shown = [_difference(found.get(name)) for name in names]
                    rows.append([f"– {comparison}", *shown])
        return [build_table(["claim", *names], rows, self._inline, [False] * (len(names) + 1))]

    def _verdict(self, name: str, comparisons: Any) -> str:
        said = {found[name]["verdict"] for found in comparisons if name in found}
        word = said.pop() if said else "not run"
        return f"**{word}**" if word == "contradicted" else word

    def _inline(self, text: str) -> list[nodes.Node]:
        parsed, _messages = self.state.inline_text(text, self.lineno)
        return parsed


def _difference(row: dict[str, str] | None) -> str:
    """A paired difference in points, with its interval."""
    if row is None or not row["difference"]:
        return "–"
    shown = _signed(row["difference"])
    if not row["low"]:
        return shown
    return f"{shown} ({_signed(row['low'])} to {_signed(row['high'])})"


def _signed(share: str) -> str:
    return f"{100 * float(share):+.1f}".replace("-", "−")


class RunsOf(SphinxDirective):
    """``{runs-of} NAME``: a line for each of a profile's settings, from its ``status.json``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table, or a warning where the profile was not staged."""
        path = Path(self.env.srcdir, "results", self.arguments[0].strip(), "status.json")
        if not path.is_file():
            logger.warning("%s is not there", path, location=self.get_location())
            return []
        self.env.note_dependency(str(path))
        status = json.loads(path.read_text(encoding="utf-8"))
        settings = status["settings"]
        devices = [n for n in ESTIMATE if any(s["expected"].get(n) for s in settings)]
        rows = []
        for setting in settings:
            rows.append([
                setting["name"], f"{setting['done']} of {setting['planned']}",
                _range(setting["accuracy"]), _range(setting["auroc"]), _hours(setting["hours"]),
                *(_hours(setting["expected"].get(name)) for name in devices),
            ])  # fmt: skip
        total = [f"{sum(s['done'] for s in settings)} of {sum(s['planned'] for s in settings)}"]
        sums = [sum(s["hours"] or 0 for s in settings)]
        sums += [sum(s["expected"].get(n) or 0 for s in settings) for n in devices]
        rows.append(["together", *total, "", "", *map(_hours, sums)])
        heads = [*GROUP_HEADS, *(ESTIMATE[name] for name in devices)]
        right = [False, *[True] * (len(heads) - 1)]
        return [build_table(heads, rows, lambda text: [nodes.Text(text)], right)]


def _range(values: list[float]) -> str:
    if not values:
        return "not run"
    low, high = (f"{100 * v:.1f}" for v in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _hours(value: float | None) -> str:
    if not value:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def setup(app: Sphinx) -> None:
    """Register the directives."""
    app.add_directive("verdicts", Verdicts)
    app.add_directive("runs-of", RunsOf)
