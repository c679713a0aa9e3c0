"""The catalogue's machinery: what an entry is, how one is made, exported and shown.

`trustdd.report.figures` and `trustdd.report.tables` are each a list of entries and a `Catalogue`
over it; the functions that draw are imported only when an entry is made.
"""

from __future__ import annotations

import base64
import contextlib
import difflib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trustdd.report import style
from trustdd.report.export import (
    MadeFigure,
    MadeTable,
    describe,
    kept_files,
    write_figure,
    write_table,
)
from trustdd.report.request import Request
from trustdd.report.results import (
    BUDGET_COLUMNS,
    MissingArtefacts,
    Results,
    holds,
    profile_of,
    require,
    seeds_of,
)
from trustdd.report.selection import Selection
from trustdd.report.style_file import read_style
from trustdd.report.view import View
from trustdd.settings.errors import BadInput, MissingData
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.records import read_record
from trustdd.store.run import Run

if TYPE_CHECKING:
    from trustdd.settings.experiment import Experiment

#: what a selection may say of an entry: of one from reports, from runs alone, or of one setting
REPORTED = ("score", "metric", "ood", "seeds", "outliers", "method", "ipc")
OF_RUNS = ("seeds", "outliers", "method", "ipc")
MIME = "application/vnd.trustdd.entry+json"
Made = TypeVar("Made", MadeFigure, MadeTable)


@dataclass(frozen=True)
class Entry:
    """One figure or table of the catalogue.

    Attributes:
        id: as in the catalogue, ``fig02`` or ``tab03``; stable.
        title: what it is about; what it *finds* is computed when it is made.
        groups: the profile's groups it is made from; none for what needs no experiment.
        page: the page of the book it stands on.
        maker: the function that makes it, ``"module:function"`` inside the package's folder.
        also: groups that enter too where the profile has them; ``"*"`` is every group.
        files: what each run must hold; none where settings and data suffice.
        optional: what enters too where it is there.
        width: ``"column"`` or ``"page"``, of a figure.
        datasets: it takes only experiments on these; on any where empty.
        methods: it takes only experiments by these; by any where empty.
        experts: it is made from the runs' stored experts.
        partial: it takes what is finished, where others need all of their runs.
        data: it reads the dataset itself.
        options: what may be selected of it, attributes of `Selection`.
        metrics: the measures it shows where none are selected.
    """

    id: str
    title: str
    groups: tuple[str, ...]
    page: str
    maker: str
    also: tuple[str, ...] = ()
    files: tuple[str, ...] = ("report.csv",)
    optional: tuple[str, ...] = ()
    width: str = "page"
    datasets: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    experts: bool = False
    partial: bool = False
    data: bool = False
    options: tuple[str, ...] = OF_RUNS
    metrics: tuple[str, ...] = ("auroc",)

    @property
    def stored(self) -> bool:
        """Whether it is made from what runs stored, rather than from settings and data alone."""
        return self.experts or bool(self.files)

    def takes(self, experiment: Experiment) -> bool:
        """Tell whether an experiment is on its datasets and by its methods."""
        on = not self.datasets or experiment.dataset in self.datasets
        return on and (not self.methods or experiment.method in self.methods)

    def groups_of(self, profile: Profile) -> tuple[str, ...]:
        """Return the groups it is made from under a profile, the optional ones last."""
        optional = profile.groups if "*" in self.also else self.also
        wanted = (*self.groups, *(g for g in optional if g in profile.groups))
        return tuple(dict.fromkeys(wanted))

    def made_from(self, profile: Profile) -> bool:
        """Tell whether a profile holds experiments for each group that it needs."""
        return set(self.groups) <= set(profile.groups) and all(
            any(self.takes(e) for e in profile.group(group)) for group in self.groups
        )


@dataclass(frozen=True)
class Shown:
    """An exported entry: its record and files, and how a notebook displays it.

    Attributes:
        record: the provenance record, as in the entry's JSON file.
        files: suffix → path of each file written.
        html: a table's HTML; empty for a figure.
        notes: what its maker should know: seeds that are not stored, type that is too small.
        kept: it is as it was published, since what it was made from is not here.
    """

    record: dict[str, Any]
    files: dict[str, Path]
    html: str = ""
    notes: tuple[str, ...] = ()
    kept: bool = False

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {MIME: self.record}
        if "png" in self.files:
            png = base64.b64encode(self.files["png"].read_bytes()).decode("ascii")
            bundle |= {"image/png": png, "text/plain": self.record["alt"]}
        else:
            bundle |= {"text/html": self.html, "text/plain": self.record["caption"]}
        return bundle


