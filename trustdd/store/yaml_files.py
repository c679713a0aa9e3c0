"""YAML that people write, read strictly: plain values, each key once, of a size that people write.

Anything else is one clear line. Numbers such as ``1e-3``, which YAML 1.1 takes for text, are
numbers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from trustdd.settings.errors import BadInput

MOST_BYTES = 2**20
#: lists and mappings inside each other
MOST_LEVELS = 20
#: values, those that aliases repeat counted as often as they stand there
MOST_VALUES = 100_000


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        ValueError: it is no YAML, not UTF-8, holds a key twice, a key that is no text, values of
            odd types, or more than anybody writes; file, line and fault are named.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BadInput(f"{path}: longer than {MOST_BYTES} bytes; expected at most that many")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: not UTF-8 text ({error.reason})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Parse a text as YAML.

    Args:
        text: one document.
        where: how the text is called in messages.

    Raises:
        ValueError: see `read_yaml`.
    """
    try:
        return yaml.load(text, _Loader)  # a safe loader: it makes plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise BadInput(f"{where}{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # a character that is not allowed; a date or number that there is not
        raise BadInput(f"{where}: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """Refuses while it composes the text into nodes, before any value is made."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.levels = 0
        self.values: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        self.levels += 1
        if self.levels > MOST_LEVELS:
            _refuse(f"nested deeper than {MOST_LEVELS} levels", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.levels -= 1
        if node is None:
            return None
        if not is_alias:
            self.values[node] = 1 + sum(self.values[part] for part in _parts(node))
        elif node not in self.values:
            _refuse("an alias that refers to what it stands in", mark)
        if self.values[node] > MOST_VALUES:
            _refuse(f"more than {MOST_VALUES} values", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                _refuse(f"key {shown} is no text; expected a name, in quotes if need be", key)
            if key.value in seen:
                _refuse(f"key '{key.value}' is given twice; expected once", key)
            seen.add(key.value)
        return node


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse(problem: str, place: Any) -> None:
    raise ComposerError(None, None, problem, getattr(place, "start_mark", place))


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)
