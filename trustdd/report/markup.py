"""A table's content, and how it reads as HTML, Markdown and plain text.

LaTeX is written by `trustdd.report.latex`.

Cells hold values, not strings with markup: each rendering escapes text for itself, sets the
best value of a comparison in bold, and writes mean ± standard deviation its own way.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import pandas as pd

from trustdd.report.comparison import difference, signed
from trustdd.report.markdown_text import code
from trustdd.report.markdown_text import escape as _markdown_text
from trustdd.report.table_style import TableStyle


@dataclass(frozen=True)
class Measured:
    """A measured value with its spread over seeds.

    Attributes:
        mean: the value.
        std: standard deviation over seeds; NaN where there is one seed, or no spread to show.
        values: seed → value, by which it is paired with others.
        rank: its place among those it is compared with, as shown, from 1; 0 where there are none.
        clear: it is the best, and its paired difference from the next is beyond its 95% interval.
        strong: bold in every look, for a reason that the caption gives.
        scale: factor for display; 100 shows a share as percent.
        digits: after the decimal point.
        sign: show ``+`` too, as for differences.
        interval: lower and upper end, shown in brackets in place of the spread.
    """

    mean: float
    std: float = float("nan")
    values: Mapping[int, float] = field(default_factory=dict)
    rank: int = 0
    clear: bool = False
    strong: bool = False
    scale: float = 100.0
    digits: int = 1
    sign: bool = False
    interval: tuple[float, float] | None = None

    def number(self, value: float) -> str:
        """Return one number as shown."""
        scaled = self.scale * value
        if self.sign:
            return signed(scaled, self.digits)
        return f"{scaled:,.{self.digits}f}".replace("-", "−")

    @property
    def uncertainty(self) -> str:
        """What follows the mean: `` ± 0.3``, `` [1.2, 3.4]`` or nothing."""
        if self.interval is not None and np.isfinite(self.interval).all():
            low, high = (self.number(end) for end in self.interval)
            return f" [{low}, {high}]"
        if not np.isfinite(self.std):
            return ""
        return f" ± {self.scale * self.std:,.{self.digits}f}"


@dataclass(frozen=True)
class Section:
    """A row that spans the table and names the rows below it."""

    text: str


@dataclass(frozen=True)
class Code:
    """A cell of program text: a name, a path or a command."""

    text: str


Cell = str | int | Measured | Code | None
Row = Section | tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """A column: its head, the group of columns it belongs to, and whether it holds numbers."""

    name: str
    group: str = ""
    numeric: bool = False

    @property
    def flat(self) -> str:
        """Head and group in one line, for renderings without grouped heads."""
        return f"{self.group} · {self.name}" if self.group else self.name


def ranked(row: Sequence[Measured | None], smaller: bool = False) -> list[Measured | None]:
    """Rank some measured cells; those equal to the last digit shown share a rank.

    Cells are left unranked where there is nothing to compare with. The best is `clear` where its
    difference from each next one, paired by seed, is beyond its 95% t-interval.

    Args:
        row: the cells.
        smaller: a smaller value is better.
    """
    sign = -1 if smaller else 1
    shown = [c for c in row if c is not None and np.isfinite(c.mean)]
    if len(shown) < 2:
        return list(row)
    order = sorted({round(sign * c.scale * c.mean, c.digits) for c in shown}, reverse=True)

    def rank(cell: Measured) -> int:
        return 1 + order.index(round(sign * cell.scale * cell.mean, cell.digits))

    best = [c for c in shown if rank(c) == 1]
    following = [c for c in shown if rank(c) == 2]
    clear = len(best) == 1 and all(_is_beyond(best[0], other, sign) for other in following)
    return [
        c
        if c is None or not np.isfinite(c.mean)
        else replace(c, rank=rank(c), clear=clear and rank(c) == 1)
        for c in row
    ]


def _is_beyond(one: Measured, other: Measured, sign: int) -> bool:
    """Whether one is better than another by more than the paired difference's interval."""
    seeds = sorted(set(one.values) & set(other.values))
    if len(seeds) < 2:
        return False
    gaps = np.array([sign * (one.values[s] - other.values[s]) for s in seeds])
    return difference(gaps).low > 0


def marks(cell: Cell, look: TableStyle) -> tuple[bool, bool, str]:
    """Say how a cell's mean is marked: bold, as the second best, and with which rank."""
    if not isinstance(cell, Measured) or not cell.rank:
        return isinstance(cell, Measured) and cell.strong, False, ""
    bold = cell.rank == 1 and (look.bold == "best" or (look.bold == "clear" and cell.clear))
    second = cell.rank == 2 and look.second != "none"
    return bold, second, str(cell.rank) if look.ranks else ""