class Catalogue(Generic[Made]):
    """A list of entries of one kind, and what can be done with each.

    Attributes:
        kind: ``"figure"`` or ``"table"``.
        package: where the entries' makers live.
        entries: id → entry, in the catalogue's order.
    """

    def __init__(self, kind: str, package: str, entries: Sequence[Entry]) -> None:
        self.kind = kind
        self.package = package
        self.entries = {entry.id: entry for entry in entries}

    def find(self, entry_id: str) -> Entry:
        """Return an entry by id.

        Raises:
            ValueError: no such id; the message offers the nearest ones and lists all.
        """
        if entry_id in self.entries:
            return self.entries[entry_id]
        # fig2 means fig02, which by letters is no nearer than fig12
        padded = re.sub(r"(?<=[a-z])(\d)$", r"0\1", str(entry_id).lower())
        close = difflib.get_close_matches(str(entry_id), self.entries, n=3)
        near = list(dict.fromkeys([e for e in (padded,) if e in self.entries] + close))[:3]
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise BadInput(f"{self.kind} '{entry_id}'{hint}; expected one of {', '.join(self.entries)}")

    def request(
        self,
        entry_id: str,
        runs: Sequence[Run | Experiment] | None = None,
        profile: str | Path | Profile = "quick",
        *,
        width: str | float | None = None,
        style: str | Path | style.Style = "book",
        strict: bool = True,
        **selected: Any,
    ) -> Request:
        """Put together what is asked of an entry, see `show` for the arguments.

        Args:
            entry_id: the entry.
            runs: as for `show`.
            profile: likewise.
            width: likewise.
            style: likewise.
            strict: refuse what the entry cannot show; otherwise that is left open.
            selected: likewise.

        Raises:
            BadInput: an option is unknown or plays no part in the entry.
        """
        entry = self.find(entry_id)
        chosen = profile if isinstance(profile, Profile) else load_profile(profile)
        asked = Selection.of(**selected)
        if strict:
            self._check_options(entry, asked)
        look, with_look = read_style(style)
        own = self._given(entry, runs, chosen)
        selection = asked.over(with_look).only(entry.options)
        return Request(profile=chosen, selection=selection, look=look, width=width, runs=own)

    def _check_options(self, entry: Entry, asked: Selection) -> None:
        apart = [name for name in asked.given if name not in entry.options]
        if apart:
            taken = ", ".join(entry.options) or "nothing; it is made from settings and data"
            raise BadInput(
                f"{self.kind} {entry.id} ({entry.title}) has no {' or '.join(apart)} to choose; "
                f"it takes {taken}"
            )

    def _given(
        self, entry: Entry, runs: Sequence[Run | Experiment] | None, profile: Profile
    ) -> tuple[Run, ...] | None:
        """Runs in place of the profile's own; ``None`` where they are these."""
        if runs is None:
            return None
        given = [r if isinstance(r, Run) else Run.of(r, profile.name) for r in runs]
        return None if _are_own(given, entry, profile) else tuple(given)

    def make(
        self,
        entry_id: str,
        runs: Sequence[Run],
        *,
        width: str | float | None = None,
        profile: str | None = None,
        style: str | Path | style.Style = "book",
        **selected: Any,
    ) -> Made:
        """Make one entry from runs, without writing anything.

        Args:
            entry_id: the entry.
            runs: finished runs of the entry's groups, in one list; the entry sorts them by
                their settings.
            width: of a figure: ``"column"``, ``"page"`` or inches; by default the entry's own.
            profile: named in its mark; by default the one that the runs are stored under.
            style: its look, as for `show`.
            selected: what of the runs is shown, as for `show`.

        Raises:
            BadInput: unknown id, option or style, or impossible width.
            MissingArtefacts: a run lacks a file that the entry is made from, or the runs do not
                hold what is selected, or a setting that the entry compares.
        """
        entry = self.find(entry_id)
        asked = Selection.of(**selected)
        self._check_options(entry, asked)
        look, with_look = read_style(style)
        named = profile or profile_of(runs)
        what = f"{self.kind} {entry.id} of profile '{named}'"
        chosen, settled = asked.over(with_look).only(entry.options).settle(runs, what)
        with self._named(entry):
            chosen = require(chosen, entry.files, named)
        return self._made(entry, chosen, settled, look, width, named)

    def _made(
        self,
        entry: Entry,
        runs: Sequence[Run],
        selection: Selection,
        look: style.Style,
        width: str | float | None,
        profile: str,
    ) -> Made:
        maker = self.maker(entry)
        with self._named(entry), style.applied(look):
            view = View(runs, selection, entry.metrics)
            if self.kind == "table":
                return maker(view)
            made = maker(view, style.width_in_inches(width or look.width or entry.width, look))
            assert isinstance(made, MadeFigure)
            seeds = f" · {_seeds_mark(View(made.runs))}" if made.runs and entry.stored else ""
            style.finish(made.figure, f"profile: {profile}{seeds}")
        return made

    def available(self, profile: Profile) -> list[str]:
        """Return the ids of the entries that a profile holds the experiments for."""
        return [name for name, entry in self.entries.items() if entry.made_from(profile)]

    def maker(self, entry: Entry) -> Callable[..., Made]:
        """Return the function that makes an entry."""
        module, _, function = entry.maker.partition(":")
        found: Callable[..., Made] = getattr(
            importlib.import_module(f"{self.package}.{module}"), function
        )
        return found

    def collect(self, entry_id: str, profile: str | Path | Profile) -> list[Run]:
        """Return the profile's own runs for an entry.

        Raises:
            MissingArtefacts: experiments are missing; the message says how to make them.
        """
        entry = self.find(entry_id)
        results = Results(profile)
        with self._named(entry):
            return require(self._planned(entry, results), entry.files, results.name)

    def _planned(self, entry: Entry, results: Results) -> list[Run]:
        """The profile's own runs for an entry, finished or not."""
        groups = entry.groups_of(results.profile)
        planned = [r for r in results.planned(*groups) if entry.takes(r.experiment)]
        if entry.partial:
            planned = [run for run in planned if holds(run, entry.files)] or planned
        if "*" not in entry.also:
            own = [r for r in results.planned(*entry.groups) if entry.takes(r.experiment)]
            planned = _at_one_budget(planned, len(own))
        if groups and not planned:
            raise MissingArtefacts(
                f"profile '{results.profile.name}' has no experiments on "
                f"{' or '.join(entry.datasets or ('any dataset',))} by "
                f"{' or '.join(entry.methods or ('any method',))}", (), "",
            )  # fmt: skip
        return planned

    @contextlib.contextmanager
    def _named(self, entry: Entry) -> Iterator[None]:
        """Say which entry it is that lacks artefacts."""
        try:
            yield
        except MissingArtefacts as error:
            text = f"{self.kind} {entry.id}: {error}"
            raise MissingArtefacts(text, error.experiments, error.command) from None

    def show(
        self,
        entry_id: str,
        runs: Sequence[Run | Experiment] | None = None,
        profile: str | Path | Profile = "quick",
        *,
        width: str | float | None = None,
        style: str | Path | style.Style = "book",
        strict: bool = True,
        **selected: Any,
    ) -> Shown:
        """Make an entry, export it in all formats, and return what a notebook displays.

        Runs of the profile's own groups make the profile's entry, in ``results/PROFILE/figures``
        or ``…/tables``; any others, a selection or another look make a variant beside it, in
        ``results/PROFILE/variants/NAME``. All is read from stored logits and reports.

        Args:
            entry_id: the entry.
            runs: as for `make`, or experiments, whose runs are looked up; by default the
                profile's own.
            profile: a profile, its name, or the path of its file.
            width: of a figure, as for `make`.
            style: a look, the name of one that ships with the package, or the path of a style
                file, see `trustdd.report.style_file`.
            strict: refuse a selection that plays no part in the entry; otherwise that part of it
                is left open.
            selected: what of the runs is shown, the attributes of
                `trustdd.report.selection.Selection`: ``score="energy"``, ``metric="fpr95_in"``,
                ``ood=["textures"]``, ``seeds="0-4"``, ``outliers="none,poe"``.

        Raises:
            BadInput: unknown id, profile, option or style.
            MissingArtefacts: experiments, or what is selected of them, are missing; the message
                says which. So are images of a dataset that is not here, a `ValueError`. Neither is
                raised of a published entry that was kept as it was made, in its own look.

        >>> figures.show("fig02", score="energy", ood="textures,photos")    # doctest: +SKIP
        """
        asked = self.request(
            entry_id, runs, profile, width=width, style=style, strict=strict, **selected
        )
        return self.answer(entry_id, asked)

    def answer(self, entry_id: str, asked: Request) -> Shown:
        """Make and export what a request asks of an entry; see `show`."""
        entry = self.find(entry_id)
        profile = asked.profile
        what = f"{self.kind} {entry.id} of profile '{profile.name}'"
        results = Results(profile)
        with self._named(entry):
            stored = self._planned(entry, results) if asked.runs is None else list(asked.runs)
        chosen, settled = asked.selection.settle(stored, what)
        notes = []
        absent = asked.selection.lacking(stored)
        if absent:
            there = ", ".join(map(str, seeds_of(chosen)))
            notes.append(f"seeds {', '.join(map(str, absent))} are not stored; made from {there}")
        request = replace(asked, selection=settled)
        try:
            with self._named(entry):
                chosen = require(chosen, entry.files, results.name)
            made: Any = self._made(
                entry, chosen, settled, request.look, request.width, profile.name
            )
        except (MissingArtefacts, MissingData):
            kept = self._kept(entry, request)
            if kept is None:
                raise
            return kept
        place = request.place(self.kind)
        stem = request.stem(self.kind, entry.id, entry.width)
        record = describe(self.kind, entry, self.maker(entry), made, request, place / stem)
        if isinstance(made, MadeFigure):
            narrow = self._narrow(entry, chosen, request)
            with style.applied(request.look):
                notes += style.check(made.figure)
                files = write_figure(made, place, stem, record, narrow)
            return Shown(record, files, "", tuple(notes))
        files = write_table(made, place, stem, record, request.look.tables)
        html = files["html"].read_text(encoding="utf-8")
        return Shown(record, files, html, tuple(notes))

    def _narrow(self, entry: Entry, runs: Sequence[Run], asked: Request) -> MadeFigure | None:
        """The figure at a column's width, which pages show on a phone, unless it has that width."""
        own = style.width_in_inches(entry.width)
        if asked.width is not None or asked.look.changes(self.kind) or own <= style.COLUMN:
            return None
        made: Any = self._made(
            entry, runs, asked.selection, asked.look, "column", asked.profile.name
        )
        return made if isinstance(made, MadeFigure) else None

    def _kept(self, entry: Entry, asked: Request) -> Shown | None:
        """An entry as it was published, where the data or the files behind it are not here."""
        if asked.selection.given or asked.stem(self.kind, entry.id, entry.width) != entry.id:
            return None
        if asked.look.changes(self.kind):
            return None
        place, own = asked.place(self.kind), asked.runs is None
        files = kept_files(entry.id, asked.profile.name, place, own)
        if not files:
            return None
        record = read_record(files["json"])
        html = files["html"].read_text(encoding="utf-8") if "html" in files else ""
        shown = {k: path for k, path in files.items() if k != "json"}
        return Shown(record, shown, html, kept=True)


