"""Catalogue entries on a page: the figure or table, its caption, and how it was made.

``{catalogue} fig02`` shows ``results/PROFILE/figures/fig02.*`` as figure 2 with the label
``fig02`` (``{numref}`fig02```); the number is the catalogue's, on whatever page it stands. With
``:echo:`` the same picture is shown a second time, unnumbered, and points to its home. With
``:profile: NAME`` it is another profile's entry, unnumbered.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from trustdd.report.themes import without_words
from trustdd_book.pictures import drawing
from trustdd_book.results_folder import shown_profile
from trustdd_book.tables import table_node

logger = logging.getLogger(__name__)
InlineParser = Callable[[str], list[nodes.Node]]

#: a figure of a page's width (6.75 inches) fills the text column
PIXELS_PER_INCH = 113
#: what a reader may take away, in this order: suffix → name of the link
DOWNLOADS = {
    ".csv": "data (CSV)",
    ".pdf": "PDF",
    ".svg": "SVG",
    ".png": "PNG",
    ".tex": "LaTeX",
    ".html": "HTML",
    ".json": "record (JSON)",
}


class Catalogue(SphinxDirective):
    """``{catalogue} ID``: a stored figure or table, numbered as in the catalogue."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {
        "echo": directives.flag,
        "profile": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """Return the entry's nodes, or a warning where it was not made."""
        entry = self.arguments[0].strip()
        profile = self.options.get("profile")
        path = entry_path(self.env.app, entry, profile)
        if not path.is_file():
            said = lacking(self.env.app, entry, profile)
            if said:
                return [nodes.note("", nodes.paragraph("", said))]
            logger.warning("catalogue entry '%s' is not in %s", entry, path.parent,
                           location=self.get_location())  # fmt: skip
            return []

        def inline(text: str) -> list[nodes.Node]:
            parsed, _messages = self.state.inline_text(text, self.lineno)
            return parsed

        numbered = "echo" not in self.options and profile is None
        return entry_nodes(self.env, path, inline, self.state.document, numbered=numbered)


def lacking(app: Sphinx, entry_id: str, profile: str | None = None) -> str:
    """Say why a profile, the shown one or another, has no such entry; empty where it should."""
    from trustdd.report.figures import FIGURES
    from trustdd.report.tables import TABLES
    from trustdd.store.profiles import list_profiles, load_profile

    catalogue = TABLES if entry_id.startswith("tab") else FIGURES
    shown = profile or shown_profile(app).name
    entry = catalogue.find(entry_id)
    if profile is not None and not (Path(app.srcdir) / "results" / profile / "figures").is_dir():
        return (
            f"{entry_name(entry_id)}, “{entry.title}”: nothing of the profile {shown} was run yet."
        )
    if shown not in list_profiles() or entry.made_from(load_profile(shown)):
        return ""
    holders = [p for p in list_profiles() if entry.made_from(load_profile(p))]
    said = f"{entry_name(entry_id)}, “{entry.title}”: the profile {shown} has none of its runs. "
    if not holders:
        return said + "No profile has them yet."
    return said + f"In {' and '.join(holders)}: make book PROFILE={holders[0]}."


