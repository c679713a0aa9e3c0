"""What is asked of an entry: which runs, what of them, in which look; and all that follows from it.

One `Request` decides what is drawn, where it goes, what it is called and the command that makes it
again; so none of them can disagree with another.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trustdd.report.selection import Selection
from trustdd.report.style import BOOK, Style, width_in_inches
from trustdd.settings.defaults import DATASETS
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import EVALUATION_FIELDS, PLACE_FIELDS, SETTINGS, Experiment
from trustdd.store.files import results_root
from trustdd.store.profiles import Profile
from trustdd.store.run import Run

#: fields that a grid gives in this order; what else differs from the profile's settings follows
_GRID_FIELDS = ("dataset", "method", "outliers", "ipc", "seed")
#: so many groups are tried in combination
_GROUPS = 3


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a figure or table.

    Attributes:
        profile: whose results.
        selection: what of the runs is shown.
        look: how it looks.
        width: of a figure: ``"column"``, ``"page"`` or inches; the look's or its own where
            ``None``.
        runs: runs in place of the profile's own; ``None`` for these.
    """

    profile: Profile
    selection: Selection = field(default_factory=Selection)
    look: Style = BOOK
    width: str | float | None = None
    runs: tuple[Run, ...] | None = None

    @property
    def profile_word(self) -> str:
        """The profile as a command names it: its name, or its file's where it is not the project's.

        Not its folder: where files lie is no part of what an entry is.
        """
        from trustdd.store.profiles import profiles_folder

        named = profiles_folder() / f"{self.profile.name}.yaml"
        return self.profile.name if self.profile.path == named else self.profile.path.name

    def inches(self, own: str) -> float:
        """The width of a figure, in inches.

        Args:
            own: the entry's, where nothing else is asked for.
        """
        return width_in_inches(self.width or self.look.width or own, self.look)

    def is_plain(self, kind: str) -> bool:
        """Tell whether this is the profile's own entry as it is published, whatever its width."""
        return self.runs is None and not self.selection.given and not self._look(kind)

    def place(self, kind: str) -> Path:
        """Return the folder that an entry goes to.

        The profile's own have theirs; whatever else is shown, or looks different, is a variant in
        a folder whose name says what it is and ends in a hash of all of it.
        """
        folder = results_root() / self.profile.name
        if self.is_plain(kind):
            return folder / f"{kind}s"
        look = self._look(kind)
        if self.runs is not None and not self.selection.given and not look:
            return folder / "variants" / self._runs_hash()[:12]
        asked: dict[str, Any] = {"selection": self.selection.given, "look": look}
        if self.runs is not None:
            asked["runs"] = self._runs_hash()
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
        words = [self.selection.slug, self.look.name if look else ""]
        words += ["runs" if self.runs is not None else "", digest]
        name = "-".join(word for word in words if word)
        return folder / "variants" / re.sub(r"[^A-Za-z0-9_.+-]", "_", name)

    def stem(self, kind: str, entry_id: str, own: str) -> str:
        """Return the name of an entry's files without suffix: with its width, if that is its own.

        Args:
            kind: ``"figure"`` or ``"table"``.
            entry_id: the entry.
            own: its own width.
        """
        if kind != "figure" or self.width is None:
            return entry_id
        inches = self.inches(own)
        if inches == replace(self, width=None).inches(own):
            return entry_id
        return f"{entry_id}-{inches:.2f}in"

    def command(self, kind: str, entry_id: str, own: str) -> str:
        """Return the command that makes exactly this again; arguments as for `stem`."""
        words = ["trustdd", kind, entry_id, "--profile", self.profile_word]
        if self.runs is not None:
            for word in runs_as_words(self.profile, self.runs):
                words += ["--runs", word]
        words += self.selection.options
        if self._look(kind):
            words += ["--style", self.look.source or self.look.name]
        if self.stem(kind, entry_id, own) != entry_id:
            words += ["--width", str(self.width)]
        return shlex.join(words)

    def _look(self, kind: str) -> dict[str, Any]:
        """What of the look differs from the book's, as far as a kind of entry shows it."""
        return self.look.changes(kind)

    def _runs_hash(self) -> str:
        names = [name for name in SETTINGS if name not in PLACE_FIELDS]
        settings = sorted(
            json.dumps(run.experiment.identity(names), sort_keys=True) for run in self.runs or ()
        )
        return hashlib.sha256("\n".join(settings).encode()).hexdigest()


# -- runs as words ----------------------------------------------------------------------------


