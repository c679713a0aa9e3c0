"""Writes a figure or table in all its formats, with a record of what it was made from.

Nothing written here depends on when or where it is written: made again from the same artefacts,
every file has the same bytes, so that a revision shows in a diff as what it is.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from trustdd.report import latex, markup, style
from trustdd.report.comparison import Difference
from trustdd.report.request import Request
from trustdd.report.results import expert_manifests, seeds_of
from trustdd.report.table_style import TableStyle
from trustdd.store.files import atomic_path, results_root, sha256, write_text
from trustdd.store.records import Damaged, read_record, remedy, write_record
from trustdd.store.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: folder of a profile's results: entries that are published as they were made
KEPT = "kept"
#: how the name of a figure's drawing for a phone ends, and that of the numbers its words quote
NARROW, QUOTED = "narrow.svg", "quoted.csv"


#: a number that words quote: plain, or a paired difference with its interval
Quoted = Mapping[str, "float | Difference"]


@dataclass(frozen=True)
class MadeFigure:
    """A figure that was drawn, and all that goes with it.

    Attributes:
        figure: matplotlib's figure.
        data: the numbers it shows, exported as CSV; a row or a group of rows a setting, with the
            column `seed`, or `seeds`, their number.
        alt: what it shows, for those who cannot see it; required.
        caption: a few sentences of plain text, computed, never typed; the same as Markdown. It
            does not repeat the finding.
        finding: the title in the figure.
        runs: the runs it shows; none where it is made from settings alone.
        quoted: every further number in caption, finding and alt text, by what it is; exported as
            CSV.
    """

    figure: Figure
    data: pd.DataFrame
    alt: str
    caption: str
    finding: str
    runs: tuple[Run, ...] = ()
    quoted: Quoted = field(default_factory=dict)

    def __post_init__(self) -> None:
        _need_text(self, "alt", "caption", "finding")


@dataclass(frozen=True)
class MadeTable:
    """A table that was made, and all that goes with it.

    Attributes:
        columns: heads, left to right.
        rows: tuples of cells, or sections that name the rows below them.
        data: the numbers it shows in long form, exported as CSV; see `MadeFigure`.
        caption: as of a figure.
        finding: what it shows, in a sentence, which stands before the caption.
        runs: as of a figure.
        quoted: as of a figure.
    """

    columns: tuple[markup.Column, ...]
    rows: tuple[markup.Row, ...]
    data: pd.DataFrame
    caption: str
    finding: str
    runs: tuple[Run, ...] = ()
    quoted: Quoted = field(default_factory=dict)

    def __post_init__(self) -> None:
        _need_text(self, "caption", "finding")
        for row in self.rows:
            if not isinstance(row, markup.Section) and len(row) != len(self.columns):
                raise ValueError(f"row {row!r} has {len(row)} cells; expected {len(self.columns)}")

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a frame of plain text."""
        return markup.as_frame(self.columns, self.rows)

    def words(self, look: TableStyle) -> str:
        """Finding, caption, and what the marks in the cells mean: all that stands above it."""
        note = look.note if markup.has_ranks(self.rows) else ""
        return " ".join(part for part in (f"{self.finding}.", self.caption.strip(), note) if part)


def _need_text(made: MadeFigure | MadeTable, *names: str) -> None:
    for name in names:
        if not str(getattr(made, name)).strip():
            raise ValueError(f"{name} is empty; every {type(made).__name__} needs one")


