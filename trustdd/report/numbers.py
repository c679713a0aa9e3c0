"""The numbers that prose quotes: computed from stored runs, for the book and for a paper.

``numbers.json`` is what the book's pages read, ``numbers.tex`` holds a LaTeX macro for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from trustdd.report import latex
from trustdd.report.comparison import Difference, paired_difference, percent, seeds_text, signed
from trustdd.report.results import (
    METRICS,
    Results,
    by_mode,
    holds,
    one_setting,
    per_run,
    reports,
    require,
    seeds_of,
)
from trustdd.report.tables.ledger import tab15
from trustdd.report.verdicts import NOT_RUN
from trustdd.store.files import write_json, write_text
from trustdd.store.profiles import Profile
from trustdd.store.records import record_files
from trustdd.store.run import Run

Number = float | int | str
#: groups whose numbers are quoted beside the main ones
FURTHER_GROUPS = ("mtt", "ablation_ipc", "random_images", "full_data")

_DIGITS = dict(
    zip(
        "0123456789",
        ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"),
        strict=True,
    )
)


def numbers(results: Results) -> dict[str, Number]:
    """Compute every number that the book's prose may quote.

    Returns:
        Key → value, for the group ``main`` and those of `FURTHER_GROUPS` that the profile has, each
        by its first dataset, method and IPC, from the runs that are finished; what they do not
        tell reads ``not run``. For every outlier mode: ``main.MODE.MEASURE``, the
        mean over seeds of the suite mean, in [0, 1]; ``…_std``, its standard deviation; and, beside
        ordinary distillation, ``main.MODE.MEASURE_gain``, the paired difference as text. The
        setting itself is ``main.dataset``, ``main.method``, ``main.ipc``, ``main.seeds`` and so on.

    And what the ledger says of each claim (`trustdd.report.tables.ledger.CLAIMS`):
        ``ledger.NAME.MEASURE.verdict``, and the difference that each comparison found as text,
        ``ledger.NAME.MEASURE.0`` and so on; ``not run`` where there is none.

    Raises:
        MissingArtefacts: no run of the group ``main`` is finished.
    """
    found: dict[str, Number] = {"profile": results.profile.name}
    for group in ("main", *FURTHER_GROUPS):
        if group in results.profile.groups or group == "main":
            planned = one_setting(results.planned(group))
            finished = [run for run in planned if holds(run, ("report.csv",))]
            if group == "main" and not finished:
                require(planned, ("report.csv",), results.name)
            found |= _not_run(group, planned)
            found |= _of_group(group, finished) if finished else {}
    return found | _of_ledger(results)


def _not_run(group: str, planned: Sequence[Run]) -> dict[str, Number]:
    """Every number of a group, as it reads where runs are missing."""
    experiment = planned[0].experiment
    found: dict[str, Number] = {
        f"{group}.dataset": experiment.dataset,
        f"{group}.method": experiment.method.upper(),
        f"{group}.ipc": experiment.ipc,
        f"{group}.iterations": experiment.iterations,
        **{f"{group}.{name}": NOT_RUN for name in ("seeds", "ood_sets", "test_images")},
    }
    for mode in by_mode(planned):
        for measure in (*METRICS, "accuracy"):
            parts = ("", "_std") if mode == "none" else ("", "_std", "_gain")
            found |= {f"{group}.{mode}.{measure}{part}": NOT_RUN for part in parts}
    return found


def _of_group(group: str, runs: Sequence[Run]) -> dict[str, Number]:
    """What finished runs of a group's one setting say in place of `_not_run`."""
    rows = reports(runs)
    frame = per_run(rows)
    found: dict[str, Number] = {
        f"{group}.seeds": seeds_text(len(seeds_of(runs))),
        f"{group}.ood_sets": int(rows["ood"].nunique()),
        f"{group}.test_images": int(rows["n_in"].iloc[0]),
    }
    modes = {str(mode): part for mode, part in frame.groupby("outliers", sort=False)}
    for mode, part in modes.items():
        for measure in (*METRICS, "accuracy"):
            name = f"{group}.{mode}.{measure}"
            found[name] = float(part[measure].mean())
            if len(part) > 1:
                found[f"{name}_std"] = float(part[measure].std(ddof=1))
            if mode != "none" and "none" in modes:
                found[f"{name}_gain"] = in_words(paired_difference(part, modes["none"], measure))
    return found


def _of_ledger(results: Results) -> dict[str, Number]:
    """The verdicts, and the differences behind them, so that prose says what the ledger says."""
    planned = results.planned(*results.profile.groups)
    table = tab15([run for run in planned if holds(run, ("report.csv",))]).data
    found: dict[str, Number] = {}
    for (name, measure), rows in table.groupby(["name", "measure"], sort=False):
        place = f"ledger.{name}.{measure}"
        found[f"{place}.verdict"] = str(rows["verdict"].iloc[0])
        for i, row in enumerate(rows.itertuples()):
            gap = Difference(row.difference, row.low, row.high, row.seeds)
            found[f"{place}.{i}"] = in_words(gap) if row.seeds else NOT_RUN
    return found


def in_words(gain: Difference) -> str:
    """A difference for a sentence: ``+5.9 points, 95% CI +5.0 to +6.8``."""
    text = f"{signed(100 * gain.mean)} points"
    if gain.seeds < 2:
        return text
    return f"{text}, 95% CI {signed(100 * gain.low)} to {signed(100 * gain.high)}"


def write_numbers(profile: str | Path | Profile) -> Path:
    """Write ``results/PROFILE/numbers.json``, keys sorted, and ``numbers.tex``; see `numbers`.

    Returns:
        The path of the JSON.
    """
    results = Results(profile)
    found = numbers(results)
    path = write_json(results.folder / "numbers.json", found)
    record_files(
        results.folder, [path, write_text(results.folder / "numbers.tex", macros(found))],
        f"trustdd numbers --profile {results.name}",
    )  # fmt: skip
    return path


def macros(found: Mapping[str, Number]) -> str:
    r"""Return a LaTeX macro for every number, in the order of their keys.

    ``main.poe.auroc`` becomes ``\trustddMainPoeAuroc``; digits in a key are spelt out, since a
    macro's name has none. Shares in [0, 1] read as percent with one decimal.
    """
    lines = [f"% Numbers of profile {found.get('profile', '?')}; \\input this file once."]
    for key in sorted(found):
        value = found[key]
        shown = percent(value) if isinstance(value, float) else str(value)
        lines.append(rf"\newcommand{{\{macro_name(key)}}}{{{latex.escape(shown)}}}")
    return "\n".join(lines) + "\n"


def macro_name(key: str) -> str:
    """The macro of a key: ``main.poe.fpr95_std`` → ``trustddMainPoeFprNineFiveStd``."""
    words = re.findall(r"[A-Za-z]+|\d", key)
    return "trustdd" + "".join(_DIGITS.get(word, word[:1].upper() + word[1:]) for word in words)
