"""Runs that differ in one setting, and how sets of corruptions are called."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.results import (
    BUDGET_COLUMNS,
    EXPERIMENT_COLUMNS,
    SCORE,
    MissingArtefacts,
    reports,
)
from trustdd.store.run import Run

#: how a budget is said
BUDGET_WORDS = {
    "iterations": "iterations",
    "real_batch": "real images a class",
    "training_epochs": "epochs of students",
}


def varied(frame: pd.DataFrame, column: str, free: Sequence[str] = ()) -> pd.DataFrame:
    """Keep, for each outlier mode, the runs of one setting that differ in `column` alone.

    Of several settings it is the one with most values of `column`, the first of those; so an
    ablation may be run at a budget of its own. All modes are shown at the budget of the one with
    most values; one that has no runs at it is left out.

    Args:
        frame: a row per run, those of the main group first.
        column: what is varied.
        free: columns that may vary with it.
    """
    fixed = [c for c in EXPERIMENT_COLUMNS if c not in (column, "seed", "outliers", *free)]
    parts: dict[str, pd.DataFrame] = {}
    budget: tuple[object, ...] | None = None
    # modes with several values first: they say at which budget the others are compared
    modes = frame.groupby("outliers", sort=False)[column].nunique()
    for mode in modes.sort_values(ascending=False, kind="stable").index:
        rows = frame[frame["outliers"] == mode]
        settings = rows.groupby(fixed, sort=False)
        counts = settings[column].nunique()
        if budget is not None:
            counts = counts[[_budget(counts.index, key) == budget for key in counts.index]]
        if len(counts):
            chosen = counts.idxmax()
            parts[mode] = settings.get_group(chosen)
            budget = budget or _budget(counts.index, chosen)
    return pd.concat([parts[m] for m in modes.index if m in parts], ignore_index=True)


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


def _budget(settings: pd.MultiIndex, key: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(v for name, v in zip(settings.names, key, strict=True) if name in BUDGET_COLUMNS)


def corruption_variants(runs: Sequence[Run]) -> tuple[pd.DataFrame, list[str]]:
    """Reports of POE runs by the corruptions that their outliers were made by.

    Returns:
        The MSP rows of the reports with a column `variant`: ``all``, ``only NAME``,
        ``without NAME``, or the corruptions' names; and the variants in that order.

    Raises:
        MissingArtefacts: there are fewer than two variants.
    """
    chosen = [run for run in runs if run.experiment.outliers == "poe"]
    if not chosen:
        raise MissingArtefacts("the corruption ablation needs runs with outliers poe", (), "")
    frame = reports(chosen)
    frame = varied(frame[frame["score"] == SCORE], "corruptions")
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
