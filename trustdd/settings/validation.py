"""Checks of single settings: each returns the value as it is kept, or raises one clear line."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Collection
from typing import TypeGuard

from trustdd.settings.errors import BadInput

#: characters of a value in a message
LONGEST = 200
#: the largest integer of 64 bits with a sign
MOST = 2**63 - 1
#: would be taken for part of a path, a pattern or a command
_MARKS = frozenset("/\\:*?\"'<>|{}[]()$`#&;!%,")


def shown(value: object) -> str:
    """Return a value as it is written in Python, for a message: on one line, and not for ever."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python writes
        return f"a number of type {type(value).__name__}, too long to be shown"
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"


def _is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text that can be written to a file, or be part of a path."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return a value that is one of those allowed.

    Raises:
        ValueError: naming the setting, the value and what is allowed.
    """
    if not isinstance(value, str) or value not in allowed:
        raise BadInput(f"{name} {shown(value)}; expected one of {', '.join(allowed)}")
    return value


def check_integer(name: str, value: object, low: int | None = None) -> int:
    """Return an integer, not below `low`.

    Raises:
        ValueError: naming the setting, the value and the bound.
    """
    bound = "" if low is None else f" ≥ {low}"
    if isinstance(value, bool) or not isinstance(value, int) or (low is not None and value < low):
        raise BadInput(f"{name} {shown(value)}; expected an integer{bound}")
    if not -MOST <= value <= MOST:
        raise BadInput(f"{name} of {value.bit_length()} bits; expected an integer{bound} of 63")
    return value


def check_number(
    name: str, value: object, *, positive: bool = False, below: float = math.inf
) -> float:
    """Return a finite number ≥ 0 (or > 0, or also below a bound) as a float.

    Raises:
        ValueError: naming the setting, the value and the bounds.
    """
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if fine else math.nan  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0 or (positive and number == 0) or number >= below:
        bound = "> 0" if positive else "≥ 0"
        bound += f" and < {below:g}" if below < math.inf else ""
        raise BadInput(f"{name} {shown(value)}; expected a number {bound}")
    return number


def check_flag(name: str, value: object) -> bool:
    """Return true or false.

    Raises:
        ValueError: naming the setting and the value.
    """
    if not isinstance(value, bool):
        raise BadInput(f"{name} {shown(value)}; expected true or false")
    return value


def check_text(name: str, value: object, pattern: str = r"(?s).*", expected: str = "text") -> str:
    """Return a text that matches a pattern as a whole.

    Raises:
        ValueError: naming the setting, the value and what is expected.
    """
    if not _is_text(value) or not re.fullmatch(pattern, value):
        raise BadInput(f"{name} {shown(value)}; expected {expected}")
    return value


def check_path(name: str, value: object, expected: str = "the path of a folder") -> str | None:
    """Return a path as text; ``None`` stays.

    Raises:
        ValueError: naming the setting, the value and what is expected.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return None if value is None else check_text(name, value, r"(?s).+", expected)


def check_file(name: str, value: object) -> str | None:
    """Return the path of a file as text; ``None`` stays. See `check_path` for the errors."""
    return check_path(name, value, "the path of a file")


def check_names(
    name: str, value: object, allowed: tuple[str, ...] = (), one: str = ""
) -> tuple[str, ...]:
    """Return a list of different names as a tuple.

    Args:
        name: the setting.
        value: what was given.
        allowed: the names there are; any where empty.
        one: what one of the names is called.

    Raises:
        ValueError: it is none, a name stands in it twice, or is not one of those allowed.
    """
    if not isinstance(value, list | tuple):
        raise BadInput(f"{name} {shown(value)}; expected a list of names")
    if not all(_is_text(v) and v for v in value):
        raise BadInput(f"{name} {shown(list(value))}; expected a list of names")
    if len(set(value)) != len(value):
        raise BadInput(f"{name} {shown(list(value))}; expected each name once")
    for single in value if allowed else ():
        check_choice(one or name, single, allowed)
    return tuple(value)


def check_plain_name(what: str, name: object) -> str:
    """Return a name that can be a file's: letters of any script, digits, signs, no mark of a path.

    Raises:
        ValueError: naming what is called so, and the name.
    """
    fine = isinstance(name, str) and 0 < len(name) <= 100 and name[0] not in ".-"
    if not fine or any(c in _MARKS or c.isspace() or not c.isprintable() for c in str(name)):
        raise BadInput(
            f"{what} {shown(name)}; expected a plain name: letters, digits, _ and -, at most 100 "
            "of them"
        )
    return str(name)


def check_field(name: object, known: Collection[str]) -> None:
    """Refuse a name that is no setting of an experiment; the nearest ones are offered.

    Raises:
        ValueError: naming it, the nearest and all there are.
    """
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        raise BadInput(f"setting '{name}' is unknown{hint}; expected one of {', '.join(known)}")
