"""Docstrings of the package as the API pages show them."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

VARIABLES = ("attribute", "data", "property")
#: in characters
LONGEST_SIGNATURE = 400
#: docstrings of variables between the two handlers
written: dict[str, list[str]] = {}


def returns_as_prose(
    app: Sphinx, what: str, name: str, subject: Any, options: Any, lines: list[str]
) -> None:
    """Turn a ``Returns:`` section into a field of plain prose.

    Napoleon takes whatever stands before the first colon for a type; here the annotation
    is the type and the section is a sentence, colons included.
    """
    found: list[str] = []
    inside = False
    for line in lines:
        if line.strip() in ("Returns:", "Yields:") and not line.startswith(" "):
            inside = True
            found += ["", f":{line.strip().rstrip(':').lower()}:"]
            continue
        if inside and line and not line.startswith(" "):
            inside = False
            found.append("")
        found.append(line)
    lines[:] = found
    if what in VARIABLES:
        written[name] = list(lines)


def variables_as_written(
    app: Sphinx, what: str, name: str, subject: Any, options: Any, lines: list[str]
) -> None:
    """Restore what is said of a variable: there, too, a colon belongs to the sentence."""
    if what in VARIABLES and name in written:
        lines[:] = written.pop(name)


def short_signature(
    app: Sphinx, what: str, name: str, subject: Any, options: Any, signature: str, returns: str
) -> tuple[str, str] | None:
    """Leave out a class's signature that is longer than a paragraph: its fields are listed."""
    if what == "class" and signature and len(signature) > LONGEST_SIGNATURE:
        return "(*, …)", ""
    return None


def setup(app: Sphinx) -> None:
    """Register the events, one before napoleon's and one after."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", returns_as_prose, priority=400)
    app.connect("autodoc-process-docstring", variables_as_written, priority=600)
    app.connect("autodoc-process-signature", short_signature)
