"""Profiles: which experiments a run of the book covers, and how far they are shrunk.

A profile is a YAML file ``profiles/NAME.yaml``::

    title: Quick
    description: one line that says what was shrunk
    primary: {score: msp, near: [photos], far: [textures]}    # what verdicts on detection rest on
    settings:                # under every experiment's own fields
      "*": {…}               # all datasets
      digits: {width: 32, dsa: {iterations: 20}}    # a dataset; nested, one method of it
    groups:                  # name → a grid, or a list of grids
      main: {dataset: digits, outliers: [none, oe, poe], seed: [0, 1, 2]}
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trustdd.settings.defaults import METHODS
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import SCORE_NAMES, SETTINGS, Experiment
from trustdd.settings.validation import check_choice, check_names, check_plain_name
from trustdd.store.files import project_root
from trustdd.store.profile_files import SCOPES, cells, read_profile_file
from trustdd.store.stages import FURTHER_STAGES

FIELD_NAMES = tuple(f.name for f in fields(Experiment))
#: fields that ``None`` leaves unset
UNSET_BY_NONE = frozenset(f.name for f in fields(Experiment) if f.default is None)


@dataclass(frozen=True)
class Primary:
    """The measures that a profile names before its runs: what verdicts on detection rest on.

    Attributes:
        score: the detection score.
        near: OOD sets whose mean AUROC is one measure.
        far: those whose mean AUROC is the other.
    """

    score: str
    near: tuple[str, ...]
    far: tuple[str, ...]

    @classmethod
    def of(cls, content: object) -> Primary:
        """Read the ``primary`` of a profile.

        Raises:
            ValueError: it is not a score and two lists of names.
        """
        if not isinstance(content, Mapping) or set(content) != {"score", "near", "far"}:
            raise BadInput(f"primary {content!r}; expected a mapping with score, near and far")
        check_choice("primary score", content["score"], SCORE_NAMES)
        near, far = (check_names(f"primary {name}", content[name]) for name in ("near", "far"))
        if not near or not far or {*near} & {*far}:
            raise BadInput(
                f"primary near {list(near)} and far {list(far)}; expected at least one OOD set in "
                "each, and none in both"
            )
        return cls(content["score"], near, far)


@dataclass(frozen=True)
class Profile:
    """A named set of experiments.

    Attributes:
        name: the file's stem, e.g. ``quick``.
        title: as shown on pages.
        description: one line on what was shrunk against the published settings.
        settings: per dataset (or ``"*"``), fields laid under every experiment's own.
        groups: group name → its experiments, in the order of the grid.
        path: the YAML file.
        primary: the measures named before its runs, or ``None``.
    """

    name: str
    title: str
    description: str
    settings: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, tuple[Experiment, ...]]
    path: Path
    primary: Primary | None = None

    def experiment(self, **given: Any) -> Experiment:
        """Make an experiment: the given fields over the profile's settings over the defaults.

        A field given as ``None`` is unset where that is what ``None`` means (all but
        `augmentation`): the profile's setting holds.

        Raises:
            ValueError: a field is unknown or its value impossible.
        """
        return _make(self.settings, given)

    def grid(self, **given: Any) -> tuple[Experiment, ...]:
        """Make the experiments of a grid: fields that are given several values are crossed.

        ``grid(outliers=["none", "poe"], seed=[0, 1])`` makes four. Each is made as by
        `experiment`, with its errors.
        """
        return tuple(self.experiment(**cell) for cell in cells(given))

    def group(self, name: str) -> tuple[Experiment, ...]:
        """Return a group's experiments.

        Raises:
            ValueError: the profile has no such group; the message names those it has.
        """
        if name not in self.groups:
            raise BadInput(
                f"group '{name}' is not in profile '{self.name}'; "
                f"it has {', '.join(self.groups) or 'none'}"
            )
        return self.groups[name]

    def experiments(self, stage: str = "") -> tuple[Experiment, ...]:
        """Return every experiment of every group once, in order.

        Args:
            stage: a further stage, whose group may ask for fewer `students` than others do: what
                it asks for.
        """
        # what groups of further stages ask for holds for these stages alone
        order = sorted(self.groups, key=lambda name: (name != stage, name in FURTHER_STAGES))
        asked: dict[str, Experiment] = {}
        for name in order:
            for experiment in self.groups[name]:
                asked.setdefault(experiment.key, experiment)
        keys = dict.fromkeys(e.key for group in self.groups.values() for e in group)
        return tuple(asked[key] for key in keys)


def profiles_folder() -> Path:
    """Return the folder that holds the profiles."""
    return project_root() / "profiles"


def list_profiles() -> list[str]:
    """Return the names of the profiles there are."""
    return sorted(p.stem for p in profiles_folder().glob("*.yaml"))


def load_profile(name: str | Path) -> Profile:
    """Read a profile by name, or from the path of a YAML file.

    Raises:
        ValueError: no such profile (the nearest and all names are given), or the file is
            malformed (the offending part is named).
    """
    text = str(name)
    path = Path(text) if text.endswith((".yaml", ".yml")) else profiles_folder() / f"{text}.yaml"
    if not path.is_file():
        known = list_profiles()
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ";"
        if path.suffix in (".yaml", ".yml") and text == str(path):
            hint = f": no such file in {Path.cwd()};"
        raise BadInput(f"profile '{text}'{hint} expected one of {', '.join(known)}, or a .yaml")
    try:
        check_plain_name("its name", path.stem)
        content = read_profile_file(path)
        primary = Primary.of(content["primary"]) if "primary" in content else None
        groups = {
            group: _experiments(group, content["settings"], grids)
            for group, grids in content["groups"].items()
        }
        _check_alike(groups)
    except BadInput as error:
        said = str(error)
        raise BadInput(said if said.startswith(str(path)) else f"profile {path}: {said}") from None
    return Profile(
        path.stem,
        content["title"],
        content["description"],
        content["settings"],
        groups,
        path,
        primary,
    )


def _experiments(
    group: str, settings: Mapping[str, Mapping[str, Any]], grids: Sequence[Mapping[str, Any]]
) -> tuple[Experiment, ...]:
    try:
        return tuple(_make(settings, cell) for grid in grids for cell in cells(grid))
    except BadInput as error:
        raise BadInput(f"group '{group}': {error}") from None


def _check_alike(groups: Mapping[str, Sequence[Experiment]]) -> None:
    """Refuse two experiments with one key, of which one run could hold the results of one.

    A group that is named after a further stage may ask for another number of students.
    """
    known: dict[str, tuple[str, Experiment]] = {}
    for group in sorted(groups, key=lambda name: name in FURTHER_STAGES):
        for experiment in groups[group]:
            other, first = known.setdefault(experiment.key, (group, experiment))
            mine, theirs = (e.to_dict(place=True) for e in (experiment, first))
            if group in FURTHER_STAGES:
                mine.pop("students")
            for name, value in mine.items():
                if value != theirs[name]:
                    raise BadInput(
                        f"groups '{other}' and '{group}' hold {experiment.key} with {name} "
                        f"{theirs[name]!r} and {value!r}; expected the same"
                    )


def _make(settings: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Experiment:
    # both are looked up, so they have to be what they should be
    dataset, method = (
        SETTINGS[name].check(name, given.get(name, SETTINGS[name].default)) for name in SCOPES
    )
    given = {k: v for k, v in given.items() if v is not None or k not in UNSET_BY_NONE}
    merged: dict[str, Any] = {}
    for scope in ("*", dataset):
        layer = dict(settings.get(scope) or {})
        nested = {m: layer.pop(m) for m in METHODS if m in layer}
        merged |= layer
        merged |= nested.get(method) or {}
    return Experiment.from_dict({**merged, **given})
