"""Shared ways of laying out tables: a column a mode, measured cells, the best one marked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.comparison import over_seeds, seeds_text
from trustdd.report.markup import Column, Measured, mark_best
from trustdd.report.naming import METRICS, MODES
from trustdd.report.results import SMALLER_IS_BETTER

#: said in the caption of every table of means
CELLS_NOTE = "Mean ± standard deviation over {seeds}, in percent; the best is bold."


def head(metric: str) -> str:
    """A metric's name with the direction in which it gets better."""
    return f"{METRICS.get(metric, metric)} {'↓' if metric in SMALLER_IS_BETTER else '↑'}"


def mode_columns(metrics: Sequence[str], modes: Sequence[str]) -> list[Column]:
    """Columns of some metrics, each with a column a mode."""
    return [Column(MODES[mode], head(metric), True) for metric in metrics for mode in modes]


def mode_cells(
    frame: pd.DataFrame, metrics: Sequence[str], modes: Sequence[str]
) -> list[Measured | None]:
    """The cells below `mode_columns`, from one row a run; the best mode of a metric marked."""
    cells: list[Measured | None] = []
    for metric in metrics:
        row = [measured(frame[frame["outliers"] == mode], metric) for mode in modes]
        cells += mark_best(row, metric in SMALLER_IS_BETTER)
    return cells


def measured(frame: pd.DataFrame, metric: str) -> Measured | None:
    """One metric over the seeds of a setting; ``None`` where there is no run.

    Raises:
        ValueError: the frame holds two runs of one seed.
    """
    values = frame[metric].dropna()
    if values.empty:
        return None
    if not frame["seed"].is_unique:
        raise ValueError(f"{metric}: several runs of one seed in one cell")
    return Measured(float(values.mean()), float(values.std(ddof=1)))


def best_of_columns(
    rows: Sequence[Sequence[Measured | None]], metrics: Sequence[str]
) -> list[list[Measured | None]]:
    """Mark the best of each column; `metrics` names them, in order."""
    columns = [
        mark_best([row[i] for row in rows], metric in SMALLER_IS_BETTER)
        for i, metric in enumerate(metrics)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def cells_note(frame: pd.DataFrame) -> str:
    """`CELLS_NOTE` with the number of seeds."""
    return CELLS_NOTE.format(seeds=seeds_text(frame["seed"].nunique()))


def long(frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """The numbers behind a table: a row a setting, each value with its spread."""
    return over_seeds(frame, by, values)
