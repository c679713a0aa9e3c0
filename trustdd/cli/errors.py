"""Which exit status an error has."""

from __future__ import annotations

import sys


def status_of(error: Exception) -> int | None:
    """Return 2 for bad input, 1 for a failure that is explained, ``None`` for a fault of ours.

    The modules that define our own errors are heavy; one that was never imported raised none.
    """
    for module, name in (
        ("trustdd.report.results", "MissingArtefacts"),
        ("trustdd.notebooks.execution", "NotebookFailed"),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(error, kind):
            return 1
    return 2 if isinstance(error, ValueError) else None
