"""``{distilled-sets} [NAME]``: a profile's distilled sets, each to be downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd_book.interactive import sets_address
from trustdd_book.results_folder import shown_profile
from trustdd_book.tables import build_table

logger = logging.getLogger(__name__)
HEADS = ["method", "outliers", "images per class", "outliers per class slot", "KiB", "file"]
OUTLIERS = {"none": "none", "oe": "OE", "poe": "POE"}


class DistilledSets(SphinxDirective):
    """A table of the sets, with a link to each file; of the shown profile without a name."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table, or a warning where nothing was staged."""
        folder = shown_profile(self.env.app).folder
        if self.arguments:
            folder = Path(self.env.srcdir, "results", self.arguments[0].strip())
        folder /= "distilled"
        listing = folder / "list.json"
        if not listing.is_file():
            logger.warning("%s is not there", listing, location=self.get_location())
            return []
        self.env.note_dependency(str(listing))
        sets: list[dict[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        if not sets:
            return [nodes.paragraph("", "No set is published yet.")]
        files = {entry["key"]: folder / f"{entry['key']}.safetensors" for entry in sets}
        rows = [
            [
                entry["method"].upper(), OUTLIERS[entry["outliers"]], str(entry["ipc"]),
                str(entry["outlier_ipc"]), f"{files[entry['key']].stat().st_size / 1024:,.0f}",
                entry["key"],
            ]
            for entry in sets
        ]  # fmt: skip

        def inline(text: str) -> list[nodes.Node]:
            if text not in files:
                return [nodes.Text(text)]
            top = "../" * self.env.docname.count("/")
            address = top + sets_address(folder.parent.name, text)
            return [nodes.reference("", "", nodes.literal("", text), refuri=address)]

        return [build_table(HEADS, rows, inline, [False, False, True, True, True, False])]


def setup(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("distilled-sets", DistilledSets)
