"""Values that are given for a notebook's parameters: read, and checked against what it takes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trustdd.notebooks.parameters import TYPES, Parameter
from trustdd.settings.errors import BadInput

EXAMPLES = {"int": "2", "float": "0.5", "str": "text", "bool": "true", "list": "[0, 1]"}


def parse_assignments(
    assignments: Sequence[str], parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Parse ``key=value`` texts, each value as YAML.

    A parameter that is a string takes its text as it stands, so that ``data_root=2025`` needs no
    quotes; a list may be given as ``0,1,2``.

    Raises:
        ValueError: there is no ``=``, the value is no YAML, or a name is given twice.
    """
    # reading YAML takes an import that most commands can do without
    from trustdd.store.yaml_files import parse_yaml

    values: dict[str, Any] = {}
    for text in assignments:
        name, mark, raw = text.partition("=")
        name = name.strip()
        if not mark or not name:
            raise BadInput(f"parameter '{text}'; expected key=value, e.g. -p ipc=10")
        if name in values:
            raise BadInput(f"parameter '{name}' is given twice; expected once")
        parameter = parameters.get(name)
        plain = parameter is not None and parameter.kind == "str"
        try:
            value = parse_yaml(raw, f"parameter '{name}'")
            if parameter and parameter.kind == "list" and isinstance(value, str) and "," in raw:
                value = parse_yaml(f"[{raw}]", f"parameter '{name}'")
        except BadInput as error:
            example = EXAMPLES.get(parameter.kind if parameter else "list", "2")
            if not plain:
                raise BadInput(f"{error}; expected YAML, e.g. -p '{name}={example}'") from None
            value = None
        if parameter and plain and not isinstance(value, list | dict):
            is_null = parameter.optional and raw.strip() in ("null", "~")
            value = None if is_null else value if isinstance(value, str) else raw.strip()
        values[name] = value
    return values


def check_values(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str = "the notebook"
) -> dict[str, Any]:
    """Check names, types and what the notebook takes; return the values as what they are.

    Args:
        parameters: of the notebook.
        given: values by name.
        where: how the notebook is called in messages.

    Raises:
        ValueError: an unknown name (the nearest and all are given), a wrong type, a value that the
            notebook does not take, or a list with a value twice or of fewer values than it takes.
    """
    values = {}
    for name, value in given.items():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=2)
            hint = f"nearest: {', '.join(near)}; " if near else ""
            allowed = ", ".join(parameters) or "(it has no parameters)"
            raise BadInput(
                f"parameter '{name}' is unknown to {where}; {hint}expected one of {allowed}"
            )
        values[name] = _check(parameters[name], value)
    return values


def changed(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ from the defaults, in the parameters' order."""
    return {
        name: values[name]
        for name, parameter in parameters.items()
        if name in values and values[name] != parameter.default
    }


def _check(parameter: Parameter, value: Any) -> Any:
    if value is None and parameter.optional:
        return None
    converted = _convert(parameter.kind, value)
    several = isinstance(converted, list)
    if several:
        converted = [_convert(parameter.item, v) for v in converted]
        shown = [repr(v) for v in converted]
        for twice in (v for i, v in enumerate(shown) if v in shown[:i] and _WRONG not in converted):
            raise BadInput(f"parameter '{parameter.name}' has {twice} twice; expected it once")
        wrong = _WRONG in converted or len(converted) < parameter.least
    else:
        wrong = converted is _WRONG
    if wrong or not _taken(parameter, converted if several else [converted]):
        example = EXAMPLES.get(parameter.kind, "…")
        if parameter.default is not None and parameter.default != "":
            example = str(parameter.default)
        raise BadInput(
            f"parameter '{parameter.name}' is {value!r}; expected {parameter.describe()}, "
            f"e.g. -p '{parameter.name}={example}'"
        )
    return converted


def _taken(parameter: Parameter, values: list[Any]) -> bool:
    return not parameter.allowed or all(value in parameter.allowed for value in values)


_WRONG = object()


def _convert(kind: str, value: Any) -> Any:
    """Return `value` as `kind`, or `_WRONG`."""
    allowed: Any = TYPES.get(kind)
    if kind == "any":
        return value
    if kind == "float" and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return _WRONG
    if isinstance(value, bool) != (kind == "bool") or not isinstance(value, allowed):
        return _WRONG
    if kind == "float":
        return value if math.isfinite(value) else _WRONG
    return list(value) if kind == "list" else value
