"""The parameters of a notebook: their names and types, and the values given for them."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment

if TYPE_CHECKING:
    from nbformat import NotebookNode

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (dict,),
}
EXAMPLES = {"int": "2", "float": "0.5", "str": "text", "bool": "true", "list": "[0, 1]"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes:
        name: the variable that the parameters cell assigns.
        kind: ``int``, ``float``, ``str``, ``bool``, ``list``, ``dict``, or ``any`` where
            neither an annotation nor the default tells.
        item: the kind of a list's items, or ``any``.
        optional: ``None`` is allowed.
        default: its value in the source.
        help: the comment behind it.
    """

    name: str
    kind: str
    item: str
    optional: bool
    default: Any
    help: str

    def describe(self) -> str:
        """The type in words: ``int``, ``list of int``, ``str or null``."""
        text = self.kind
        if self.kind == "list" and self.item != "any":
            text = f"list of {self.item}"
        return f"{text} or null" if self.optional and self.kind != "any" else text


def read_parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """Read the cell tagged ``parameters``: assignments of literals, annotated or not.

    The syntax tree is read rather than papermill's inspection, which takes lines by a regular
    expression and loses ``x: int | None = 3`` and strings that hold ``#`` or ``=``.

    Returns:
        The parameters by name, in order; empty where no cell has the tag.

    Raises:
        ValueError: the cell holds anything but assignments of literals to names.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            return _assignments(cell.source)
    return {}


def experiment_parameters() -> dict[str, Parameter]:
    """Return the fields of `Experiment` as parameters, to be given by ``key=value`` alike."""
    found = {}
    for field in fields(Experiment):
        kind, item, optional = _kind(ast.parse(str(field.type), mode="eval").body, None)
        optional = optional or field.default is None
        found[field.name] = Parameter(field.name, kind, item, optional, field.default, "")
    return found


def _assignments(source: str) -> dict[str, Parameter]:
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise BadInput(f"parameters cell, line {error.lineno}: {error.msg}") from None
    lines = source.splitlines()
    found: dict[str, Parameter] = {}
    for statement in body:
        annotation = None
        target: ast.expr | None = None
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target, annotation = statement.target, statement.annotation
        value = getattr(statement, "value", None)
        try:
            assert isinstance(target, ast.Name)
            default = ast.literal_eval(value)  # type: ignore[arg-type]
        except (AssertionError, ValueError, TypeError):
            line = lines[statement.lineno - 1].strip()
            raise BadInput(
                f"parameters cell: '{line}'; expected assignments of plain values, name = 2"
            ) from None
        _, _, comment = lines[(statement.end_lineno or 1) - 1][
            statement.end_col_offset or 0 :
        ].partition("#")
        kind, item, optional = _kind(annotation, default)
        found[target.id] = Parameter(target.id, kind, item, optional, default, comment.strip())
    return found


def _kind(annotation: ast.expr | None, default: Any) -> tuple[str, str, bool]:
    """Kind, kind of items, and whether ``None`` is allowed."""
    if annotation is not None:
        parts = [p.strip() for p in ast.unparse(annotation).strip("'\"").split("|")]
        optional = "None" in parts
        named = [p for p in parts if p != "None"]
        if len(named) == 1:
            outer, _, inner = named[0].partition("[")
            outer = "list" if outer == "tuple" else outer
            if outer in TYPES:
                item = inner.rstrip("]").split(",")[0].strip()
                return outer, item if item in TYPES else "any", optional
        return "any", "any", True
    if default is None:
        return "any", "any", True
    if isinstance(default, list | tuple):
        kinds = {type(v).__name__ for v in default}
        if kinds == {"int", "float"}:
            kinds = {"float"}
        return "list", kinds.pop() if len(kinds) == 1 else "any", False
    kind = type(default).__name__
    return kind if kind in TYPES else "any", "any", False


def parse_assignments(
    assignments: Sequence[str], parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Parse ``key=value`` texts, each value as YAML.

    A parameter that is a string takes its text as it stands, so that ``data_root=2025`` needs no
    quotes; a list may be given as ``0,1,2``; a number as ``1e-3``, which YAML takes for text.

    Raises:
        ValueError: there is no ``=``, the value is no YAML, or a name is given twice.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in assignments:
        name, mark, raw = text.partition("=")
        name = name.strip()
        if not mark or not name:
            raise BadInput(f"parameter '{text}'; expected key=value, e.g. -p ipc=10")
        if name in values:
            raise BadInput(f"parameter '{name}' is given twice; expected once")
        parameter = parameters.get(name)
        try:
            value = yaml.safe_load(raw)
            if parameter and parameter.kind == "list" and isinstance(value, str) and "," in raw:
                value = yaml.safe_load(f"[{raw}]")
        except yaml.YAMLError:
            raise BadInput(
                f"parameter '{name}' is {raw!r}, which is not YAML; expected e.g. "
                f"-p '{name}={EXAMPLES.get(parameter.kind if parameter else 'list', '2')}'"
            ) from None
        if parameter and parameter.kind == "str" and not isinstance(value, str | list | dict):
            is_null = value is None and raw.strip() and parameter.optional
            value = None if is_null else raw.strip()
        values[name] = value
    return values


def check_values(
    parameters: Mapping[str, Parameter], given: Mapping[str, Any], where: str = "the notebook"
) -> dict[str, Any]:
    """Check names and types, and return the values as what the parameters are.

    Args:
        parameters: of the notebook.
        given: values by name.
        where: how the notebook is called in messages.

    Raises:
        ValueError: an unknown name (the nearest and all are given), or a wrong type.
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
    if parameter.kind == "list" and isinstance(converted, list):
        converted = [_convert(parameter.item, v) for v in converted]
        if _WRONG in converted:
            converted = _WRONG
    if converted is _WRONG:
        example = EXAMPLES.get(parameter.kind, "…")
        if parameter.default is not None and parameter.default != "":
            example = str(parameter.default)
        raise BadInput(
            f"parameter '{parameter.name}' is {value!r}; expected {parameter.describe()}, "
            f"e.g. -p '{parameter.name}={example}'"
        )
    return converted


_WRONG = object()


def _convert(kind: str, value: Any) -> Any:
    """Return `value` as `kind`, or `_WRONG`."""
    allowed: Any = TYPES.get(kind)
    if kind == "any":
        return value
    if kind == "float" and isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return _WRONG
    if isinstance(value, bool) != (kind == "bool") or not isinstance(value, allowed):
        return _WRONG
    if kind == "float":
        return float(value) if math.isfinite(value) else _WRONG
    return list(value) if kind == "list" else value
