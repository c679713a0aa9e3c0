"""Tables as document nodes, so that they are numbered, searched and read aloud like text.

A head that is left empty, as that of a first column may be, gets a name that is heard and not seen.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

InlineParser = Callable[[str], list[nodes.Node]]


def table_node(path: Path, inline: InlineParser) -> nodes.table:
    """Read a catalogue table's Markdown, the file beside its record, into a table node.

    Raises:
        ValueError: the file is not there or holds no table.
    """
    source = path.with_suffix(".md")
    if not source.is_file():
        raise ValueError(f"{source}: no such file; expected the table as Markdown")
    header, rows, numeric = parse_markdown_table(source.read_text(encoding="utf-8"))
    return build_table(header, rows, inline, numeric)


def parse_markdown_table(text: str) -> tuple[list[str], list[list[str]], list[bool]]:
    """Split a pipe table into header, rows, and which columns are set to the right.

    Raises:
        ValueError: there is no pipe table in the text.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    if len(lines) < 2:
        raise ValueError("no Markdown table: expected lines that start with '|'")
    header, rule, *rows = ([cell.strip() for cell in _cells(line)] for line in lines)
    return header, rows, [mark.endswith(":") for mark in rule]


def _cells(line: str) -> list[str]:
    """Split at the bars that are not escaped."""
    return re.split(r"(?<!\\)\|", line.strip()[1:].removesuffix("|"))


def build_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    inline: InlineParser,
    right: Sequence[bool] | None = None,
) -> nodes.table:
    """Make a table node.

    Neighbouring heads ``GROUP · NAME`` share a head ``GROUP`` above them; a row whose only
    cell is the first one spans the table.

    Args:
        header: one cell per column.
        rows: cells, inline Markdown.
        inline: parses a cell.
        right: which columns are set flush right; by default those that hold numbers only.
    """
    flush = list(right) if right is not None else [_numbers(rows, i) for i in range(len(header))]
    group = nodes.tgroup(cols=len(header))
    # the first column names its row, which a screen reader announces
    group += [nodes.colspec(colwidth=1, **({} if i else {"stub": 1})) for i in range(len(header))]
    head, body = nodes.thead(), nodes.tbody()
    head += _heads(header, inline, flush)
    for cells in rows:
        body += _row(cells, inline, flush)
    group += [head, body]
    return nodes.table("", group, classes=["result-table"])


def _heads(header: Sequence[str], inline: InlineParser, flush: Sequence[bool]) -> list[nodes.row]:
    parts = [cell.partition(" · ") for cell in header]
    if not any(mark for _, mark, _ in parts):
        return [_row(header, inline, flush)]
    above, below = nodes.row(), nodes.row()
    place = 0
    for group, members in itertools.groupby(parts, lambda part: part[0] if part[1] else None):
        count = len(list(members))
        places = range(place, place + count)
        place += count
        if group is None:
            # a head without a group stands beside both rows
            for index in places:
                above += _entry(parts[index][0], inline, flush[index])
                above[-1]["morerows"] = 1
            continue
        entry = nodes.entry("", nodes.paragraph("", "", *inline(group)), classes=["head-group"])
        if count > 1:
            entry["morecols"] = count - 1
        above += entry
        for index in places:
            below += _entry(parts[index][2], inline, flush[index])
    return [above, below]


def _row(cells: Sequence[str], inline: InlineParser, flush: Sequence[bool]) -> nodes.row:
    row = nodes.row()
    if len(cells) > 2 and cells[0] and not any(cells[1:]):
        section = _entry(cells[0], inline, False)
        section["morecols"] = len(cells) - 1
        section["classes"].append("row-section")
        row += section
        return row
    row += [_entry(cell, inline, right) for cell, right in zip(cells, flush, strict=True)]
    return row


def _entry(cell: str, inline: InlineParser, right: bool) -> nodes.entry:
    entry = nodes.entry("", classes=["text-right" if right else "text-left"])
    if cell:
        entry += nodes.paragraph("", "", *inline(cell))
    return entry


def _numbers(rows: Sequence[Sequence[str]], column: int) -> bool:
    cells = [row[column].strip("*~ ") for row in rows]
    return bool(cells) and all(c[:1].isdigit() or c[:1] in "-−+–" for c in cells if c)


def name_empty_heads(app: Sphinx, doctree: nodes.document) -> None:
    """Give empty heads of columns and of rows a name for those who hear them."""
    for head in doctree.findall(nodes.thead):
        for row in head.findall(nodes.row):
            for place, entry in enumerate(row.children):
                if not entry.astext().strip():
                    _name(entry, "row" if place == 0 else f"column {place + 1}")
    for body in doctree.findall(nodes.tbody):
        if not body.parent.next_node(nodes.colspec).get("stub"):
            continue
        for row in body.findall(nodes.row):
            if row.children and not row[0].astext().strip():
                _name(row[0], "as above")


def _name(entry: nodes.Element, words: str) -> None:
    hidden = nodes.inline("", words, classes=["heard-only"])
    entry.clear()
    entry += nodes.paragraph("", "", hidden)


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("doctree-read", name_empty_heads)
