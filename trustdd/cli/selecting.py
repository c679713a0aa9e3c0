"""Options that say what of the stored results is shown, and how it looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

#: option → what it chooses
_CHOICES = {
    "score": ("NAME", "Detection score, e.g. energy."),
    "metric": ("NAMES", "Measures, e.g. fpr95_in,aupr_out."),
    "ood": ("NAMES", "OOD test sets that means are over, e.g. textures,photos."),
    "seeds": ("SEEDS", "Seeds, e.g. 0,1 or, as far as they are stored, 0-4."),
    "outliers": ("MODES", "Outlier modes, e.g. none,poe."),
    "method": ("NAMES", "Methods, e.g. mtt."),
    "ipc": ("NUMBERS", "Images per class, e.g. 1,10."),
}


def selection_options(command: Command) -> Command:
    """Add --score, --metric, --ood, --seeds, --outliers, --method and --ipc to a command."""
    for name, (metavar, text) in reversed(_CHOICES.items()):
        command = click.option(f"--{name}", metavar=metavar, help=text)(command)
    return command


def style_option(command: Command) -> Command:
    """Add --style to a command."""
    return click.option(
        "--style", metavar="STYLE",
        help="A look that ships with the package (ieee-column, …) or a style file; "
        "trustdd.style.yaml if it lies here.",
    )(command)  # fmt: skip


def selected(options: dict[str, Any]) -> dict[str, Any]:
    """Take the selection's options out of all that a command was given."""
    return {name: options.pop(name) for name in _CHOICES if options.get(name) is not None}


def style_here(given: str | None, *, book: bool = False) -> str:
    """Return the look that a command is asked for.

    Args:
        given: ``--style``.
        book: the book is being made, whose look no file that lies here changes.
    """
    from trustdd.report.style_file import BOOK_NAME, DEFAULT_FILE

    if given is not None:
        return given
    if not book and Path(DEFAULT_FILE).is_file():
        click.echo(f"style: {DEFAULT_FILE}", err=True)
        return DEFAULT_FILE
    return BOOK_NAME
