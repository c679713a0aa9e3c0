"""What of the stored results a figure or table shows: score, measures, OOD sets, seeds, modes.

A `Selection` is one value, made from a command's options, a notebook's parameters, a style file or
keywords in Python by the same function, `Selection.of`. It says what is asked for; `settle` finds
it among stored runs, and returns what is there to be shown.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from trustdd.report import naming
from trustdd.report.results import METRICS, SCORE, MissingArtefacts
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import METHODS, OUTLIERS
from trustdd.settings.validation import check_choice, check_names
from trustdd.store.run import Run

#: measures that may be asked for
MEASURES = (*METRICS, "accuracy")
#: how values are given on the command line
EXAMPLES = {
    "score": "energy", "metric": "fpr95_in,aupr_out", "ood": "textures,photos", "seeds": "0-4",
    "outliers": "none,poe", "method": "mtt", "ipc": "1,10",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is shown; whatever is left empty is all that is stored, or the entry's own.

    Attributes:
        score: the detection score, as in the reports.
        metric: measures, as in the reports, in the order they are shown.
        ood: OOD sets; every mean is over these alone.
        seeds: seeds, and ranges of which those count that are stored.
        outliers: outlier modes.
        method: methods.
        ipc: images per class.

    Use `of` to make one from texts or lists.
    """

    score: str = SCORE
    metric: tuple[str, ...] = ()
    ood: tuple[str, ...] = ()
    seeds: tuple[int | range, ...] = ()
    outliers: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    ipc: tuple[int, ...] = ()

    @classmethod
    def of(cls, **given: Any) -> Selection:
        """Make a selection from values of any of the attributes.

        Args:
            given: attribute → a text (``"none,poe"``, ``"0-4"``), a value or a list of values;
                ``None``, ``""`` and empty lists leave it open.

        Raises:
            ValueError: an unknown attribute or value; the message says what is allowed.

        >>> Selection.of(score="energy", ood="textures,svhn", seeds="0-2,7").seeds
        (range(0, 3), 7)
        """
        known = [f.name for f in fields(cls)]
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; nearest: {near[0]}" if near else ""
                raise BadInput(f"option '{name}'{hint}; expected one of {', '.join(known)}")
            if value is None or (not isinstance(value, int | range) and len(value) == 0):
                continue
            values[name] = _READERS[name](name, value)
        return cls(**values)

    @property
    def given(self) -> dict[str, Any]:
        """What is not left open, as JSON values that `of` understands."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if field.name == "seeds":
                found["seeds"] = seeds_as_text(value)
            else:
                found[field.name] = list(value) if isinstance(value, tuple) else value
        return found

    @property
    def options(self) -> list[str]:
        """The same as words of a command: ``["--score", "energy", "--seeds", "0-2"]``."""
        words = []
        for name, value in self.given.items():
            words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else value]
        return words

    @property
    def slug(self) -> str:
        """The same as a part of a file's name: ``energy-textures+photos-seeds0-2``."""
        words = []
        for name, value in self.given.items():
            text = "+".join(map(str, value)) if isinstance(value, list) else value
            words.append(f"{name}{text}" if name in ("seeds", "ipc") else text)
        return re.sub(r"[^A-Za-z0-9_.+-]", "+", "-".join(words))

    def only(self, names: Iterable[str]) -> Selection:
        """Return the selection with all other attributes left open."""
        kept = set(names)
        return Selection(**{f.name: getattr(self, f.name) for f in fields(self) if f.name in kept})

    def over(self, other: Selection) -> Selection:
        """Return the selection, with what it leaves open taken from another one."""
        mine = {name: getattr(self, name) for name in self.given}
        return replace(other, **mine)

    def settle(self, runs: Sequence[Run], what: str) -> tuple[list[Run], Selection]:
        """Find what is asked for among stored runs.

        Args:
            runs: an entry's runs.
            what: is made from them, for messages: ``"figure fig02 of profile 'quick'"``.

        Returns:
            The runs that it names, in their order; and the selection with ranges of seeds resolved
            and whatever leaves nothing out left open, so that equal requests are equal.

        Raises:
            MissingArtefacts: a seed, mode, method, IPC or OOD set is not stored.
        """
        chosen = list(runs)
        settled: dict[str, Any] = {"score": self.score, "metric": self.metric}
        for name, field in (
            ("method", "method"), ("ipc", "ipc"), ("outliers", "outliers"), ("seeds", "seed"),
        ):  # fmt: skip
            wanted = getattr(self, name)
            if not wanted:
                continue
            stored = list(dict.fromkeys(getattr(run.experiment, field) for run in chosen))
            found = _found(wanted, stored, name, what)
            chosen = [run for run in chosen if getattr(run.experiment, field) in found]
            if set(found) != set(stored):
                settled[name] = tuple(sorted(found)) if name == "seeds" else found
        if self.ood:
            for run in chosen:
                suite = run.experiment.ood or ()
                _found(self.ood, suite, "ood", what)
            suites = {run.experiment.ood for run in chosen}
            if any(set(suite or ()) != set(self.ood) for suite in suites):
                settled["ood"] = self.ood
        return chosen, Selection(**settled)

    def lacking(self, runs: Sequence[Run]) -> list[int]:
        """Return the seeds of its ranges that no run has, sorted."""
        stored = {run.experiment.seed for run in runs}
        asked = {seed for part in self.seeds if isinstance(part, range) for seed in part}
        return sorted(asked - stored)