class Described(Protocol):
    """What a record takes from a catalogue entry."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def page(self) -> str: ...  # noqa: D102
    @property
    def files(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def optional(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def experts(self) -> bool: ...  # noqa: D102
    @property
    def width(self) -> str: ...  # noqa: D102


# -- where, and from what ---------------------------------------------------------------------


def kept_files(entry_id: str, profile: str, place: Path, own: bool) -> dict[str, Path]:
    """Put an entry that was published as it was made where it would be made; return its files.

    Args:
        entry_id: the entry.
        profile: the profile's name.
        place: its `destination`.
        own: whether it is the profile's own, or a variant.

    Returns:
        End of its name → path in `place`; empty where the entry was not kept.

    Raises:
        Damaged: a file is not what was published.
    """
    folder = results_root() / profile / KEPT
    source = folder if own else folder / place.name
    record = source / f"{entry_id}.json"
    if not record.is_file():
        return {}
    hashes = {**read_record(record)["files"], record.name: sha256(record)}
    found = {}
    for name, expected in hashes.items():
        path, target = source / name, place / name
        if not path.is_file() or sha256(path) != expected:
            raise Damaged(f"{path}: missing, or changed since it was recorded; {remedy(path)}")
        if not target.is_file() or sha256(target) != expected:
            with atomic_path(target) as partial:
                partial.write_bytes(path.read_bytes())
        found[path.name[len(entry_id) + 1 :]] = target
    return found


def describe(
    kind: str, entry: Described, maker: Any, made: MadeFigure | MadeTable, asked: Request,
    stem: Path,
) -> dict[str, Any]:  # fmt: skip
    """Return an entry's provenance: what it says, and everything it was made from.

    Commit, library versions, device, dates and wall time are those of the *runs*, from their
    manifests; so the record changes when what it describes does, and only then.

    Args:
        kind: ``"figure"`` or ``"table"``.
        entry: the catalogue's entry.
        maker: the function that made it.
        made: what it made.
        asked: what was asked for, settled.
        stem: path of its files without suffix; their place below the results is recorded.
    """
    runs = made.runs
    # what was made from settings alone owes nothing to runs that happen to be finished
    manifests = [run.records() for run in runs] if entry.files else []
    trained = expert_manifests(runs) if entry.experts else {}
    stages = [stage for manifest in manifests for stage in manifest.values()]
    stages += [{**m, "seconds": sum(m["seconds"].values())} for m in trained.values()]
    path = stem.with_name(f"{stem.name}.json")
    place = path.relative_to(results_root()) if path.is_relative_to(results_root()) else path
    record = {
        "kind": kind,
        "id": entry.id,
        "title": entry.title,
        "finding": made.finding,
        "caption": _caption(made, asked),
        "page": entry.page,
        "path": str(Path("results") / place),
        "profile": asked.profile.name,
        "variant": not asked.is_plain(kind),
        "selection": asked.selection.given,
        "style": {"name": asked.look.name, **asked.look.changes(kind)},
        "parameters": _parameters(runs),
        "seeds": seeds_of(runs) if entry.files or entry.experts else [],
        "runs": [run.experiment.key for run in runs],
        "inputs": {
            str(Path(run.experiment.key, "" if place == "distill" else place, name)): digest
            for run, manifest in zip(runs, manifests, strict=False)
            for place, stage in manifest.items()
            for name, digest in stage["files"].items()
            if name in (*entry.files, *entry.optional)
        }
        | {f"{k}/{name}": h for k, m in trained.items() for name, h in m["files"].items()},
        "commit": ", ".join(_distinct(stages, "commit")),
        "python": ", ".join(_distinct(stages, "python")),
        "libraries": _libraries(stages),
        "device": "; ".join(d for d in _distinct(stages, "device") if d != "none"),
        "machine": "; ".join(_distinct(stages, "machine")),
        "date": max(_distinct(stages, "date"), default=""),
        "dates": _distinct(stages, "date"),
        "wall_seconds": round(sum(stage.get("seconds", 0.0) for stage in stages), 1),
        "made_by": f"{maker.__module__}.{maker.__name__}",
        "made_by_sha256": sha256(Path(inspect.getfile(maker))),
        "made_with": _versions("matplotlib", "pandas"),
        "command": asked.command(kind, entry.id, entry.width),
    }
    if isinstance(made, MadeFigure):
        with style.applied(asked.look):
            record["fonts"] = style.fonts()
        record["alt"] = made.alt
    return record


def _caption(made: MadeFigure | MadeTable, asked: Request) -> str:
    """All that stands beside it; a figure's finding only where no title in it says that."""
    if isinstance(made, MadeTable):
        return f"{made.words(asked.look.tables)} Profile: {asked.profile.name}."
    return made.caption if asked.look.title else f"{made.finding}. {made.caption}"


def _parameters(runs: Sequence[Run]) -> dict[str, Any]:
    """Every setting of the experiments; where they differ, the list of values under ``varied``."""
    shared: dict[str, Any] = {}
    varied: dict[str, list[Any]] = {}
    for name in runs[0].experiment.to_dict() if runs else ():
        values: list[Any] = []
        for run in runs:
            value = run.experiment.to_dict()[name]
            if value not in values:
                values.append(value)
        if len(values) == 1:
            shared[name] = values[0]
        else:
            varied[name] = values
    return {"shared": shared, "varied": varied}


def _distinct(stages: Sequence[dict[str, Any]], name: str) -> list[str]:
    return sorted({str(stage[name]) for stage in stages if name in stage})


