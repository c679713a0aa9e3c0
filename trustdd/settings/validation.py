"""Checks of single settings, each with one clear error."""

from __future__ import annotations

import math

from trustdd.settings.errors import BadInput


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those allowed.

    Raises:
        ValueError: naming the setting, the value and what is allowed.
    """
    if value not in allowed:
        raise BadInput(f"{name} {value!r}; expected one of {', '.join(allowed)}")


def check_integer(name: str, value: object, low: int | None) -> None:
    """Refuse what is not an integer, or below `low`.

    Raises:
        ValueError: naming the setting, the value and the bound.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (low is not None and value < low):
        bound = "" if low is None else f" ≥ {low}"
        raise BadInput(f"{name} {value!r}; expected an integer{bound}")


def check_number(
    name: str, value: object, *, positive: bool = False, below: float = math.inf
) -> float:
    """Return a finite number ≥ 0 (or > 0, or also below a bound) as a float.

    Raises:
        ValueError: naming the setting, the value and the bounds.
    """
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or value < 0 or (positive and value == 0) or value >= below:  # type: ignore[operator]
        bound = "> 0" if positive else "≥ 0"
        bound += f" and < {below:g}" if below < math.inf else ""
        raise BadInput(f"{name} {value!r}; expected a number {bound}")
    return float(value)  # type: ignore[arg-type]


def check_names(name: str, value: object) -> tuple[str, ...]:
    """Return a list of different names as a tuple.

    Raises:
        ValueError: it is none, or a name stands in it twice.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise BadInput(f"{name} {value!r}; expected a list of names")
    if not all(isinstance(v, str) and v for v in value):
        raise BadInput(f"{name} {list(value)!r}; expected a list of names")
    if len(set(value)) != len(value):
        raise BadInput(f"{name} {list(value)!r}; expected each name once")
    return tuple(value)
