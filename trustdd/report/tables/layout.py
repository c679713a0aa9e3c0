"""Shared ways of laying out tables: a column a mode, measured cells, the best one marked."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.comparison import Difference
from trustdd.report.markup import Column, Measured, ranked
from trustdd.report.naming import METRICS, MODES
from trustdd.report.results import SMALLER_IS_BETTER
from trustdd.report.view import View


def arrow(metric: str) -> str:
    """The direction in which a measure gets better."""
    return "↓" if metric in SMALLER_IS_BETTER else "↑"


def head(metric: str) -> str:
    """A measure's name, which class is positive, and the direction in which it gets better."""
    return f"{METRICS.get(metric, metric)} {arrow(metric)}"


def mode_columns(metrics: Sequence[str], modes: Sequence[str]) -> list[Column]:
    """Columns of some metrics, each with a column a mode."""
    return [Column(MODES[mode], head(metric), True) for metric in metrics for mode in modes]


def metric_column(metric: str) -> Column:
    """A column of one metric alone: its name above, its positive class below."""
    name, _, positive = METRICS.get(metric, metric).partition(" (")
    group = f"{name} {arrow(metric)}"
    return Column(positive.rstrip(")"), group, True) if positive else Column(group, "", True)


def mode_cells(
    frame: pd.DataFrame, metrics: Sequence[str], modes: Sequence[str]
) -> list[Measured | None]:
    """The cells below `mode_columns`, from one row a run; the modes of a metric ranked."""
    cells: list[Measured | None] = []
    for metric in metrics:
        row = [measured(frame[frame["outliers"] == mode], metric) for mode in modes]
        cells += ranked(row, metric in SMALLER_IS_BETTER)
    return cells


def measured(frame: pd.DataFrame, metric: str) -> Measured | None:
    """One metric over the seeds of a setting; ``None`` where there is no run.

    Raises:
        ValueError: the frame holds two runs of one seed.
    """
    rows = frame[frame[metric].notna()]
    if rows.empty:
        return None
    if not frame["seed"].is_unique:
        raise ValueError(f"{metric}: several runs of one seed in one cell")
    values = rows[metric]
    by_seed = {int(s): float(v) for s, v in zip(rows["seed"], values, strict=True)}
    return Measured(float(values.mean()), float(values.std(ddof=1)), by_seed)


def gap_cell(gap: Difference | None) -> Measured | None:
    """A paired difference, with its interval in brackets."""
    if gap is None:
        return None
    return Measured(gap.mean, sign=True, interval=(gap.low, gap.high))


def rank_columns(
    rows: Sequence[Sequence[Measured | None]], metrics: Sequence[str]
) -> list[list[Measured | None]]:
    """Rank the cells of each column; `metrics` names them, in order."""
    columns = [
        ranked([row[i] for row in rows], metric in SMALLER_IS_BETTER)
        for i, metric in enumerate(metrics)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def cells_note(view: View) -> str:
    """Say what a cell of shares holds."""
    if len(view.seeds) == 1:
        return "In percent, one seed."
    return f"In percent, ± standard deviation over {view.seeds_text}."