def _libraries(stages: Sequence[dict[str, Any]]) -> dict[str, str]:
    names = sorted({name for stage in stages for name in stage.get("libraries", {})})
    found = [stage.get("libraries", {}) for stage in stages]
    return {name: ", ".join(sorted({f[name] for f in found if name in f})) for name in names}


@functools.cache
def _versions(*names: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in names}


# -- writing ----------------------------------------------------------------------------------


def write_figure(
    made: MadeFigure,
    directory: Path,
    stem: str,
    record: dict[str, Any],
    narrow: MadeFigure | None = None,
) -> dict[str, Path]:
    """Write a figure as SVG, PDF and PNG, its data as CSV and its record as JSON.

    Call it inside ``with style.applied():``, which fonts and ids of the files depend on.

    Args:
        made: the figure.
        directory: where to; made if it is not there.
        stem: name of the files without suffix.
        record: from `describe`; the hashes of the files are added to it.
        narrow: the same figure for a phone's screen, written as ``STEM-narrow.svg``.

    Returns:
        Suffix → path.
    """
    # no date anywhere: a file changes when the figure does
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Title": made.finding, "Description": made.alt},
        "pdf": {"CreationDate": None, "Title": made.finding, "Subject": made.alt},
        "png": {"Title": made.finding, "Description": made.alt},
    }
    files = {}
    for suffix in style.current().formats:
        files[suffix] = directory / f"{stem}.{suffix}"
        with atomic_path(files[suffix]) as partial:
            made.figure.savefig(
                partial, format=suffix, dpi=style.PNG_DPI, metadata=metadata[suffix]
            )
    record["size_inches"] = _size(made)
    if narrow is not None:
        files[NARROW] = directory / f"{stem}-{NARROW}"
        with atomic_path(files[NARROW]) as partial:
            narrow.figure.savefig(partial, format="svg", metadata=metadata["svg"])
        record["narrow_inches"] = _size(narrow)
    return _write_common(made, directory, stem, record, files)


def _size(made: MadeFigure) -> list[float]:
    return [round(float(side), 3) for side in made.figure.get_size_inches()]


def write_table(
    made: MadeTable, directory: Path, stem: str, record: dict[str, Any], look: TableStyle
) -> dict[str, Path]:
    """Write a table as LaTeX, HTML and Markdown, its data as CSV and its record as JSON.

    In LaTeX, the profile stands in a comment rather than in the caption. See `write_figure` for
    the other arguments and what is returned.
    """
    entry_id = record["id"]
    caption = look.captions.get(entry_id) or made.words(look)
    label = look.labels.get(entry_id) or f"tab:{stem}"
    note = f"profile {record['profile']}; {record['command']}"
    texts = {
        "tex": latex.table(made.columns, made.rows, caption, label, look, note),
        "html": markup.html_table(made.columns, made.rows, record["caption"], stem, look),
        "md": markup.markdown(made.columns, made.rows, look),
    }
    files = {s: write_text(directory / f"{stem}.{s}", text) for s, text in texts.items()}
    return _write_common(made, directory, stem, record, files)


def _write_common(
    made: MadeFigure | MadeTable, directory: Path, stem: str, record: dict[str, Any],
    files: dict[str, Path],
) -> dict[str, Path]:  # fmt: skip
    frames = {"csv": (made.data, f"{stem}.csv")}
    if made.quoted:
        frames[QUOTED] = (quoted_frame(made.quoted), f"{stem}-{QUOTED}")
    for kind, (frame, name) in frames.items():
        files[kind] = directory / name
        with atomic_path(files[kind]) as partial:
            frame.to_csv(partial, index=False, lineterminator="\n", float_format="%.7g")
    record["files"] = {path.name: sha256(path) for path in files.values()}
    files["json"] = write_record(directory / f"{stem}.json", record)
    return files


def quoted_frame(quoted: Quoted) -> pd.DataFrame:
    """Numbers that words quote: `what` it is, `value`, and `low`, `high`, `seeds` of a difference.

    Differences are treatment − control, in the unit of the values; the interval is of 95%.
    """
    rows: list[tuple[str, float, float, float, float]] = []
    gap = float("nan")
    for what, value in quoted.items():
        if isinstance(value, Difference):
            rows.append((what, value.mean, value.low, value.high, value.seeds))
        else:
            rows.append((what, float(value), gap, gap, gap))
    return pd.DataFrame(rows, columns=["what", "value", "low", "high", "seeds"])
