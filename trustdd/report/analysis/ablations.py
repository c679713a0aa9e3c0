"""Runs that differ in one setting, and how sets of corruptions are called."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.comparison import Difference, in_percent, paired_difference
from trustdd.report.results import (
    EXPERIMENT_COLUMNS,
    SMALLER_IS_BETTER,
    MissingArtefacts,
    per_run,
)
from trustdd.report.view import View
from trustdd.store.run import Run

#: how a budget is said
BUDGET_WORDS = {
    "iterations": "iterations",
    "real_batch": "real images a class",
    "training_epochs": "epochs of students",
}
#: columns that a mode fixes for itself, where another mode's runs say nothing about them
_OF_THE_MODE = {
    "none": ("outlier_selection", "outlier_ipc", "outlier_weight", "corruptions"),
    "oe": ("corruptions",),
    "poe": ("corruptions",),
}


def varied(frame: pd.DataFrame, column: str, free: Sequence[str] = ()) -> pd.DataFrame:
    """Keep, for each outlier mode, the runs of one setting that differ in `column` alone.

    The mode with most values of `column` says which setting that is (of several with equally many
    values, the one that is most like the frame's first run), so an ablation may be run at a budget
    of its own. Of the other modes only runs of the same setting are kept, all else equal; a mode
    that has none is left out.

    Args:
        frame: a row per run, those of the main group first.
        column: what is varied.
        free: columns that may vary with it.
    """
    fixed = [c for c in EXPERIMENT_COLUMNS if c not in (column, "seed", "outliers", *free)]
    main = frame.iloc[0]
    modes = frame.groupby("outliers", sort=False)[column].nunique()
    reference: pd.Series | None = None
    parts: dict[str, pd.DataFrame] = {}
    for mode in modes.sort_values(ascending=False, kind="stable").index:
        settings = frame[frame["outliers"] == mode].groupby(fixed, sort=False, dropna=False)
        candidates = [(key, rows) for key, rows in settings]
        against = main if reference is None else reference
        if reference is not None:
            candidates = [c for c in candidates if _same(c[1].iloc[0], reference, fixed, mode)]
        if not candidates:
            continue
        _, rows = max(
            candidates,
            key=lambda found: (
                found[1][column].nunique(),
                _likeness(found[1].iloc[0], against, fixed),
            ),
        )
        parts[mode] = rows
        reference = rows.iloc[0] if reference is None else reference
    return pd.concat([parts[m] for m in modes.index if m in parts], ignore_index=True)


def _likeness(row: pd.Series, other: pd.Series, columns: Sequence[str]) -> int:
    return sum(row[c] == other[c] for c in columns)


def _same(row: pd.Series, reference: pd.Series, columns: Sequence[str], mode: str) -> bool:
    """Whether a run of a mode has the reference's setting, as far as both modes have it."""
    apart = {*_OF_THE_MODE[mode], *_OF_THE_MODE[reference["outliers"]]}
    return all(row[c] == reference[c] for c in columns if c not in apart)


def budget_note(frame: pd.DataFrame, runs: Sequence[Run]) -> str:
    """Say at which budget the runs of a frame were computed, against the first, main run.

    Args:
        frame: from `varied` or `corruption_variants`.
        runs: all runs, those of the main group first.
    """
    here, main = frame.iloc[0], runs[0].experiment
    said = [
        f"{here[name]:,} {words}"
        for name, words in BUDGET_WORDS.items()
        if here[name] != getattr(main, name)
    ]
    return f"{' and '.join(said)}, unlike the main runs" if said else "all else as in the main runs"


# -- corruptions --------------------------------------------------------------------------------


def corruption_variants(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """Reports of POE runs by the corruptions that their outliers were made by.

    Args:
        runs: or a `View`, through whose selection they are seen.

    Returns:
        The rows of the reports with a column `variant`: ``all``, ``only NAME``, ``without NAME``,
        or the corruptions' names; and the variants in that order.

    Raises:
        MissingArtefacts: there are fewer than two variants.
    """
    view = View.around(runs)
    chosen = view.of([run for run in view if run.experiment.outliers == "poe"])
    if not chosen:
        raise MissingArtefacts("the corruption ablation needs runs with outliers poe", (), "")
    frame = varied(chosen.reports(), "corruptions")
    every = max(frame["corruptions"], key=lambda text: text.count("+")).split("+")
    names = {"+".join(every): "all"}
    names |= {name: f"only {name}" for name in every}
    for name in every:
        names["+".join(c for c in every if c != name)] = f"without {name}"
    frame = frame.assign(variant=[names.get(text, text) for text in frame["corruptions"]])
    present = list(dict.fromkeys(frame["variant"]))
    order = [v for v in names.values() if v in present]
    order += [v for v in present if v not in order]
    if len(order) < 2:
        raise MissingArtefacts(
            f"the corruption ablation needs runs with other corruptions than {', '.join(every)}",
            (), "",
        )  # fmt: skip
    return frame, order


def corruption_finding(
    view: View, frame: pd.DataFrame, variants: Sequence[str]
) -> tuple[str, dict[str, Difference | float]]:
    """Say whether all corruptions together beat the best of them alone.

    Args:
        view: names the measure.
        frame: from `corruption_variants`.
        variants: likewise.

    Returns:
        The sentence, and the numbers in it by what they are.
    """
    metric = view.metric
    means = per_run(frame, ["variant"], view.selection.score)
    level = means.groupby("variant", sort=False)[metric].mean()
    smaller = metric in SMALLER_IS_BETTER
    alone = level[[v for v in variants if v.startswith("only ")]]
    if "all" not in variants or alone.empty:
        best = str(level.idxmin() if smaller else level.idxmax())
        quoted: dict[str, Difference | float] = {f"{view.measure(metric)}, {best}": level[best]}
        return f"{best}: the best {view.measure(metric)}, {in_percent(level[best])}", quoted
    best = str(alone.idxmin() if smaller else alone.idxmax())
    gap = paired_difference(
        means[means["variant"] == "all"], means[means["variant"] == best], metric
    )
    return (
        f"All corruptions minus the best one alone ({best.removeprefix('only ')}), "
        f"{view.measure(metric)}: {gap.text}"
    ), {f"all minus {best}, {view.measure(metric)}": gap}