def _found(wanted: Sequence[Any], stored: Sequence[Any], name: str, what: str) -> tuple[Any, ...]:
    """Those of the wanted values that are stored; each that is named must be."""
    named = [value for value in wanted if not isinstance(value, range)]
    lacking = [str(value) for value in named if value not in stored]
    ranged = [value for part in wanted if isinstance(part, range) for value in part]
    found = tuple(dict.fromkeys(v for v in (*named, *ranged) if v in stored))
    if lacking or not found:
        asked = ", ".join(lacking) or seeds_as_text(wanted)
        raise MissingArtefacts(
            f"{name} {asked} is not stored for {what}; stored: "
            f"{', '.join(map(str, sorted(stored, key=str) if name == 'seeds' else stored))}",
            (), "",
        )  # fmt: skip
    return found


# -- reading values ---------------------------------------------------------------------------


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    """A list of values from a list, a text with commas, or one value."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list | tuple | range) else (value,)


def _score(name: str, value: Any) -> str:
    check_choice(name, value, tuple(naming.SCORES))
    return str(value)


def _metrics(name: str, value: Any) -> tuple[str, ...]:
    return _choices(name, value, MEASURES)


def _modes(name: str, value: Any) -> tuple[str, ...]:
    return _choices(name, value, tuple(OUTLIERS))


def _methods(name: str, value: Any) -> tuple[str, ...]:
    return _choices(name, value, tuple(METHODS))


def _choices(name: str, value: Any, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = _names(name, value)
    for part in found:
        check_choice(name, part, allowed)
    return found


def _names(name: str, value: Any) -> tuple[str, ...]:
    return check_names(name, _listed(name, value))


def _counts(name: str, value: Any) -> tuple[int, ...]:
    found = []
    for part in _listed(name, value):
        number = int(part) if isinstance(part, str) and part.isdecimal() else part
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise BadInput(f"{name} {part!r}; expected integers ≥ 1, e.g. {EXAMPLES[name]}")
        found.append(number)
    return tuple(dict.fromkeys(found))


def _seeds(name: str, value: Any) -> tuple[int | range, ...]:
    found: list[int | range] = []
    for part in (value,) if isinstance(value, range) else _listed(name, value):
        if isinstance(part, range) and len(part):
            found += [part] if part.step == 1 else [range(seed, seed + 1) for seed in part]
            continue
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(part))
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if isinstance(part, bool) or first > last:
            raise BadInput(
                f"{name} {part!r}; expected integers ≥ 0 and ranges of them, e.g. {EXAMPLES[name]}"
            )
        found.append(range(first, last + 1) if match and match[2] else first)
    return tuple(dict.fromkeys(found))


def seeds_as_text(seeds: Sequence[int | range]) -> str:
    """Seeds as `Selection.of` reads them: ``0-2,7``; neighbours joined, ranges as they stand."""
    parts: list[str] = []
    run: list[int] = []

    def close() -> None:
        if run:
            parts.extend([f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run))
        run.clear()

    for part in seeds:
        if isinstance(part, range):
            close()
            parts.append(f"{part.start}-{part[-1]}")
            continue
        if run and part != run[-1] + 1:
            close()
        run.append(part)
    close()
    return ",".join(parts)


_READERS: Mapping[str, Any] = {
    "score": _score, "metric": _metrics, "ood": _names, "seeds": _seeds, "outliers": _modes,
    "method": _methods, "ipc": _counts,
}  # fmt: skip
