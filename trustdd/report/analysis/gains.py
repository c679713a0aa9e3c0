"""What outliers add to ordinary distillation, each dataset, method and IPC for itself."""

from __future__ import annotations

import pandas as pd

from trustdd.report.comparison import Difference, by_outliers, paired_difference
from trustdd.report.naming import MODES, listed, setting

#: columns that name a setting
SETTING = ["dataset", "method", "ipc"]


def gains_by_setting(frame: pd.DataFrame, metric: str) -> dict[str, dict[str, Difference]]:
    """Compare the modes with ordinary distillation in each setting, paired by seed.

    Settings are never pooled: what holds at one IPC need not hold at another.

    Args:
        frame: a row per run, of distilled sets.
        metric: the column to compare.

    Returns:
        Setting in words (``digits, DSA, IPC 2``) → outlier mode → mode minus ordinary
        distillation; settings without both are left out.
    """
    found: dict[str, dict[str, Difference]] = {}
    for key, part in frame.groupby(SETTING, sort=False):
        dataset, method, ipc = str(key[0]), str(key[1]), int(key[2])
        parts = by_outliers(part)
        plain = parts.pop("none", None)
        if plain is not None and parts:
            found[setting(dataset, method, ipc)] = {
                mode: paired_difference(rows, plain, metric) for mode, rows in parts.items()
            }
    return found


def first_setting(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Return the setting of a frame's first row in words, and the rows of that setting."""
    first = frame.iloc[0]
    same = frame[(frame[SETTING] == first[SETTING]).all(axis=1)]
    return setting(str(first["dataset"]), str(first["method"]), int(first["ipc"])), same


def gains_in_words(gains: dict[str, dict[str, Difference]]) -> str:
    """All of them as a clause: ``digits, DSA, IPC 2: OE +9.1 points (…) and POE …; …``."""
    return "; ".join(
        f"{name}: " + listed([f"{MODES[mode]} {gap.text}" for mode, gap in of.items()])
        for name, of in gains.items()
    )


def gains_quoted(
    gains: dict[str, dict[str, Difference]], measure: str
) -> dict[str, float | Difference]:
    """The same as numbers by what they are."""
    return {
        f"{measure}, {MODES[mode]} minus {MODES['none']}, {name}": gap
        for name, of in gains.items()
        for mode, gap in of.items()
    }