class Findings(SphinxDirective):
    """``{findings} ID …``: what entries found, a line each, with links to them.

    Entries that the profile does not have are left out.
    """

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Return the list in the frame that findings stand in."""
        items = nodes.bullet_list()
        for entry in self.arguments[0].split():
            path = entry_path(self.env.app, entry)
            if not path.is_file():
                if not lacking(self.env.app, entry):
                    logger.warning("catalogue entry '%s' is not there", entry,
                                   location=self.get_location())  # fmt: skip
                continue
            self.env.note_dependency(str(path))
            record = json.loads(path.read_text(encoding="utf-8"))
            said = nodes.Text(f"{record['finding']} (")
            link = addnodes.pending_xref(
                "", nodes.inline("", entry_name(entry)), refdomain="std", reftype="ref",
                reftarget=entry,
                refexplicit=True, refwarn=True, refdoc=self.env.docname,
            )  # fmt: skip
            items += nodes.list_item("", nodes.paragraph("", "", said, link, nodes.Text(").")))
        box = nodes.container("", items, classes=["finding"])
        return [box] if len(items) else []


class Gallery(SphinxDirective):
    """``{gallery}``: every figure as a small picture, every table as a line, linked to its home."""

    def run(self) -> list[nodes.Node]:
        """Return the grid of figures, then the list of tables."""
        from trustdd.report.figures import FIGURES
        from trustdd.report.tables import TABLES

        grid, lines = nodes.container("", classes=["gallery"], is_div=True), nodes.bullet_list()
        for catalogue in (FIGURES, TABLES):
            for entry in catalogue.entries.values():
                path = entry_path(self.env.app, entry.id)
                if path.is_file():
                    self.env.note_dependency(str(path))
                    record = json.loads(path.read_text(encoding="utf-8"))
                    target = grid if catalogue is FIGURES else lines
                    target += self._card(path, record, entry.page, entry.title)
        figures = nodes.rubric("", "Figures")
        return [figures, grid, nodes.rubric("", "Tables"), lines]

    def _card(self, path: Path, record: dict[str, Any], page: str, title: str) -> nodes.Element:
        entry = record["id"]
        name = entry_name(entry)
        target = self.env.relfn2path(f"/{page}")[0]
        address = self.env.app.builder.get_relative_uri(self.env.docname, target)
        link = nodes.reference("", "", nodes.strong("", f"{name}. "), nodes.Text(title),
                               refuri=f"{address}#{entry}", internal=True)  # fmt: skip
        words = nodes.paragraph("", "", link)
        if record["kind"] == "table":
            return nodes.list_item("", words)
        small = drawing(
            self.env, without_words(path.with_suffix(".svg").read_text(encoding="utf-8")),
            f"{name}, small: {title}", name=f"{entry}-small", classes=("gallery-image",),
        )  # fmt: skip
        return nodes.container("", *small, words, classes=["gallery-card"], is_div=True)


def entry_name(entry_id: str) -> str:
    """An entry as a sentence names it: ``fig02`` → ``Figure 2``."""
    kind = "Table" if entry_id.startswith("tab") else "Figure"
    return f"{kind} {int(entry_id[3:])}"


def entry_path(app: Sphinx, entry_id: str, profile: str | None = None) -> Path:
    """Where a profile's record of an entry lies, whether it is there or not."""
    kind = "tables" if entry_id.startswith("tab") else "figures"
    folder = Path(app.srcdir) / "results" / profile if profile else shown_profile(app).folder
    return folder / kind / f"{entry_id}.json"


def entry_nodes(
    env: BuildEnvironment,
    path: Path,
    inline: InlineParser,
    document: nodes.document,
    *,
    numbered: bool = True,
) -> list[nodes.Node]:
    """Make the nodes of one entry from the path of its JSON record.

    Args:
        env: the build environment; the record becomes a dependency of the current page.
        path: the record, with the entry's other formats beside it.
        inline: parses inline Markdown of a table's cells.
        document: where the label is noted.
        numbered: with number and label; without, the caption points to the numbered one, as it
            does where the page shows the entry for a second time.
    """
    env.note_dependency(str(path))
    record = json.loads(path.read_text(encoding="utf-8"))
    label = record["id"]
    caption = _caption(record)
    picture = table_node(path, inline) if record["kind"] == "table" else _image(env, path, record)
    if not numbered or label in document.nameids:
        words = nodes.paragraph("", "", *_pointer(env, record), *caption, classes=["echo"])
        both = [words, picture] if record["kind"] == "table" else [picture, words]
        box = nodes.container("", *both, classes=["catalogue-echo"])
        elsewhere = record.get("variant") or _of_another(env, record)
        return [box, provenance_line(env, path, record)] if elsewhere else [box]
    shown: nodes.Element
    if isinstance(picture, nodes.table):
        shown = picture
        shown.insert(0, nodes.title("", "", *caption))
        shown["classes"] += ["catalogue"]
        body: nodes.Element = nodes.container("", shown, classes=["catalogue-table"])
    else:
        shown = nodes.figure("", picture, nodes.caption("", "", *caption), classes=["catalogue"])
        shown["align"] = "default"
        body = shown
    shown["names"].append(label)
    document.note_explicit_target(shown, shown)
    return [body, provenance_line(env, path, record)]


def is_home(env: BuildEnvironment, path: Path) -> bool:
    """Tell whether the current page is the one that an entry's record names as its own."""
    return bool(json.loads(path.read_text(encoding="utf-8")).get("page") == env.docname)


def _of_another(env: BuildEnvironment, record: dict[str, Any]) -> bool:
    """Tell whether an entry is of another profile than the book's."""
    return bool(record["profile"] != shown_profile(env.app).name)


def _pointer(env: BuildEnvironment, record: dict[str, Any]) -> list[nodes.Node]:
    """``Figure 10.``, or ``Figure 10, from other runs.``, linked where its page is in the book."""
    name = entry_name(record["id"])
    if _of_another(env, record):
        return [nodes.inline("", f"{name} of the profile {record['profile']}"), nodes.Text(". ")]
    rest = nodes.Text(", from other runs. " if record.get("variant") else ". ")
    if record.get("page") not in env.found_docs:
        return [nodes.inline("", name), rest]
    link = addnodes.pending_xref(
        "", nodes.inline("", name), refdomain="std", reftype="ref", reftarget=record["id"],
        refexplicit=True, refwarn=True, refdoc=env.docname,
    )  # fmt: skip
    return [link, rest]