def _seeds_mark(view: View) -> str:
    return f"seed {view.seeds[0]}" if len(view.seeds) == 1 else view.seeds_text


def _at_one_budget(runs: list[Run], own: int) -> list[Run]:
    """Leave out optional runs that were given more or less computing than the entry's own.

    An ablation at a small budget would otherwise stand in one table with the main runs.

    Args:
        runs: the entry's own runs first, then those of optional groups.
        own: how many are its own.
    """
    budgets: dict[tuple[str, ...], tuple[Any, ...]] = {}
    kept = []
    for place, run in enumerate(runs):
        experiment = run.experiment
        kind = (experiment.dataset, experiment.method, experiment.selection)
        budget = tuple(getattr(experiment, name) for name in BUDGET_COLUMNS)
        if place < own or budgets.setdefault(kind, budget) == budget:
            kept.append(run)
            budgets.setdefault(kind, budget)
    return kept


def _are_own(runs: Sequence[Run], entry: Entry, profile: Profile) -> bool:
    """Tell whether runs are those of the profile's groups for an entry.

    What is made from settings alone counts as the profile's own from any of its runs.
    """

    def settings(experiments: Iterable[Experiment]) -> set[str]:
        return {repr(sorted(e.to_dict().items())) for e in experiments}

    given = settings(run.experiment for run in runs)
    if not set(entry.groups) <= set(profile.groups):
        return False
    planned = settings(e for g in entry.groups for e in profile.group(g) if entry.takes(e))
    return given == planned or (not entry.stored and given <= planned)