def has_ranks(rows: Sequence[Row]) -> bool:
    """Tell whether any cell is ranked."""
    cells = (cell for row in rows if not isinstance(row, Section) for cell in row)
    return any(isinstance(cell, Measured) and cell.rank for cell in cells)


# -- plain text and frame -----------------------------------------------------------------------


def plain(cell: Cell) -> str:
    """Return a cell as plain text."""
    if cell is None:
        return ""
    if isinstance(cell, Measured):
        return "–" if not np.isfinite(cell.mean) else cell.number(cell.mean) + cell.uncertainty
    return cell.text if isinstance(cell, Code) else str(cell)


def as_frame(columns: Sequence[Column], rows: Sequence[Row]) -> pd.DataFrame:
    """Return the table as a frame of plain text; a section's text fills its first cell."""
    empty = [""] * (len(columns) - 1)
    body = [
        [row.text, *empty] if isinstance(row, Section) else [plain(cell) for cell in row]
        for row in rows
    ]
    return pd.DataFrame(body, columns=[column.flat for column in columns])


# -- Markdown -----------------------------------------------------------------------------------


def _markdown_cell(cell: Cell, look: TableStyle) -> str:
    if isinstance(cell, Code):
        return code(cell.text) if cell.text else ""
    bold, second, rank = marks(cell, look)
    if not isinstance(cell, Measured) or not (bold or second or rank):
        return _markdown_text(plain(cell))
    mean = _markdown_text(cell.number(cell.mean))
    if bold:
        mean = f"**{mean}**"
    elif second:  # Markdown has no underline
        mean = f"*{mean}*"
    return mean + _markdown_text(cell.uncertainty) + (f" ({rank})" if rank else "")


def markdown(columns: Sequence[Column], rows: Sequence[Row], look: TableStyle | None = None) -> str:
    """Return a pipe table of inline Markdown; sections are rows in italics."""
    look = look or TableStyle()
    lines = [
        [_markdown_text(column.flat) for column in columns],
        ["---:" if column.numeric else ":---" for column in columns],
    ]
    for row in rows:
        if isinstance(row, Section):
            lines.append([f"*{_markdown_text(row.text)}*", *[""] * (len(columns) - 1)])
        else:
            lines.append([_markdown_cell(cell, look) for cell in row])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- HTML ---------------------------------------------------------------------------------------


def _html_cell(cell: Cell, look: TableStyle) -> str:
    if isinstance(cell, Code):
        return f"<code>{html.escape(cell.text)}</code>"
    bold, second, rank = marks(cell, look)
    if not isinstance(cell, Measured) or not (bold or second or rank):
        return html.escape(plain(cell))
    mean = html.escape(cell.number(cell.mean))
    if bold:
        mean = f"<strong>{mean}</strong>"
    elif second:
        mean = f"<u>{mean}</u>" if look.second == "underline" else f"<em>{mean}</em>"
    return mean + html.escape(cell.uncertainty) + (f"<sup>{rank}</sup>" if rank else "")


def html_table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    caption: str,
    identifier: str,
    look: TableStyle | None = None,
) -> str:
    """Return an HTML fragment: one ``<table>`` with its caption, heads and scopes."""
    look = look or TableStyle()
    out = [f'<table class="trustdd-table" id="{html.escape(identifier)}">']
    out += [f"<caption>{html.escape(caption)}</caption>", "<thead>"]
    spans = group_spans(columns)
    if spans:
        cells = [
            f'<th scope="colgroup" colspan="{width}">{html.escape(group)}</th>'
            if group
            else f'<td colspan="{width}"></td>'
            for group, width in spans
        ]
        out.append(f"<tr>{''.join(cells)}</tr>")
    align = [' style="text-align:right"' if c.numeric else "" for c in columns]
    heads = [
        f'<th scope="col"{a}>{html.escape(c.name)}</th>'
        for c, a in zip(columns, align, strict=True)
    ]
    out += [f"<tr>{''.join(heads)}</tr>", "</thead>", "<tbody>"]
    for row in rows:
        if isinstance(row, Section):
            out.append(
                f'<tr><th scope="rowgroup" colspan="{len(columns)}">'
                f"{html.escape(row.text)}</th></tr>"
            )
            continue
        first = f'<th scope="row">{_html_cell(row[0], look)}</th>'
        rest = [
            f"<td{a}>{_html_cell(c, look)}</td>" for c, a in zip(row[1:], align[1:], strict=True)
        ]
        out.append(f"<tr>{first}{''.join(rest)}</tr>")
    return "\n".join([*out, "</tbody>", "</table>"]) + "\n"


def group_spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Neighbouring columns of one group, and how many; empty where no column has a group."""
    if not any(column.group for column in columns):
        return []
    return [(group, len(list(members))) for group, members in groupby(columns, lambda c: c.group)]
