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
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from trustdd.settings.defaults import METHODS
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import SCORE_NAMES, Experiment
from trustdd.settings.validation import check_choice, check_names
from trustdd.store.files import project_root

#: fields whose value is itself a list of names; a grid over them is a list of lists
LIST_FIELDS = ("corruptions", "ood", "networks")
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
            BadInput: it is not a score and two lists of names.
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
        return tuple(self.experiment(**cell) for cell in _cells(given))

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

    def experiments(self) -> tuple[Experiment, ...]:
        """Return every experiment of every group once, in order."""
        unique = {e.key: e for group in self.groups.values() for e in group}
        return tuple(unique.values())


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
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict):
        raise BadInput(f"profile {path}: expected a mapping with title, settings and groups")
    allowed = ("title", "description", "primary", "settings", "groups")
    for key in content:
        if key not in allowed:
            raise BadInput(f"profile {path}: '{key}'; expected one of {', '.join(allowed)}")
    try:
        primary = Primary.of(content["primary"]) if "primary" in content else None
    except BadInput as error:
        raise BadInput(f"profile {path}: {error}") from None
    settings = content.get("settings") or {}
    groups: dict[str, tuple[Experiment, ...]] = {}
    for group, grids in (content.get("groups") or {}).items():
        grids = grids if isinstance(grids, list) else [grids]
        try:
            groups[group] = tuple(_make(settings, cell) for grid in grids for cell in _cells(grid))
        except BadInput as error:
            raise BadInput(f"profile {path}, group '{group}': {error}") from None
    return Profile(
        path.stem,
        str(content.get("title", path.stem)),
        str(content.get("description", "")),
        settings,
        groups,
        path,
        primary,
    )


def _cells(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Expand a grid: every field with several values is crossed with the others."""
    if not isinstance(grid, Mapping):
        raise BadInput(f"{grid!r}; expected a mapping of fields to values or lists of values")
    axes = []
    for name, value in grid.items():
        if name in LIST_FIELDS:
            several = bool(value) and isinstance(value[0], list)
        else:
            several = isinstance(value, list)
        axes.append(value if several else [value])
    return [dict(zip(grid, cell, strict=True)) for cell in itertools.product(*axes)]


def _make(settings: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]) -> Experiment:
    dataset = given.get("dataset", "digits")
    method = given.get("method", "dsa")
    given = {k: v for k, v in given.items() if v is not None or k not in UNSET_BY_NONE}
    merged: dict[str, Any] = {}
    for scope in ("*", dataset):
        layer = dict(settings.get(scope) or {})
        nested = {m: layer.pop(m) for m in METHODS if m in layer}
        merged |= layer
        merged |= nested.get(method) or {}
    return Experiment.from_dict({**merged, **given})
