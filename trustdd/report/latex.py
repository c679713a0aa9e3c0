"""Tables as LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from trustdd.report.latex_text import escape
from trustdd.report.markup import Cell, Code, Column, Measured, Row, Section, group_spans, plain


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, Code):
        return rf"\texttt{{{escape(cell.text)}}}" if cell.text else ""
    if isinstance(cell, Measured) and cell.best:
        return rf"\textbf{{{escape(cell.number(cell.mean))}}}" + escape(cell.uncertainty)
    return escape(plain(cell))


#: starts a document of its own where none has begun: \documentclass redefines itself when used
_LATEX_HEAD = r"""% \input needs \usepackage{booktabs,graphicx}; compiles by itself, too.
\makeatletter
\ifx\documentclass\@twoclasseserror
  \let\trustddend\relax
  \makeatother
\else
  \makeatother
  \documentclass{article}
  \usepackage{booktabs,graphicx}
  \usepackage[margin=2cm]{geometry}
  \pagestyle{empty}
  \def\trustddend{\end{document}}
  \begin{document}
\fi
"""


def table(columns: Sequence[Column], rows: Sequence[Row], caption: str, identifier: str) -> str:
    r"""Return a booktabs ``table`` environment that compiles as it is, alone or by ``\input``.

    Tables wider than the line are shrunk to it, never stretched.
    """
    layout = "".join("r" if column.numeric else _latex_left(columns, rows, i)
                     for i, column in enumerate(columns))  # fmt: skip
    lines = [
        _LATEX_HEAD + r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
    ]
    lines += [
        rf"\label{{{identifier}}}",
        r"\vspace{3pt}",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
    ]
    lines += [r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}", r"\toprule"]
    spans = group_spans(columns)
    if spans:
        lines.append(_latex_groups(spans))
    lines += [" & ".join(escape(c.name) for c in columns) + r" \\", r"\midrule"]
    for index, row in enumerate(rows):
        if isinstance(row, Section):
            if index:
                lines.append(r"\addlinespace")
            text = rf"\multicolumn{{{len(columns)}}}{{@{{}}l}}{{\emph{{{escape(row.text)}}}}}"
            lines.append(text + r" \\")
        else:
            lines.append(" & ".join(_latex_cell(cell) for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}", r"\trustddend"]
    return "\n".join(lines) + "\n"


def _latex_left(columns: Sequence[Column], rows: Sequence[Row], index: int) -> str:
    """A left column: a paragraph of its own width where its texts are long."""
    cells = [plain(row[index]) for row in rows if not isinstance(row, Section)]
    longest = max((len(text) for text in cells), default=0)
    return f"p{{{5.5 if longest < 80 else 7}cm}}" if longest > 44 else "l"


def _latex_groups(spans: Sequence[tuple[str, int]]) -> str:
    cells, rules, start = [], [], 1
    for group, width in spans:
        cells.append(
            rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}" if group else " & " * (width - 1)
        )
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    return " & ".join(cells) + r" \\" + "\n" + "".join(rules)
