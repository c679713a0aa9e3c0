"""Tables as LaTeX with booktabs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trustdd.report.latex_text import escape
from trustdd.report.markup import (
    Cell,
    Code,
    Column,
    Measured,
    Row,
    Section,
    group_spans,
    marks,
    plain,
)
from trustdd.report.table_style import TableStyle

#: starts a document of its own where none has begun: \documentclass redefines itself when used
_HEAD = r"""% \input needs \usepackage{PACKAGES}; compiles by itself, too.
\makeatletter
\ifx\documentclass\@twoclasseserror
  \let\trustddend\relax
  \makeatother
\else
  \makeatother
  \documentclass{article}
  \usepackage{PACKAGES}
  \usepackage[margin=2cm]{geometry}
  \pagestyle{empty}
  \def\trustddend{\end{document}}
  \begin{document}
\fi
"""
#: inches of a character in a small table, and of the space between two columns
_CHARACTER, _GAP = 0.068, 0.11


def table(
    columns: Sequence[Column],
    rows: Sequence[Row],
    caption: str,
    label: str,
    look: TableStyle | None = None,
    note: str = "",
) -> str:
    r"""Return a booktabs ``table`` environment that compiles as it is, alone or by ``\input``.

    Args:
        columns: heads, left to right.
        rows: cells, and sections that name the rows below them.
        caption: plain text.
        label: for ``\ref``.
        look: marks, siunitx, and what becomes of a table that is wider than the line.
        note: a comment at the top: what made it.
    """
    look = look or TableStyle()
    wide = _width(columns, rows) > look.width
    bodies = [list(range(len(columns)))]
    if wide and look.wide == "split":
        bodies = _split(columns, rows, look.width)
    environment = look.environment
    packages = ["booktabs"]
    if wide and look.wide == "rotate":
        environment = "sidewaystable" + ("*" if environment.endswith("*") else "")
        packages.append("rotating")
    shrink = look.wide == "shrink"
    packages += ["graphicx"] * shrink + ["siunitx"] * look.siunitx
    lines = [f"% {note}"] if note else []
    lines += [_HEAD.replace("PACKAGES", ",".join(packages)).rstrip()]
    # a page of its own has no place on another one
    place = "" if environment.startswith("sideways") else f"[{look.placement}]"
    lines += [rf"\begin{{{environment}}}{place}", r"\centering", rf"\caption{{{escape(caption)}}}"]
    lines += [rf"\label{{{label}}}", r"\vspace{3pt}", r"\small", r"\setlength{\tabcolsep}{4pt}"]
    if look.siunitx:
        lines.append(
            r"\sisetup{separate-uncertainty=true,detect-weight=true,detect-inline-weight=math,"
            r"table-align-text-post=false}"
        )
    for place_of, chosen in enumerate(bodies):
        if place_of:
            lines.append(r"\par\medskip")
        body = _tabular([columns[i] for i in chosen], _chosen(rows, chosen), look)
        if shrink:
            body = [
                r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                *body[:-1], body[-1] + "}",
            ]  # fmt: skip
        lines += body
    lines += [rf"\end{{{environment}}}", r"\trustddend"]
    return "\n".join(lines) + "\n"


def _tabular(columns: Sequence[Column], rows: Sequence[Row], look: TableStyle) -> list[str]:
    numbers = [look.siunitx and _is_numbers(rows, i) for i in range(len(columns))]
    layout = "".join(
        _number_column(rows, i) if numbers[i] else
        "r" if column.numeric else _text_column(rows, i)
        for i, column in enumerate(columns)
    )  # fmt: skip
    lines = [rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}", r"\toprule"]
    spans = group_spans(columns)
    if spans:
        lines.append(_groups(spans))
    # siunitx takes what is in braces as text
    heads = [f"{{{escape(c.name)}}}" if n else escape(c.name)
             for c, n in zip(columns, numbers, strict=True)]  # fmt: skip
    lines += [" & ".join(heads) + r" \\", r"\midrule"]
    for index, row in enumerate(rows):
        if isinstance(row, Section):
            if index:
                lines.append(r"\addlinespace")
            text = rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\emph{{{escape(row.text)}}}}}"
            lines.append(text + r" \\")
            continue
        cells = [
            _number(cell, look) if number else _cell(cell, look)
            for cell, number in zip(row, numbers, strict=True)
        ]
        lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


# -- cells --------------------------------------------------------------------------------------


def _cell(cell: Cell, look: TableStyle) -> str:
    if isinstance(cell, Code):
        return rf"\texttt{{{escape(cell.text)}}}" if cell.text else ""
    bold, second, rank = marks(cell, look)
    if not isinstance(cell, Measured) or not (bold or second or rank):
        return escape(plain(cell))
    mean = escape(cell.number(cell.mean))
    if bold:
        mean = rf"\textbf{{{mean}}}"
    elif second:
        mean = (r"\underline" if look.second == "underline" else r"\textit") + f"{{{mean}}}"
    return mean + escape(cell.uncertainty) + (rf"\textsuperscript{{{rank}}}" if rank else "")


def _is_numbers(rows: Sequence[Row], index: int) -> bool:
    """Whether a column holds measured values that siunitx can read, and nothing else."""
    cells = [row[index] for row in rows if not isinstance(row, Section)]
    shown = [c for c in cells if c is not None]
    return bool(shown) and all(
        isinstance(c, Measured) and c.interval is None and not c.sign for c in shown
    )


def _number_column(rows: Sequence[Row], index: int) -> str:
    """An ``S`` column as wide as its longest mean and deviation, with room for a rank."""
    cells = [row[index] for row in rows if not isinstance(row, Section)]
    shown = [c for c in cells if isinstance(c, Measured) and math.isfinite(c.mean)]
    if not shown:
        return "S"
    digits = max(c.digits for c in shown)
    whole = max(len(f"{abs(c.scale * c.mean):.0f}") for c in shown)
    deviations = [c.scale * c.std for c in shown if math.isfinite(c.std)]
    deviation = max((len(f"{d:.{digits}f}".replace(".", "").lstrip("0")) for d in deviations),
                    default=0)  # fmt: skip
    signed = "-" if any(c.mean < 0 for c in shown) else ""
    width = f"{signed}{whole}.{digits}" + (f"({max(1, deviation)})" if deviations else "")
    post = r"\textsuperscript{1}" if any(c.rank for c in shown) else ""
    options = f"table-format={width}" + (f",table-space-text-post={post}" if post else "")
    return f"S[{options}]"


def _number(cell: Cell, look: TableStyle) -> str:
    """A cell of an ``S`` column: a number, its uncertainty in brackets, marks around it."""
    if not isinstance(cell, Measured) or not math.isfinite(cell.mean):
        return "{--}" if cell is not None else ""
    bold, second, rank = marks(cell, look)
    scaled = f"{cell.scale * cell.mean:.{cell.digits}f}"
    if math.isfinite(cell.std):
        deviation = f"{cell.scale * cell.std:.{cell.digits}f}".replace(".", "").lstrip("0")
        scaled += f"({deviation or 0})"
    behind = rf"\textsuperscript{{{rank}}}" if rank else ""
    if bold:
        return rf"\bfseries {scaled}{behind}"
    if second:
        mark = r"\underline" if look.second == "underline" else r"\textit"
        return rf"{{{mark}{{\num{{{scaled}}}}}{behind}}}"
    return scaled + behind


# -- columns ------------------------------------------------------------------------------------


def _text_column(rows: Sequence[Row], index: int) -> str:
    """A left column: a paragraph of its own width where its texts are long."""
    longest = max((len(text) for text in _texts(rows, index)), default=0)
    return f"p{{{5.5 if longest < 80 else 7}cm}}" if longest > 44 else "l"


def _texts(rows: Sequence[Row], index: int) -> list[str]:
    return [plain(row[index]) for row in rows if not isinstance(row, Section)]


def _column_width(columns: Sequence[Column], rows: Sequence[Row], index: int) -> float:
    """About how wide a column is, in inches."""
    longest = max(map(len, [columns[index].name, *_texts(rows, index)]))
    return (min(longest, 44) if not columns[index].numeric else longest) * _CHARACTER + _GAP


def _width(columns: Sequence[Column], rows: Sequence[Row]) -> float:
    """About how wide a table is, in inches, its grouped heads included."""
    width, start = 0.0, 0
    for group, count in group_spans(columns) or [("", len(columns))]:
        own = sum(_column_width(columns, rows, i) for i in range(start, start + count))
        width += max(own, len(group) * _CHARACTER + _GAP)
        start += count
    return width


def _split(columns: Sequence[Column], rows: Sequence[Row], width: float) -> list[list[int]]:
    """Columns of each part of a table, the first one in all: whole groups, as many as fit."""
    parts: list[list[int]] = []
    start = 0
    for _, count in group_spans(columns) or [("", 1)] * len(columns):
        group = [i for i in range(start, start + count) if i]
        start += count
        if not group:
            continue
        longer = [*parts[-1], *group] if parts else []
        fits = parts and _width([columns[i] for i in longer], _chosen(rows, longer)) <= width
        if fits:
            parts[-1] = longer
        else:
            parts.append([0, *group])
    return parts


def _chosen(rows: Sequence[Row], chosen: Sequence[int]) -> list[Row]:
    return [row if isinstance(row, Section) else tuple(row[i] for i in chosen) for row in rows]


def _groups(spans: Sequence[tuple[str, int]]) -> str:
    cells, rules, start = [], [], 1
    for group, width in spans:
        cells.append(
            rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & " * (width - 1)
        )
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return " & ".join(cells) + r" \\" + "\n" + "".join(rules)
