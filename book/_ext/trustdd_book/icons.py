"""Icons: of the two thousand that the theme brings along, those that the pages show.

The theme's style sheet names every icon of Font Awesome, and its fonts hold them. Once all pages
are written, both are cut down to the icons that occur in them.
"""

from __future__ import annotations

import re
from pathlib import Path

from fontTools import subset
from sphinx.application import Sphinx

VENDOR = "_static/vendor/fontawesome"
_RULE = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\?([^"]+)"\}')
_USED = re.compile(r"\bfa-[a-z0-9-]+")


def keep_used_icons(app: Sphinx, exception: Exception | None) -> None:
    """Cut the style sheet and the fonts down."""
    out = Path(app.outdir)
    if exception is not None or app.builder.format != "html":
        return
    pages = [*out.rglob("*.html"), *(out / "_static").glob("*.js")]
    used = {name for p in pages for name in _USED.findall(p.read_text(encoding="utf-8"))}
    for sheet in out.glob(f"{VENDOR}/*/css/all.min.css"):
        text, shown = cut_sheet(sheet.read_text(encoding="utf-8"), used)
        sheet.write_text(text, encoding="utf-8")
        fonts = sheet.parent.parent / "webfonts"
        for font in sorted(fonts.glob("*.woff2")):
            cut_font(font, shown)
        for script in (sheet.parent.parent / "js").glob("*"):
            script.unlink()


def cut_sheet(text: str, used: set[str]) -> tuple[str, set[int]]:
    """Leave out the rules of icons that are not used.

    Args:
        text: Font Awesome's ``all.min.css``.
        used: names of icons, ``fa-bars``.

    Returns:
        The style sheet, and the characters that its icons are.
    """
    shown: set[int] = set()

    def kept(found: re.Match[str]) -> str:
        names = set(re.findall(r"fa-[\w-]+", found[1]))
        if not names & used:
            return ""
        content = found[2]
        shown.add(int(content, 16) if len(content) > 1 else ord(content))
        return found[0]

    return _RULE.sub(kept, text), shown


def cut_font(path: Path, characters: set[int]) -> None:
    """Leave out a font's glyphs of other characters, in place."""
    options = subset.Options(flavor="woff2", layout_features=[], notdef_outline=True)
    with subset.load_font(str(path), options) as font:
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=characters)
        chosen.subset(font)
        subset.save_font(font, str(path), options)


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("build-finished", keep_used_icons)
