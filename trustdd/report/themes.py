"""Figures on the pages of a book: the same drawing on a light and on a dark ground.

A figure is drawn once, on white. On a page its paper goes, so that the page's own ground shows,
and in the dark every ink takes the place of one that is read there. Pictures inside a figure, and
inks that stand on pictures, are left as they are.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping

from trustdd.report import style
from trustdd.report.palettes import readable
from trustdd.settings.errors import BadInput

#: the pages' grounds; what is white without being paper, as a marker's ring is, takes their colour
GROUNDS = {"light": "#fffefc", "dark": "#14181d"}
#: an ink of `trustdd.report.style` → what it is in the dark
DARK_INKS: Mapping[str, str] = {
    style.INK: "#d9dee4",
    style.FAINT: "#a3aeb9",
    style.GRID: "#39424c",
    style.FILL: "#20272e",
    style.BOOK.palette.none: "#a3aeb9",
    readable(style.BOOK.palette.none): "#a3aeb9",
    style.BOOK.palette.oe: "#5db3e6",
    style.BOOK.palette.poe: "#f0883e",
    style.OUTLIER_INK: "#35b78d",
    **dict(
        zip(
            style.BOOK.palette.others,
            ("#2fbf94", "#d993bb", "#e6ab2e", "#7cc4ee", "#c2a04c", "#a98be0", "#e5e7eb"),
            strict=True,
        )
    ),
}

_PAPER = re.compile(
    r'(<g id="(?:figure|axes)_\d+">\s*<g id="patch_\d+">\s*<path d="[^"]*" style=")fill: #ffffff'
)
_HEAD = re.compile(r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*|\s*<metadata>.*?</metadata>", re.DOTALL)
#: a place in points, to a hundredth of which no eye sees
_PLACES = re.compile(r' (?:d|x|y)="[^"]*"|translate\([^)]*\)')
_PICTURE = re.compile(r"data:image/png;base64,([^\"]+)")
#: pictures from this size on, in bytes, are stored with loss on pages
LARGE = 100_000
_WORDS = re.compile(r'<g id="text_\d+">\s*(?:<!--.*?-->\s*)?<g .*?</g>\s*</g>', re.DOTALL)


def themed(svg: str, theme: str) -> str:
    """Return a figure's SVG for a page: without its paper, in the inks of a theme, and smaller.

    Places are rounded to a hundredth of a point, and what says who wrote the file is left out.

    Args:
        svg: as matplotlib wrote it under `trustdd.report.style.applied`.
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: another theme.
    """
    if theme not in GROUNDS:
        raise BadInput(f"theme '{theme}'; expected one of {', '.join(GROUNDS)}")
    bare = _PAPER.sub(r"\1fill: none", _HEAD.sub("", svg))
    inks = {style.CARD.lower(): GROUNDS[theme]}
    if theme == "dark":
        inks |= {ink.lower(): other for ink, other in DARK_INKS.items()}
    inked = re.sub(r"#[0-9a-f]{6}\b", lambda found: inks.get(found[0], found[0]), bare)
    smaller = _PICTURE.sub(_lighter, _PLACES.sub(lambda found: _rounded(found[0]), inked))
    return re.sub(r">\s+<", "><", smaller)


def without_words(svg: str) -> str:
    """Return a figure's SVG without its text, for a picture too small to read it in.

    Places are rounded to a tenth of a point.
    """
    return _PLACES.sub(lambda found: _rounded(found[0], 1), _WORDS.sub("", svg))


def _rounded(places: str, digits: int = 2) -> str:
    def short_number(number: re.Match[str]) -> str:
        return f"{float(number[0]):.{digits}f}".rstrip("0").rstrip(".")

    short = re.sub(rf"\d+\.\d{{{digits + 1},}}", short_number, places)
    return re.sub(r"\s+", " ", short)


def _lighter(picture: re.Match[str]) -> str:
    """A large picture as WebP, which pages load several times as fast; a small one as it is."""
    content = base64.b64decode(picture[1])
    if len(content) < LARGE:
        return picture[0]
    from PIL import Image

    packed = io.BytesIO()
    Image.open(io.BytesIO(content)).save(packed, format="WEBP", quality=85, method=6)
    return f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}"
