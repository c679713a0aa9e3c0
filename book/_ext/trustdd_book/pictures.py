"""A drawing on a page: in the inks of the page's theme, and narrower on a phone.

A figure is stored as one SVG on white paper, and perhaps as a second one for a phone. Beside the
page stand two of each, without paper, in the inks that `trustdd.report.themes` gives them.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from trustdd.report.themes import GROUNDS, themed

#: screens up to this width are given the narrow drawing, in CSS pixels; as in book.css
PHONE = 620
POINTS_PER_INCH = 72


class picture(nodes.General, nodes.Element):  # noqa: N801 - docutils names nodes so
    """One drawing in one theme: images for narrow and wide screens, the wide one last."""


def drawing(
    env: BuildEnvironment,
    svg: str,
    alt: str,
    *,
    name: str,
    narrow: str = "",
    pixels_per_inch: float = 113,
    classes: tuple[str, ...] = (),
) -> list[picture]:
    """Make the nodes of a drawing, one for each theme; CSS shows that of the page's.

    Args:
        env: the build environment.
        svg: the drawing, as matplotlib wrote it.
        alt: what it shows, for those who cannot see it.
        name: the stem of its files.
        narrow: the same drawing for a phone, if there is one.
        pixels_per_inch: how large an inch of the drawing is on the page.
        classes: of the images.
    """
    made = []
    for theme in GROUNDS:
        sources = [text for text in (narrow, svg) if text]
        images = [
            nodes.image(
                uri=_stored(env, themed(text, theme), f"{name}-{kind}-{theme}"), alt=alt,
                classes=list(classes), size=_size(text, pixels_per_inch),
            )
            for text, kind in zip(sources, ("narrow", "wide")[-len(sources) :], strict=True)
        ]  # fmt: skip
        made.append(picture("", *images, classes=[f"in-{theme}"]))
    return made


def _stored(env: BuildEnvironment, svg: str, name: str) -> str:
    """Write a drawing beside Sphinx's state, and return its address from the top of the source."""
    digest = hashlib.sha256(svg.encode()).hexdigest()[:8]
    path = Path(env.doctreedir).resolve().parent / "drawings" / f"{name}-{digest}.svg"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{os.getpid()}-{path.name}")
        partial.write_text(svg, encoding="utf-8")
        partial.replace(path)
    return "/" + Path(os.path.relpath(path, Path(env.srcdir).resolve())).as_posix()


def _size(svg: str, pixels_per_inch: float) -> dict[str, int]:
    """Width and height on the page, in pixels, from the drawing's own size in points."""
    found = re.search(
        r'<svg[^>]*\bwidth="(?P<width>[\d.]+)pt"[^>]*\bheight="(?P<height>[\d.]+)pt"', svg
    )
    if found is None:
        return {}
    scale = pixels_per_inch / POINTS_PER_INCH
    return {side: round(float(found[side]) * scale) for side in ("width", "height")}


def visit_picture(translator: Any, node: picture) -> None:
    """Write ``<picture>`` with its sources; the images inside are not visited."""
    *narrow, wide = node.children
    translator.body.append(f'<picture class="{" ".join(node["classes"])}">')
    for image in narrow:
        translator.body.append(
            f'<source media="(max-width: {PHONE}px)" {_attributes(translator, image, "srcset")}>'
        )
    names = " ".join(wide["classes"])
    alt = translator.attval(wide["alt"])
    translator.body.append(
        f'<img class="{names}" {_attributes(translator, wide, "src")} alt="{alt}" '
        'loading="lazy" decoding="async"></picture>\n'
    )
    raise nodes.SkipNode


def _attributes(translator: Any, image: nodes.Element, source: str) -> str:
    builder = translator.builder
    name = builder.images[image["uri"]]
    # not as docutils' attributes of an image, which Sphinx makes a link of
    size = "".join(f' {side}="{pixels}"' for side, pixels in image["size"].items())
    return f'{source}="{builder.imgpath}/{name}"{size}'


def setup(app: Sphinx) -> None:
    """Register the node."""
    app.add_node(picture, html=(visit_picture, None))
