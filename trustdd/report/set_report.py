"""The report of a set: its tables and figures, written with their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.pipeline.arms import OWN, WITH_OWN, WITH_RANDOM
from trustdd.report import style
from trustdd.report.analysis.set_gains import measures
from trustdd.report.card import failures_of, set_card, write_card
from trustdd.report.catalogue import Entry
from trustdd.report.contact_sheet import sheet_of, write_sheet
from trustdd.report.export import MadeTable, describe, write_figure, write_table
from trustdd.report.figures import FIGURES
from trustdd.report.request import Request
from trustdd.report.tables.sets import classes_table, detection_table, gains_table, summary_table
from trustdd.store.files import write_json
from trustdd.store.profiles import Profile
from trustdd.store.run import Run

if TYPE_CHECKING:
    from trustdd.pipeline.set_evaluation import MeasuredSet


def write_report(
    found: MeasuredSet, names: Sequence[str], folder: Path, command: str = ""
) -> dict[str, Any]:
    """Write the tables and figures of a set's measures, each in all formats with its record.

    Args:
        found: from `trustdd.pipeline.set_evaluation.measure`.
        names: of the classes.
        folder: where to.
        command: the command line that makes it, for the records.

    Returns:
        ``tables``: name → the table; ``files``: the paths written.
    """
    makers: dict[str, partial[MadeTable]] = {
        "summary": partial(summary_table, found),
        "gains": partial(gains_table, found),
        "classes": partial(classes_table, found, names),
        "detection": partial(detection_table, found),
    }
    tables = {name: maker() for name, maker in makers.items()}
    runs = [run for arm in found.arms.values() for run in arm]
    files: list[Path] = []
    for name, made in tables.items():
        entry = Entry(name, made.finding, (), "", "", files=("report.csv",))
        maker = makers[name].func
        record = _record("table", entry, maker, made, runs, folder / f"{name}.json", command)
        files += write_table(made, folder, name, record, style.BOOK.tables).values()
    shown = [*found.arms[OWN], *_beside(found)]
    for entry_id in ("fig02", "fig15"):
        figure = FIGURES.make(entry_id, shown)
        entry = FIGURES.find(entry_id)
        place = folder / f"{entry_id}.json"
        record = _record("figure", entry, FIGURES.maker(entry), figure, shown, place, command)
        with style.applied():
            files += write_figure(figure, folder, entry_id, record).values()
    frame = measures(found).rename(columns={"natural": "auroc"})
    facts = {"set": found.name, "file": found.path.name, "measures": frame.to_dict("records"),
             "command": command}  # fmt: skip
    files.append(write_json(folder / "measures.json", facts))
    sheet = write_sheet(sheet_of(found.distilled, names), folder / "set.png")
    card = set_card(found.path, failures=failures_of(_as_it_is(found)), name=found.name)
    files += [sheet, write_card(card, folder / "card.md", sheet.name)]
    return {"tables": tables, "files": files}


def _record(
    kind: str, entry: Entry, maker: Any, made: Any, runs: Sequence[Run], path: Path, command: str
) -> dict[str, Any]:
    asked = Request(profile=Profile("sets", "", "", {}, {}, Path("sets.yaml")))
    shown = replace(made, runs=tuple(runs))
    return {
        **describe(kind, entry, maker, shown, asked, path.with_suffix("")),
        "path": path.name,
        "command": command,
    }


def _as_it_is(found: MeasuredSet) -> Sequence[Run]:
    """Students of the set as it is published: with its outliers where it has some."""
    return found.arms[WITH_OWN if WITH_OWN in found.arms else OWN]


def _beside(found: MeasuredSet) -> Sequence[Run]:
    for arm in (WITH_OWN, WITH_RANDOM):
        if arm in found.arms:
            return found.arms[arm]
    return ()
