"""The numbers that prose quotes: computed from stored runs, for the book and for a paper.

``numbers.json`` is what the book's pages read, ``numbers.tex`` holds a LaTeX macro for each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from trustdd import latex
from trustdd.comparison import Difference, paired_difference, percent, seeds_text, signed
from trustdd.profiles import Profile
from trustdd.results import METRICS, Results, one_setting, reports, seeds_of, summary
from trustdd.store import write_json, write_text

Number = float | int | str

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
        Key → value. For each outlier mode of the group ``main`` (its first dataset, method and
        IPC): ``main.MODE.MEASURE``, the mean over seeds of the suite mean, in [0, 1];
        ``…_std``, its standard deviation; and, beside ordinary distillation,
        ``main.MODE.MEASURE_gain``, the paired difference as text. The setting itself is
        ``main.dataset``, ``main.method``, ``main.ipc``, ``main.seeds``, ``main.classes`` and so on.

    Raises:
        MissingArtefacts: runs of the group are not there.
    """
    runs = one_setting(results.runs("main"))
    frame = summary(runs)
    experiment = runs[0].experiment
    found: dict[str, Number] = {
        "profile": results.profile.name,
        "main.dataset": experiment.dataset,
        "main.method": experiment.method.upper(),
        "main.ipc": experiment.ipc,
        "main.iterations": int(experiment.iterations or 0),
        "main.seeds": seeds_text(len(seeds_of(runs))),
        "main.ood_sets": int(reports(runs)["ood"].nunique()),
        "main.test_images": int(reports(runs)["n_in"].iloc[0]),
    }
    modes = {str(mode): part for mode, part in frame.groupby("outliers", sort=False)}
    for mode, part in modes.items():
        for measure in (*METRICS, "accuracy"):
            name = f"main.{mode}.{measure}"
            found[name] = float(part[measure].mean())
            if len(part) > 1:
                found[f"{name}_std"] = float(part[measure].std(ddof=1))
            if mode != "none" and "none" in modes:
                found[f"{name}_gain"] = in_words(paired_difference(part, modes["none"], measure))
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
    write_text(results.folder / "numbers.tex", macros(found))
    return write_json(results.folder / "numbers.json", found)


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
