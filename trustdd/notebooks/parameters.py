"""The parameters of a notebook: their names and types, and what the notebook can take."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
#: of the parameters cell's metadata: what the notebook takes, and which experiments it makes
TAKES, MAKES = "takes", "makes"


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
        allowed: the values that the notebook takes, of a list each of them; any where empty.
        least: how many values a list has at least.
    """

    name: str
    kind: str
    item: str
    optional: bool
    default: Any
    help: str
    allowed: tuple[Any, ...] = ()
    least: int = 0

    def describe(self) -> str:
        """The type in words: ``int``, ``list of int``, ``str or null``, ``one of dc, dsa``."""
        text, some = self.kind, ", ".join(map(str, self.allowed))
        if self.kind == "list":
            number = f"{self.least} or more " if self.least else ""
            item = "" if self.item == "any" else f" of {number}{self.item}"
            text = f"list of {number and number + 'of '}{some}" if some else f"list{item}"
        elif some:
            text = f"one of {some}"
        return f"{text} or null" if self.optional and self.kind != "any" else text


def read_parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """Read the cell tagged ``parameters``: assignments of literals, annotated or not.

    The cell's metadata may say what the notebook can take of what their types allow::

        takes:
          method: [dc, dsa]
          compared_methods: {of: [dc, dsa, dm, mtt], least: 2}

    Returns:
        The parameters by name, in order; empty where no cell has the tag.

    Raises:
        ValueError: the cell holds anything but assignments of literals to names, or a default is
            none of what the notebook takes.
    """
    cell = _cell(notebook)
    if cell is None:
        return {}
    found = parse_cell(cell.source)
    takes = cell.metadata.get(TAKES, {})
    if not isinstance(takes, dict):
        raise BadInput(f"parameters cell: {TAKES} is no mapping of parameters to values")
    for name, declared in takes.items():
        if name not in found:
            raise BadInput(f"parameters cell: {TAKES} names '{name}', which is no parameter")
        found[name] = _taking(found[name], declared)
    return found


@dataclass(frozen=True)
class Makes:
    """What a notebook makes of the experiments that its parameters describe.

    Attributes:
        what: ``"runs"``; ``"experts"``, and nothing else; or ``"nothing"``.
        changes: each a further experiment, as values of fields over the described ones.
    """

    what: str = "runs"
    changes: tuple[Mapping[str, Any], ...] = ({},)


def read_makes(notebook: NotebookNode) -> Makes:
    """Read what a notebook makes.

    The parameters cell's metadata says so where it is more or less than the very experiments that
    the parameters describe::

        makes: [{}, {outliers: none, ipc: 2x}]

    or ``makes: experts``, or ``makes: nothing``. ``2x`` is twice the number that they give.

    Raises:
        ValueError: it is none of these.
    """
    cell = _cell(notebook)
    makes = None if cell is None else cell.metadata.get(MAKES)
    if makes is None:
        return Makes()
    if makes in ("experts", "nothing"):
        return Makes(makes)
    if not isinstance(makes, list) or not all(isinstance(change, dict) for change in makes):
        raise BadInput(
            f"parameters cell: {MAKES} {makes!r}; expected experts, nothing, or a list of mappings "
            "of fields to values"
        )
    return Makes("runs", tuple(dict(change) for change in makes))


def changed_by(experiment: Experiment, change: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that one of a notebook's `Makes.changes` gives an experiment's fields."""
    return {
        name: 2 * getattr(experiment, name) if value == "2x" else value
        for name, value in change.items()
    }


def _cell(notebook: NotebookNode) -> NotebookNode | None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            return cell
    return None


def _taking(parameter: Parameter, declared: Any) -> Parameter:
    allowed, least = declared, 0
    if isinstance(declared, dict) and set(declared) <= {"of", "least"}:
        allowed, least = declared.get("of", []), declared.get("least", 0)
    default = parameter.default if parameter.kind == "list" else [parameter.default]
    fine = isinstance(allowed, list) and (not allowed or all(v in allowed for v in default))
    if not fine or len(default) < least:
        raise BadInput(
            f"parameters cell: '{parameter.name}' takes {declared!r}; expected a list of values "
            "that holds the default, or a mapping with such a list (of) and a number (least)"
        )
    return replace(parameter, allowed=tuple(allowed), least=least)


def experiment_parameters() -> dict[str, Parameter]:
    """Return the fields of `Experiment` as parameters, to be given by ``key=value`` alike."""
    found = {}
    for field in fields(Experiment):
        kind, item, optional = _kind(ast.parse(str(field.type), mode="eval").body, None)
        optional = optional or field.default is None
        found[field.name] = Parameter(field.name, kind, item, optional, field.default, "")
    return found


def parse_cell(source: str) -> dict[str, Parameter]:
    """Read the assignments of a parameters cell, or of one that was injected behind it.

    The syntax tree is read rather than papermill's inspection, which takes lines by a regular
    expression and loses ``x: int | None = 3`` and strings that hold ``#`` or ``=``.

    Raises:
        ValueError: it holds anything but assignments of literals to names.
    """
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
        # columns of the syntax tree count bytes
        last = lines[(statement.end_lineno or 1) - 1].encode()
        comment = last[statement.end_col_offset or 0 :].decode().partition("#")[2]
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
