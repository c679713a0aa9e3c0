"""What pages need beside themselves, copied in so that they open from disk with no network.

MathJax and the typefaces come from the npm packages that ``npm ci`` puts into
``node_modules/``, found in the source's folder or the nearest one above it, as node does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

MATHJAX = "mathjax/es5"
#: below the npm package: the combined component for TeX in, HTML out, and its fonts
MATHJAX_PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2")
FONTS = "@fontsource-variable"
FONT_STYLES = {
    "source-serif-4": ("normal", "italic"),
    "source-sans-3": ("normal", "italic"),
    "source-code-pro": ("normal",),
}
#: Latin text, accents and arrows in names, Greek letters in prose
FONT_SUBSETS = ("latin", "latin-ext", "greek")


def node_module(start: Path, name: str) -> Path | None:
    """Find an npm package's folder at or above `start`."""
    for folder in (start, *start.parents):
        if (folder / "node_modules" / name).is_dir():
            return folder / "node_modules" / name
    return None


def copy_assets(app: Sphinx) -> None:
    """Copy MathJax and the typefaces beside the pages, before any page is written."""
    if app.builder.format != "html":
        return
    source, out = Path(app.srcdir).resolve(), Path(app.outdir)
    package = node_module(source, MATHJAX)
    if package is None:
        logger.warning("MathJax is not at hand, formulas cannot be shown; run `npm ci`")
    else:
        for part in MATHJAX_PARTS:
            _copy(package / part, out / "mathjax" / part)
    fonts = node_module(source, FONTS)
    if fonts is None:
        logger.warning("the typefaces are not at hand; run `npm ci`")
        return
    for family, styles in FONT_STYLES.items():
        for style in styles:
            for subset in FONT_SUBSETS:
                name = f"{family}-{subset}-wght-{style}.woff2"
                _copy(fonts / family / "files" / name, out / "fonts" / name)


def _copy(origin: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if origin.is_dir():
        shutil.copytree(origin, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(origin, target)


REDIRECT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={address}">
<link rel="canonical" href="{address}">
</head>
<body><p><a href="{address}">{title}</a></p></body>
</html>
"""


def write_front_door(app: Sphinx, exception: Exception | None) -> None:
    """Write ``index.html``, which leads to the landing page, unless that is its name."""
    if exception is None and app.builder.name == "html" and app.config.root_doc != "index":
        page = REDIRECT.format(title=app.config.html_title, address=f"{app.config.root_doc}.html")
        (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register the events."""
    app.connect("builder-inited", copy_assets)
    app.connect("build-finished", write_front_door)
