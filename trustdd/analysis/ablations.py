"""Runs that differ in one setting, and how sets of corruptions are called."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.results import EXPERIMENT_COLUMNS, SCORE, MissingArtefacts, reports
from trustdd.store import Run


def varied(frame: pd.DataFrame, column: str, free: Sequence[str] = ()) -> pd.DataFrame:
    """Keep, for each outlier mode, the runs that differ from its first one in `column` alone.

    Args:
        frame: a row per run, those of the main group first.
        column: what is varied.
        free: columns that may vary with it.
    """
    fixed = [c for c in EXPERIMENT_COLUMNS if c not in (column, "seed", "outliers", *free)]
    parts = []
    for _, rows in frame.groupby("outliers", sort=False):
        parts.append(rows[(rows[fixed] == rows.iloc[0][fixed]).all(axis=1)])
    return pd.concat(parts, ignore_index=True)


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
