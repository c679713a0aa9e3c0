"""The role ``{result}`` puts a number of ``results/PROFILE/numbers.json`` into prose.

``{result}`digits.poe.auroc``` shows it as stored; ``{result}`digits.poe.auroc, .3f``` formats
it by Python's format specification (``.1%`` for a percentage). ``{result}`cifar10:main.ipc``` is
the number of another profile; where that has no results yet, it reads "not run". A bar does for the
comma, but not in a table, whose cells it ends.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from trustdd_book.results_folder import shown_profile

logger = logging.getLogger(__name__)


class ResultRole(SphinxRole):
    """Read a stored number; a missing key is a warning that names the nearest ones."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the formatted number as an inline node."""
        key, form = (*re.split(r"\s*[,|]\s*", self.text.strip(), maxsplit=1), "")[:2]
        profile, mark, rest = key.partition(":")
        folder = shown_profile(self.env.app).folder
        if mark:
            folder, key = Path(self.env.srcdir, "results", profile), rest
        path = folder / "numbers.json"
        if mark and not path.is_file():
            return [nodes.inline(self.rawtext, "not run", classes=["result"])], []
        self.env.note_dependency(str(path))
        try:
            value = read_number(path, key)
            # what was not run has words for its value
            shown = value if isinstance(value, str) else format(value, form)
        except (OSError, KeyError, ValueError) as error:
            logger.warning("result '%s': %s", key, error.args[-1], location=self.get_location())
            shown = f"[{key}?]"
        return [nodes.inline(self.rawtext, shown, classes=["result"])], []


def read_number(path: Any, key: str) -> float | int | str:
    """Read one value of a numbers file.

    Raises:
        KeyError: no such key; the message offers the nearest ones.
    """
    numbers = json.loads(path.read_text(encoding="utf-8"))
    if key not in numbers:
        near = difflib.get_close_matches(key, numbers, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise KeyError(f"not in {path.name}{hint}")
    entry = numbers[key]
    return entry["value"] if isinstance(entry, dict) else entry


def setup(app: Sphinx) -> None:
    """Register the role."""
    app.add_role("result", ResultRole())
