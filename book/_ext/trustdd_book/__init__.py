"""The book's own Sphinx extension: computed numbers, catalogue entries, parameter boxes.

Everything it shows comes from files: ``results/PROFILE/`` for numbers, figures and tables, and
the executed notebooks for their parameters. A key, a figure or an asset that is not there is a
warning, and the book is built with warnings as errors.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from trustdd_book import (
    assets,
    benchmarks,
    catalogue,
    distilled_sets,
    docstrings,
    elsewhere,
    icons,
    interactive,
    markup_repairs,
    notebook_box,
    outputs,
    pictures,
    profile_banner,
    profile_list,
    result_role,
    rooms,
    search_texts,
    side_by_side,
    tables,
    unresolved,
)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension's roles, directives, renderers and events."""
    for part in (
        result_role, catalogue, outputs, notebook_box, profile_banner, profile_list, assets,
        benchmarks, distilled_sets, docstrings, elsewhere, markup_repairs, search_texts,
        side_by_side, pictures, unresolved,
        icons, interactive, tables, rooms,
    ):  # fmt: skip
        part.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
