"""A profile's file, checked as a whole: what is not used today is checked with the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trustdd.settings.defaults import METHODS
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import SETTINGS, Experiment
from trustdd.settings.validation import check_choice, check_field, check_plain_name, check_text
from trustdd.store.yaml_files import read_yaml

PARTS = ("title", "description", "primary", "settings", "groups")
#: fields whose value is itself a list of names; a grid over them is a list of lists
LIST_FIELDS = tuple(f.name for f in fields(Experiment) if str(f.type).startswith("tuple"))
#: fields that say where settings belong, and stand in groups alone
SCOPES = ("dataset", "method")
#: experiments of a grid
MOST_CELLS = 10_000


def read_profile_file(path: Path) -> dict[str, Any]:
    """Read a profile's file and check its form, and every value that stands in it by itself.

    Returns:
        Its parts: ``title`` and ``description``, texts; ``settings``, by dataset; ``groups``, name
        → the list of its grids; and ``primary`` as it is written, if it is.

    Raises:
        ValueError: a part, name, type or value is impossible; the first is named with its place.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BadInput("expected a mapping with title, settings and groups")
    for part in content:
        check_choice("part", part, PARTS)
    found = {**content}
    for name in ("title", "description"):
        found[name] = check_text(name, content.get(name, path.stem if name == "title" else ""))
    settings = _mapping("settings", content.get("settings") or {})
    found["settings"] = {scope: _layer(scope, layer or {}) for scope, layer in settings.items()}
    groups = _mapping("groups", content.get("groups") or {})
    found["groups"] = {name: _grids(name, grids) for name, grids in groups.items()}
    return found


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{name} {value!r}; expected a mapping")
    return value


def _layer(scope: str, layer: Any) -> dict[str, Any]:
    """The settings of a dataset, some of them by method."""
    where = f"settings of '{scope}'"
    if scope != "*":
        SETTINGS["dataset"].check("settings of dataset", scope)
    for name, value in _mapping(where, layer).items():
        if name in METHODS:
            for inner, own in _mapping(f"{where}, {name}", value or {}).items():
                _one(f"{where}, {name}", inner, own)
        else:
            _one(where, name, value)
    return dict(layer)


def _one(where: str, name: str, value: Any) -> None:
    if name in SCOPES:
        raise BadInput(f"{where}: {name}; expected it in a group")
    try:
        check_field(name, SETTINGS)
        declared = SETTINGS[name]
        if not (declared.derived and value == declared.unset):
            declared.check(name, value)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def _grids(group: str, grids: Any) -> list[dict[str, Any]]:
    check_plain_name("group", group)
    several = grids if isinstance(grids, list) else [grids]
    if not several:
        raise BadInput(f"group '{group}' is empty; expected a grid, or a list of grids")
    return [_mapping(f"group '{group}'", grid) for grid in several]


def cells(grid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Expand a grid: every field with several values is crossed with the others.

    Raises:
        ValueError: an unknown field, a list that is empty or holds a value twice, or more cells
            than can be meant.
    """
    axes = []
    for name, value in grid.items():
        check_field(name, SETTINGS)
        several = isinstance(value, list)
        if name in LIST_FIELDS:
            several = several and any(isinstance(v, list) for v in value)
        values = value if several else [value]
        if not values:
            raise BadInput(f"{name} is an empty list; expected at least one value")
        shown = [repr(v) for v in values]
        for twice in (v for i, v in enumerate(shown) if v in shown[:i]):
            raise BadInput(f"{name}: {twice} stands there twice; expected each value once")
        axes.append(values)
    count = math.prod(len(values) for values in axes)
    if count > MOST_CELLS:
        raise BadInput(f"{count} experiments in one grid; expected at most {MOST_CELLS}")
    return (dict(zip(grid, cell, strict=True)) for cell in itertools.product(*axes))
