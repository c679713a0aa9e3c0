"""What several seeds say together: spread, paired differences, and how both read in words.

Spread is over seeds of the whole pipeline, never over OOD sets or evaluation networks of one
distilled set. Wherever something is called better, the difference is paired by seed and has a
95% t-interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trustdd.report.naming import MODES


def over_seeds(frame: pd.DataFrame, by: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Mean and standard deviation over the seeds of the whole pipeline.

    Args:
        frame: a row per run.
        by: columns that name a setting.
        values: columns to summarise.

    Returns:
        A row per setting: `by`, each value's mean under its own name, its standard deviation
        (n − 1 in the denominator; NaN for one seed) as ``NAME_std``, and `seeds`.

    Raises:
        ValueError: a setting has two runs of the same seed, so that `by` does not name it.
    """
    groups = frame.groupby(list(by), sort=False, dropna=False)
    if bool((groups["seed"].count() != groups["seed"].nunique()).any()):
        raise ValueError(f"several runs of one seed under the same {', '.join(by)}")
    means, stds = groups[list(values)].mean(), groups[list(values)].std(ddof=1)
    joined = means.join(stds.add_suffix("_std")).join(groups["seed"].count().rename("seeds"))
    return joined.reset_index()


def by_outliers(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split a frame by its column `outliers`: mode → its rows, in the order none, oe, poe."""
    found = {mode: frame[frame["outliers"] == mode] for mode in MODES}
    return {mode: part for mode, part in found.items() if len(part)}


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds, treatment − control.

    Attributes:
        mean: mean of the differences.
        low: lower end of the 95% t-interval; NaN for one seed.
        high: upper end.
        seeds: pairs.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> str:
        """``"higher"`` or ``"lower"`` where the interval excludes 0, else ``"unclear"``."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "unclear"

    @property
    def text(self) -> str:
        """In percentage points, e.g. ``+9.1 points (95% CI 7.0 to 11.2, 3 seeds)``."""
        points = f"{signed(100 * self.mean)} points"
        if self.seeds < 2:
            return f"{points} (one seed, no interval)"
        low, high = signed(100 * self.low), signed(100 * self.high)
        return f"{points} (95% CI {low} to {high}, {self.seeds} seeds)"


def paired_difference(
    treatment: pd.DataFrame, control: pd.DataFrame, value: str, within: Sequence[str] = ()
) -> Difference:
    """Compare two settings seed by seed.

    Runs of several datasets, methods or IPC are no further seeds: their differences are averaged
    within each seed, and the interval is over seeds.

    Args:
        treatment: a row per run.
        control: likewise; paired with `treatment` by seed and the columns `within`.
        value: the column to compare.
        within: columns that name the setting, where the frames hold several.

    Raises:
        ValueError: nothing pairs, or one side has two runs for a pair.
    """
    keys = ["seed", *within]
    pairs = treatment[[*keys, value]].merge(
        control[[*keys, value]], on=keys, suffixes=("_t", "_c"), validate="one_to_one"
    )
    if pairs.empty:
        raise ValueError(f"no pair of runs agrees in {', '.join(keys)}")
    gaps = pairs.assign(gap=pairs[f"{value}_t"] - pairs[f"{value}_c"])
    return difference(gaps.groupby("seed")["gap"].mean().to_numpy(dtype=float))


def difference(values: np.ndarray) -> Difference:
    """The mean of paired differences and its 95% t-interval, ``[n]``."""
    from scipy.special import stdtrit

    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return Difference(mean, float("nan"), float("nan"), count)
    half = float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(count))
    return Difference(mean, mean - half, mean + half, count)


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, minus as ``−``; ``+0.0`` never reads ``-0.0``."""
    text = f"{value:+.{digits}f}"
    if float(text) == 0:
        text = f"{0:+.{digits}f}"
    return text.replace("-", "−")


def percent(value: float, digits: int = 1) -> str:
    """A share in [0, 1] as percent without the sign: 0.9712 → ``97.1``."""
    return f"{100 * value:.{digits}f}"


def with_std(mean: float, std: float, digits: int = 1) -> str:
    """A share's mean ± standard deviation in percent; the mean alone for one seed."""
    return percent(mean, digits) + ("" if np.isnan(std) else f" ± {percent(std, digits)}")


def in_percent(mean: float, std: float = float("nan"), digits: int = 1) -> str:
    """A share in a sentence: ``97.1%``, or ``97.1 ± 0.3%`` with a standard deviation."""
    return f"{with_std(mean, std, digits)}%"


def seeds_text(count: int, most: int | None = None) -> str:
    """``3 seeds``, ``1 seed``, or ``2 to 3 seeds`` where settings have different numbers."""
    if most is not None and most != count:
        return f"{count} to {most} seeds"
    return f"{count} seed" + ("" if count == 1 else "s")


def compared(difference: Difference) -> str:
    """``higher``, ``lower`` or ``not clearly different``, for a sentence; by size for one seed."""
    if difference.seeds < 2:
        return "higher" if difference.mean > 0 else "lower"
    words = {"higher": "higher", "lower": "lower", "unclear": "not clearly different"}
    return words[difference.verdict]