def runs_as_words(profile: Profile, runs: Sequence[Run]) -> list[str]:
    """Say which runs these are, so that `runs_of_words` finds the same in the same order.

    Args:
        profile: under whose results they lie.
        runs: the runs.

    Returns:
        Names of the profile's groups, grids as in a profile's file, or, where neither says it,
        the runs' keys.
    """
    wanted = [run.experiment.to_dict() for run in runs]
    of_groups = {name: [e.to_dict() for e in own] for name, own in profile.groups.items()}
    for count in range(1, _GROUPS + 1):
        for names in itertools.permutations(of_groups, count):
            if _without_repeats([e for name in names for e in of_groups[name]]) == wanted:
                return list(names)
    grids = [_grid(profile, part) for part in _parts(profile, [run.experiment for run in runs])]
    texts = [grid for grid in grids if grid is not None]
    if len(texts) == len(grids):
        return texts
    return [run.experiment.key for run in runs]


def runs_of_words(profile: Profile, words: Sequence[str]) -> list[Run]:
    """Find runs by groups, grids and keys.

    Args:
        profile: under whose results they lie.
        words: each the name of one of the profile's groups, a grid as in a profile's file
            (``{ipc: 2, outliers: [none, poe], seed: [0, 1]}``), or a run's key.

    Returns:
        The runs, each once, finished or not.

    Raises:
        BadInput: a word is none of these.
    """
    import yaml

    folder = results_root() / profile.name / "runs"
    found: list[Run] = []
    for word in words:
        if word in profile.groups:
            found += [Run.of(e, profile.name) for e in profile.group(word)]
        elif word.lstrip().startswith("{"):
            try:
                grid = yaml.safe_load(word)
            except yaml.YAMLError:
                grid = None
            if not isinstance(grid, Mapping):
                raise BadInput(f"runs {word!r}; expected a grid in YAML, e.g. {{ipc: 2, seed: 0}}")
            given = dict(grid)
            # where a folder of images lay plays no part in finding what was stored
            if given.get("dataset", "digits") not in DATASETS:
                given.setdefault("data_root", "data")
            found += [Run.of(e, profile.name) for e in profile.grid(**given)]
        elif (folder / word / "experiment.json").is_file():
            found.append(_run_of_key(profile, word))
        else:
            raise BadInput(
                f"runs '{word}'; expected a group of profile '{profile.name}' "
                f"({', '.join(profile.groups)}), a grid like {{ipc: 2, seed: 0}}, or the key of a "
                f"run in {folder.parent.name}/runs"
            )
    unique = {json.dumps(run.experiment.to_dict(), sort_keys=True): run for run in found}
    return list(unique.values())


def _run_of_key(profile: Profile, key: str) -> Run:
    """A stored run, tested as the profile says."""
    own = next((e for e in profile.experiments() if e.key == key), None)
    if own is None:
        stored = Run.open(results_root() / profile.name / "runs" / key).experiment
        tested = profile.experiment(dataset=stored.dataset, data_root=stored.data_root)
        own = stored.but(**{name: getattr(tested, name) for name in EVALUATION_FIELDS})
    return Run.of(own, profile.name)


def _without_repeats(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for setting in settings:
        if setting not in found:
            found.append(setting)
    return found


def _parts(profile: Profile, experiments: Sequence[Experiment]) -> list[list[Experiment]]:
    """Neighbouring experiments that one grid may hold: of one IPC, all else set alike."""
    parts: list[list[Experiment]] = []
    last: Any = None
    for experiment in experiments:
        kind = (experiment.ipc, experiment.method, _extras(profile, experiment))
        if parts and kind == last:
            parts[-1].append(experiment)
        else:
            parts.append([experiment])
        last = kind
    return parts


def _extras(profile: Profile, experiment: Experiment) -> dict[str, Any]:
    """Fields that differ from what the profile gives an experiment of this dataset and method."""
    given = {name: getattr(experiment, name) for name in _GRID_FIELDS}
    if experiment.dataset not in DATASETS:
        given["data_root"] = "data"
    usual = profile.experiment(**given).to_dict()
    return {k: v for k, v in experiment.to_dict().items() if usual[k] != v}


def _grid(profile: Profile, experiments: Sequence[Experiment]) -> str | None:
    """A grid that makes exactly these experiments in this order, as YAML; ``None`` without one."""
    import yaml

    extras = _extras(profile, experiments[0])
    wanted = [e.to_dict() for e in experiments]
    axes: dict[str, Any] = {}
    for name in _GRID_FIELDS:
        values = list(dict.fromkeys(getattr(e, name) for e in experiments))
        axes[name] = values if len(values) > 1 else values[0]
    several = [name for name, value in axes.items() if isinstance(value, list)]
    fixed = {n: v for n, v in axes.items() if n not in several} | extras
    for order in itertools.permutations(several):
        grid = {**fixed, **{name: axes[name] for name in order}}
        place = {} if grid["dataset"] in DATASETS else {"data_root": "data"}
        if [e.to_dict() for e in profile.grid(**grid, **place)] == wanted:
            text = yaml.safe_dump(grid, default_flow_style=True, sort_keys=False, width=10_000)
            return str(text).strip()
    return None
