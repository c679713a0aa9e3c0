"""``{interactive} NAME``: a place that a script fills, and what stands there without scripts.

The scripts of a name, and the data that they read (``results/PROFILE/pages/*.js``, see
`trustdd.report.page_data`), are loaded on the pages that have such a place, from disk as well.
Where the profile lacks the data, what stands there without scripts stays, and a sentence says so.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd.report.page_data.packing import script
from trustdd_book.assets import node_module
from trustdd_book.results_folder import shown_profile

logger = logging.getLogger(__name__)
TENSORFLOW = (
    "@tensorflow/tfjs-core/dist/tf-core.es2017.min.js",
    "@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.es2017.min.js",
)


@dataclass(frozen=True)
class Parts:
    """What a page with a place needs.

    Attributes:
        scripts: of the book, in ``_static``, in the order in which they run.
        data: names of the pieces of page data.
        packages: files of npm packages, which run first.
    """

    scripts: tuple[str, ...]
    data: tuple[str, ...]
    packages: tuple[str, ...] = ()


PLACES = {
    "draw": Parts(("students.js", "pixels.js", "draw.js"), ("students", "images"), TENSORFLOW),
    "threshold": Parts(("threshold.js",), ("confidences",)),
    "course": Parts(("course.js",), ("course",)),
    "explorer": Parts(("explorer.js",), ("explorer", "sets")),
}


class interactive(nodes.General, nodes.Element):  # noqa: N801 - docutils names nodes so
    """A place that a script fills."""


class Interactive(SphinxDirective):
    """The place; its content is what stands there until a script fills it."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the place, or a note above what it holds where the profile has no data for it."""
        name = self.arguments[0].strip()
        if name not in PLACES:
            expected = ", ".join(PLACES)
            raise self.error(f"interactive '{name}'; expected one of {expected}")
        place = interactive("", name=name, classes=["interactive"])
        self.state.nested_parse(self.content, self.content_offset, place)
        profile = shown_profile(self.env.app)
        made = [piece for piece in PLACES[name].data if piece != "sets"]
        files = [profile.folder / "pages" / f"{piece}.js" for piece in made]
        for file in files:
            self.env.note_dependency(str(file))
        if not all(file.is_file() for file in files):
            said = (
                f"This page answers back in books whose students are at hand; those of the profile "
                f"{profile.name} are not. In a book made by make book they are."
            )
            return [nodes.note("", nodes.paragraph("", said)), *place.children]
        return [place]


def visit_interactive(translator: Any, node: interactive) -> None:
    """Begin the place."""
    name = translator.attval(node["name"])
    translator.body.append(f'<div class="interactive" data-name="{name}">')


def depart_interactive(translator: Any, node: interactive) -> None:
    """End the place."""
    translator.body.append("</div>\n")


def load_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load what a page's places need, in order."""
    places = list(doctree.findall(interactive)) if doctree is not None else []
    loaded: list[str] = []
    for place in places:
        parts = PLACES[place["name"]]
        loaded += [f"../vendor/{Path(package).name}" for package in parts.packages]
        loaded += [f"../data/{piece}.js" for piece in parts.data]
        loaded += ["interactive.js", *parts.scripts]
    for path in dict.fromkeys(loaded):
        app.add_js_file(path, loading_method="defer")


def copy_parts(app: Sphinx) -> None:
    """Copy data and packages beside the pages, before any page is written."""
    if app.builder.format != "html":
        return
    out = Path(app.outdir)
    data = shown_profile(app).folder / "pages"
    for file in sorted(data.glob("*")):
        _copy(file, out / "data" / file.name)
    write_sets(app)
    for package in {p for parts in PLACES.values() for p in parts.packages}:
        scope, _, path = package.partition("/dist/")
        folder = node_module(Path(app.srcdir).resolve(), scope)
        if folder is None:
            logger.warning("%s is not at hand; run `npm ci`", scope)
        else:
            _copy(folder / "dist" / path, out / "vendor" / Path(package).name)


def write_sets(app: Sphinx) -> None:
    """Copy the distilled sets of all profiles, and write which there are for a page's script."""
    out, results = Path(app.outdir), Path(app.srcdir, "results")
    kept: dict[str, list[str]] = {}
    for file in sorted(results.glob("*/distilled/*.safetensors")):
        profile = file.parents[1].name
        _copy(file, out / sets_address(profile, file.stem))
        kept.setdefault(profile, []).append(file.stem)
    data = out / "data" / "sets.js"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text(script("sets", kept), encoding="utf-8")


def sets_address(profile: str, key: str) -> str:
    """Where a distilled set lies below the book's top."""
    return f"sets/{profile}/{key}.safetensors"


def _copy(origin: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(origin, target)


def setup(app: Sphinx) -> None:
    """Register directive, node and events."""
    app.add_directive("interactive", Interactive)
    app.add_node(interactive, html=(visit_interactive, depart_interactive))
    app.connect("html-page-context", load_scripts)
    app.connect("builder-inited", copy_parts)
