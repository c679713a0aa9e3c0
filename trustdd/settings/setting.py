"""One setting of an experiment, declared in one place: its default, its check, what it is part of.

A field's type is that of the value it holds in the end. What it is left at when nobody asks for a
value is here: a constant, or a rule that finds it from the settings declared above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from trustdd.settings.validation import (
    check_choice,
    check_flag,
    check_integer,
    check_names,
    check_number,
)

#: finds a default from an experiment whose settings above this one are there
Rule = Callable[[Any], Any]
Check = Callable[[str, Any], Any]
Part = Literal["identity", "evaluation", "place"]


@dataclass(frozen=True)
class Setting:
    """How a setting is filled in, checked and counted.

    Attributes:
        default: the value where none is asked for, or the rule that finds it.
        check: (name, value) → the value as it is kept; raises where it is impossible.
        unset: what stands for 'none is asked for' where the default is a rule.
        part: ``"identity"``: what is distilled, in the key of a run; ``"evaluation"``: what a
            finished set is tested on and with; ``"place"``: where the data lies, what computes.
        later: it was added when results had been published: it is left out of keys while it has
            its default, so that those stay what they were. Its default is what was done before.
    """

    default: Any
    check: Check
    unset: Any = None
    part: Part = "identity"
    later: bool = False

    @property
    def derived(self) -> bool:
        """Whether the default comes from other settings."""
        return callable(self.default)

    def default_of(self, experiment: Any) -> Any:
        """Return the default of an experiment whose settings above this one are there."""
        return self.default(experiment) if self.derived else self.default


def setting(default: Any | Rule, check: Check, *, unset: Any = None, **how: Any) -> Any:
    """Declare a field of an experiment.

    Args:
        default: see `Setting`, as for the others.
        check: what is allowed.
        unset: what stands for 'not asked for' where the default is a rule.
        how: `part` and `later`.
    """
    declared = Setting(default, check, unset, **how)
    initial = unset if declared.derived else default
    return field(default=initial, metadata={"setting": declared})


def choice(default: str | Rule, allowed: tuple[str, ...], **how: Any) -> Any:
    """Declare a field that is one of several words."""
    return setting(default, partial(check_choice, allowed=allowed), **how)


def whole(default: int | Rule, low: int | None = None, **how: Any) -> Any:
    """Declare a field that is an integer, not below `low`."""
    return setting(default, partial(check_integer, low=low), **how)


def number(
    default: float | Rule, *, positive: bool = False, below: float = math.inf, **how: Any
) -> Any:
    """Declare a field that is a finite number ≥ 0 (or > 0, or also below a bound)."""
    return setting(default, partial(check_number, positive=positive, below=below), **how)


def flag(default: bool | Rule, **how: Any) -> Any:
    """Declare a field that is true or false."""
    return setting(default, check_flag, **how)


def names(
    default: tuple[str, ...] | Rule, allowed: tuple[str, ...] = (), one: str = "", **how: Any
) -> Any:
    """Declare a field that is a list of different names, of those `allowed` or any."""
    return setting(default, partial(check_names, allowed=allowed, one=one), **how)
