"""The numbers that prose quotes: computed from stored runs, written to ``numbers.json``."""

from __future__ import annotations

from pathlib import Path

from trustdd.comparison import Difference, paired_difference, seeds_text, signed
from trustdd.profiles import Profile
from trustdd.results import METRICS, Results, one_setting, reports, seeds_of, summary
from trustdd.store import write_json

Number = float | int | str


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
    """Write ``results/PROFILE/numbers.json``, keys sorted; see `numbers`."""
    results = Results(profile)
    return write_json(results.folder / "numbers.json", numbers(results))
