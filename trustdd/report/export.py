"""Writes a figure or table in all its formats, with a record of what it was made from.

Nothing written here depends on when or where it is written: made again from the same artefacts,
every file has the same bytes, so that a revision shows in a diff as what it is.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from trustdd.report import latex, markup, style
from trustdd.report.results import expert_manifests, seeds_of
from trustdd.store.files import atomic_path, results_root, sha256, write_text
from trustdd.store.records import Damaged, read_record, remedy, write_record
from trustdd.store.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: folder of a profile's results: entries that are published as they were made
KEPT = "kept"
#: how the name of a figure's drawing for a phone ends
NARROW = "narrow.svg"


@dataclass(frozen=True)
class MadeFigure:
    """A figure that was drawn, and all that goes with it.

    Attributes:
        figure: matplotlib's figure.
        data: the numbers it shows, exported as CSV.
        alt: what it shows, for those who cannot see it; required.
        caption: a few sentences of plain text, computed, never typed; the same as Markdown.
        finding: the title in the figure.
        seeds: the seeds it shows; all of the runs' where empty.
    """

    figure: Figure
    data: pd.DataFrame
    alt: str
    caption: str
    finding: str
    seeds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _need_text(self, "alt", "caption", "finding")


@dataclass(frozen=True)
class MadeTable:
    """A table that was made, and all that goes with it.

    Attributes:
        columns: heads, left to right.
        rows: tuples of cells, or sections that name the rows below them.
        data: the numbers it shows in long form, exported as CSV.
        caption: as of a figure.
        finding: the caption's first sentence.
    """

    columns: tuple[markup.Column, ...]
    rows: tuple[markup.Row, ...]
    data: pd.DataFrame
    caption: str
    finding: str

    def __post_init__(self) -> None:
        _need_text(self, "caption", "finding")
        for row in self.rows:
            if not isinstance(row, markup.Section) and len(row) != len(self.columns):
                raise ValueError(f"row {row!r} has {len(row)} cells; expected {len(self.columns)}")

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a frame of plain text."""
        return markup.as_frame(self.columns, self.rows)

    def with_note(self, note: str) -> MadeTable:
        """Return the table with a sentence added to its caption."""
        return replace(self, caption=f"{self.caption} {note}")


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


# -- where, and from what ---------------------------------------------------------------------


def destination(kind: str, profile: str, runs: Sequence[Run], own: bool) -> Path:
    """Return the folder an entry goes to.

    Args:
        kind: ``"figure"`` or ``"table"``.
        profile: the profile's name.
        runs: what it is made from.
        own: whether these are the profile's own runs; others get a folder of their settings.
    """
    folder = results_root() / profile
    if own:
        return folder / f"{kind}s"
    settings = sorted(json.dumps(run.experiment.to_dict(), sort_keys=True) for run in runs)
    return folder / "variants" / hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12]


def kept_files(entry_id: str, profile: str, place: Path, own: bool) -> dict[str, Path]:
    """Put an entry that was published as it was made where it would be made; return its files.

    Args:
        entry_id: the entry.
        profile: the profile's name.
        place: its `destination`.
        own: whether it is the profile's own, or a variant.

    Returns:
        Suffix → path in `place`; empty where the entry was not kept.

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
    kind: str, entry: Described, maker: Any, made: MadeFigure | MadeTable, runs: Sequence[Run],
    profile: str, path: Path, *, own: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Return an entry's provenance: what it says, and everything it was made from.

    Commit, library versions, device, dates and wall time are those of the *runs*, from their
    manifests; so the record changes when what it describes does, and only then.

    Args:
        kind: ``"figure"`` or ``"table"``.
        entry: the catalogue's entry.
        maker: the function that made it.
        made: what it made.
        runs: what it was made from.
        profile: the profile's name.
        path: where the record will lie; its place below the results is recorded.
        own: whether the runs are the profile's own.
    """
    if isinstance(made, MadeFigure) and made.seeds:
        runs = [run for run in runs if run.experiment.seed in made.seeds]
    # what was made from settings alone owes nothing to runs that happen to be finished
    manifests = [run.records() for run in runs] if entry.files else []
    trained = expert_manifests(runs) if entry.experts else {}
    stages = [stage for manifest in manifests for stage in manifest.values()]
    stages += [{**m, "seconds": sum(m["seconds"].values())} for m in trained.values()]
    place = path.relative_to(results_root()) if path.is_relative_to(results_root()) else path
    record = {
        "kind": kind,
        "id": entry.id,
        "title": entry.title,
        "finding": made.finding,
        "caption": made.caption,
        "page": entry.page,
        "path": str(Path("results") / place),
        "profile": profile,
        "variant": not own,
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
        "command": _command(kind, entry, runs, profile, own),
    }
    return record | ({"alt": made.alt} if isinstance(made, MadeFigure) else {})


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


def _command(kind: str, entry: Described, runs: Sequence[Run], profile: str, own: bool) -> str:
    if own or not runs:
        return f"trustdd {kind} {entry.id} --profile {profile}"
    first = runs[0].experiment
    page = entry.page if entry.page.startswith("notebooks/") else "notebooks/03_detection"
    return (
        f"trustdd run {page}.md --profile {profile} -p dataset={first.dataset} "
        f"-p method={first.method} -p ipc={first.ipc} "
        f"-p 'seeds=[{', '.join(map(str, seeds_of(runs)))}]'"
    )


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
    for suffix, facts in metadata.items():
        files[suffix] = directory / f"{stem}.{suffix}"
        with atomic_path(files[suffix]) as partial:
            made.figure.savefig(partial, format=suffix, dpi=style.PNG_DPI, metadata=facts)
    record["size_inches"] = _size(made)
    if narrow is not None:
        files[NARROW] = directory / f"{stem}-{NARROW}"
        with atomic_path(files[NARROW]) as partial:
            narrow.figure.savefig(partial, format="svg", metadata=metadata["svg"])
        record["narrow_inches"] = _size(narrow)
    return _write_common(made.data, directory, stem, record, files)


def _size(made: MadeFigure) -> list[float]:
    return [round(float(side), 3) for side in made.figure.get_size_inches()]


def write_table(
    made: MadeTable, directory: Path, stem: str, record: dict[str, Any]
) -> dict[str, Path]:
    """Write a table as LaTeX, HTML and Markdown, its data as CSV and its record as JSON.

    See `write_figure` for the arguments and what is returned.
    """
    texts = {
        "tex": latex.table(made.columns, made.rows, made.caption, f"tab:{stem}"),
        "html": markup.html_table(made.columns, made.rows, made.caption, stem),
        "md": markup.markdown(made.columns, made.rows),
    }
    files = {s: write_text(directory / f"{stem}.{s}", text) for s, text in texts.items()}
    return _write_common(made.data, directory, stem, record, files)


def _write_common(
    data: pd.DataFrame, directory: Path, stem: str, record: dict[str, Any], files: dict[str, Path]
) -> dict[str, Path]:
    files["csv"] = directory / f"{stem}.csv"
    with atomic_path(files["csv"]) as partial:
        data.to_csv(partial, index=False, lineterminator="\n", float_format="%.7g")
    record["files"] = {path.name: sha256(path) for path in files.values()}
    files["json"] = write_record(directory / f"{stem}.json", record)
    return files
