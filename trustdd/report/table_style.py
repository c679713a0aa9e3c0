"""How tables look: what is marked in them, and how LaTeX sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BOLD = ("clear", "best", "none")
SECOND = ("none", "underline", "italic")
WIDE = ("shrink", "rotate", "split")
ENVIRONMENTS = ("table", "table*")


@dataclass(frozen=True, kw_only=True)
class TableStyle:
    """A look of tables.

    Attributes:
        bold: what of a comparison is bold: ``"clear"``, the best where its difference from the
            next is beyond that difference's 95% interval; ``"best"``, whatever is best as shown;
            or ``"none"``.
        second: how the second best is marked.
        ranks: write each cell's rank behind it.
        siunitx: set numbers in siunitx' columns, aligned at the decimal point.
        wide: what LaTeX does with a table wider than `width`: ``"shrink"`` it, ``"rotate"`` it
            (package rotating), or ``"split"`` it into one table a group of columns.
        width: of a line, in inches.
        environment: ``"table"``, or ``"table*"`` across both columns.
        placement: of the float, e.g. ``"t"``.
        captions: entry's id → its caption in LaTeX, in place of the computed one; plain text.
        labels: entry's id → its label in LaTeX; ``tab:ID`` where none is given.
    """

    bold: str = "clear"
    second: str = "none"
    ranks: bool = False
    siunitx: bool = False
    wide: str = "shrink"
    width: float = 6.75
    environment: str = "table"
    placement: str = "t"
    captions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """What the marks mean, as sentences; empty where there are none."""
        said = {
            "clear": "Bold: the best, where its difference from the next, paired by seed, is "
            "beyond its 95% t-interval.",
            "best": "Bold: the best as shown.",
            "none": "",
        }[self.bold]
        if self.second != "none":
            said += f" {'Underlined' if self.second == 'underline' else 'Italic'}: the second best."
        if self.ranks:
            said += " Small numbers are ranks."
        return said.strip()