def _caption(record: dict[str, Any]) -> list[nodes.Node]:
    """The caption, plain text; a finding that is the picture's title is not shown twice."""
    text, finding = record["caption"], (record.get("finding") or "").rstrip(".")
    rest = text.removeprefix(f"{finding}. ")
    in_picture = record.get("style", {}).get("title", True)
    if record["kind"] == "table" or not finding or not in_picture:
        return [nodes.Text(text)]
    heard = nodes.inline("", f"{finding}.", classes=["heard-only"])
    return [heard, nodes.Text(f" {rest}")]


def _image(env: BuildEnvironment, path: Path, record: dict[str, Any]) -> nodes.container:
    drawn, narrow = path.with_suffix(".svg"), path.with_name(f"{path.stem}-narrow.svg")
    if not str(record.get("alt") or "").strip():
        logger.warning("catalogue entry '%s' has no alt text", record["id"], location=env.docname)
    for file in (drawn, narrow):
        env.note_dependency(str(file))
    has_narrow = narrow.is_file()
    shown = drawing(
        env, drawn.read_text(encoding="utf-8"), record.get("alt", ""),
        name=f"{record['profile']}-{record['id']}",
        narrow=narrow.read_text(encoding="utf-8") if has_narrow else "",
        pixels_per_inch=PIXELS_PER_INCH,
        classes=("catalogue-image", *(() if has_narrow else ("only-wide",))),
    )  # fmt: skip
    return nodes.container("", *shown, classes=["figure-frame"], is_div=True)


def source_uri(env: BuildEnvironment, path: Path) -> str:
    """Return a file's address as Sphinx wants it, from the top of the source."""
    return "/" + Path(os.path.relpath(path.resolve(), Path(env.srcdir).resolve())).as_posix()


def provenance_line(env: BuildEnvironment, path: Path, record: dict[str, Any]) -> nodes.Element:
    """One folded line: what made an entry, the command that makes it again, its downloads."""
    box = nodes.container(classes=["provenance"])
    summary = html.escape(" · ".join(provenance_facts(record)))
    box += nodes.raw("", f"<details><summary>{summary}</summary>", format="html")
    box += nodes.paragraph(
        "", "", nodes.Text("Make it again: "), nodes.literal("", record["command"])
    )
    links = [
        _download(env, path.with_suffix(suffix), name)
        for suffix, name in DOWNLOADS.items()
        if path.with_suffix(suffix).is_file()
    ]
    notebook = Path(env.srcdir) / f"{record.get('page') or ''}.ipynb"
    if notebook.is_file():
        links.append(_download(env, notebook, "notebook"))
    taken = nodes.paragraph("", "", nodes.Text("Take it away: "))
    for index, link in enumerate(links):
        taken += [nodes.Text(" · "), link] if index else [link]
    box += taken
    box += nodes.raw("", "</details>", format="html")
    return box


def _download(env: BuildEnvironment, file: Path, name: str) -> nodes.Element:
    return addnodes.download_reference(
        "", "", nodes.Text(name), reftarget=source_uri(env, file), refdoc=env.docname,
        refdomain="", reftype="download", refexplicit=True, refwarn=False,
    )  # fmt: skip


def provenance_facts(record: dict[str, Any]) -> list[str]:
    """Profile, seeds, commit, date, device and time, as far as the record knows them."""
    seeds = [str(seed) for seed in record.get("seeds") or []]
    seconds = float(record.get("wall_seconds") or 0)
    return [
        f"Profile {record['profile']}" + (" (other parameters)" if record.get("variant") else ""),
        *([f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"] if seeds else []),
        *([f"commit {record['commit']}"] if record.get("commit") else []),
        *([record["date"]] if record.get("date") else []),
        *([record["device"]] if record.get("device") else []),
        *([f"{_duration(seconds)} of computing"] if seconds else []),
    ]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def number_by_id(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give every catalogue figure and table the number of its id, in place of its order."""
    for numbers in env.toc_fignumbers.values():
        for kind in ("figure", "table"):
            for label in numbers.get(kind, {}):
                match = re.fullmatch(r"(?:fig|tab)(\d+)", label)
                if match:
                    numbers[kind][label] = (int(match[1]),)
    return []


def setup(app: Sphinx) -> None:
    """Register the directive and the numbering."""
    app.add_directive("catalogue", Catalogue)
    app.add_directive("findings", Findings)
    app.add_directive("gallery", Gallery)
    # after Sphinx has numbered by order
    app.connect("env-get-updated", number_by_id, priority=900)
