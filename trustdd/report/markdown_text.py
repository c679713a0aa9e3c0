"""Plain text as inline Markdown (CommonMark and MyST) that shows it as it is, whatever it holds."""

from __future__ import annotations

import re

#: what begins emphasis, code, a link, HTML, mathematics, a role or a cell of a table
_MARKS = re.compile(r"[\\`*_\[\]<>|${~]")
#: an ampersand that begins the name of a character
_ENTITY = re.compile(r"&(?=#?\w+;)")


def escape(text: str) -> str:
    """Escape plain text; tabs and line ends become spaces."""
    marked = _MARKS.sub(lambda mark: f"\\{mark[0]}", text)
    return re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]", " ", _ENTITY.sub(r"\\&", marked))


def code(text: str) -> str:
    """Return text as code; as escaped plain text where it holds what would end code or a cell."""
    return escape(text) if re.search(r"[`|\n\r]", text) or not text.strip() else f"`{text}`"
