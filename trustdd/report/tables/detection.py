"""Detection results: per OOD set (tab03, tab04, tab06), digits (tab05), scores (tab11)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.comparison import by_outliers, over_seeds, paired_difference, percent
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Measured, Row, Section
from trustdd.report.naming import (
    METHODS,
    MODES,
    OUTLIERS,
    SCORES,
    listed,
    ood_name,
    setting,
    setting_name,
)
from trustdd.report.results import (
    METRICS,
    NEAR_OOD,
    SCORE,
    MissingArtefacts,
    one_setting,
    per_run,
    reports,
)
from trustdd.report.tables.layout import (
    best_of_columns,
    cells_note,
    head,
    measured,
    mode_cells,
    mode_columns,
)
from trustdd.store.run import Run

SETTING = ["dataset", "method", "ipc"]
PER_SET = ("auroc", "fpr95")


def tab03(runs: Sequence[Run]) -> MadeTable:
    """Gradient matching: per OOD set, none, OE and POE, for each IPC."""
    return _per_set(runs, "Gradient matching")


def tab04(runs: Sequence[Run]) -> MadeTable:
    """Trajectory matching: the same."""
    return _per_set(runs, "Trajectory matching")


def tab06(runs: Sequence[Run]) -> MadeTable:
    """The ImageNet subset: the same."""
    return _per_set(runs, "ImageNet subset")


def _per_set(runs: Sequence[Run], what: str) -> MadeTable:
    frame = _main_settings(reports(runs))
    frame = frame[frame["score"] == SCORE]
    modes = list(by_outliers(frame))
    rows: list[Row] = []
    for key, part in frame.groupby(SETTING, sort=False):
        dataset, method, ipc = key
        rows.append(Section(setting(str(dataset), str(method), int(ipc))))
        for name, here in part.groupby("ood", sort=False):
            rows.append((ood_name(str(name)), *mode_cells(here, PER_SET, modes)))
        for label, sets in _suites(str(dataset), list(part["ood"].unique())):
            mean = per_run(part[part["ood"].isin(sets)])
            rows.append((label, *mode_cells(mean, PER_SET, modes)))
    finding = _gain_finding(what, per_run(frame))
    caption = (
        f"{finding}. AUROC and FPR95 (OOD positive) of the MSP score per OOD set. "
        f"{cells_note(frame)} Spread of the rows of means is over seeds, not over sets."
    )
    data = over_seeds(frame, [*SETTING, "outliers", "ood"], METRICS)
    columns = (Column("OOD set"), *mode_columns(PER_SET, modes))
    return MadeTable(columns, tuple(rows), data, caption, finding)


def _main_settings(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep what was distilled throughout, with as many outliers as its mode's first run has."""
    frame = frame[(frame["selection"] == "distilled") & (frame["outlier_selection"] == "distilled")]
    if frame.empty:
        raise MissingArtefacts("none of the runs is of a distilled set", (), "")
    return frame


def _suites(dataset: str, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Rows of means: near, far and all, as far as they differ."""
    near = [n for n in names if n in NEAR_OOD.get(dataset, ())]
    far = [n for n in names if n not in near]
    rows = [("mean", list(names))]
    if near and far:
        rows += [(f"mean, near-OOD ({len(near)})", near), (f"mean, far-OOD ({len(far)})", far)]
    return rows


def _gain_finding(what: str, frame: pd.DataFrame) -> str:
    """How much each mode adds to the mean AUROC of ordinary distillation."""
    plain = frame[frame["outliers"] == "none"]
    gains = {
        mode: paired_difference(frame[frame["outliers"] == mode], plain, "auroc", SETTING)
        for mode in ("oe", "poe")
        if not plain.empty and mode in set(frame["outliers"])
    }
    if not gains:
        return f"{what}: mean AUROC {percent(frame['auroc'].mean())}"
    return f"{what}: mean AUROC against ordinary DD " + listed(
        [f"{MODES[m]} {g.text}" for m, g in gains.items()]
    )


def tab05(runs: Sequence[Run]) -> MadeTable:
    """Digits: every measure, near and far OOD apart, for distilled, random and full data."""
    frame = reports(runs)
    frame = frame[frame["score"] == SCORE]
    first = one_setting(runs)[0].experiment
    frame = frame[(frame["ipc"] == first.ipc) | (frame["selection"] == "full")]
    near = frame["ood"].isin(NEAR_OOD.get(first.dataset, ()))
    table = per_run(frame)
    for label, part in (("near", frame[near]), ("far", frame[~near])):
        if not part.empty:
            table = table.merge(
                per_run(part)[["key", "auroc"]].rename(columns={"auroc": label}), on="key"
            )
    shown = [m for m in ("accuracy", "auroc", "near", "far", "aupr_in", "aupr_out", "fpr95")
             if m in table]  # fmt: skip
    rows: list[Row] = []
    for key, part in table.groupby(["selection", "method"], sort=False):
        selection, method = str(key[0]), str(key[1])
        modes = list(by_outliers(part))
        cells = best_of_columns(
            [[measured(part[part["outliers"] == m], name) for name in shown] for m in modes], shown
        )
        rows.append(Section(_selection_name(selection, method, first.ipc)))
        rows += [(OUTLIERS[m], *row) for m, row in zip(modes, cells, strict=True)]
    finding = _gain_finding(first.dataset, table[table["selection"] == "distilled"])
    names = {"near": "near-OOD ↑", "far": "far-OOD ↑"}
    columns = (
        Column("outliers"),
        *(Column(names.get(m, head(m)), "AUROC" if m in names else "", True) for m in shown),
    )
    counts = frame[["n_in", "n_out"]]
    caption = (
        f"{finding}. All measures of the MSP score, means over the OOD suite ({first.dataset}, "
        f"IPC {first.ipc}; {counts['n_in'].iloc[0]} InD images, {_range(counts['n_out'])} OOD "
        f"images a set, which AUPR depends on). {cells_note(frame)}"
    )
    data = over_seeds(table, ["selection", "method", "outliers"], shown)
    return MadeTable(columns, tuple(rows), data, caption, finding)


def _range(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _selection_name(selection: str, method: str, ipc: int) -> str:
    if selection == "full":
        return "full training set"
    if selection == "random":
        return f"random real images and outliers, IPC {ipc}"
    return f"distilled by {METHODS.get(method, method)}, IPC {ipc}"


def tab11(runs: Sequence[Run]) -> MadeTable:
    """Mean AUROC and FPR95 of every detection score, per mode."""
    chosen = one_setting(runs)
    frames = [reports(chosen)]
    if all(run.has("detectors.csv") for run in chosen):
        frames.append(reports(chosen, "detectors.csv"))
    frame = per_run(pd.concat(frames, ignore_index=True), ["score"])
    modes = list(by_outliers(frame))
    scores = list(dict.fromkeys(frame["score"]))
    cells: list[list[Measured | None]] = [
        [
            measured(frame[(frame["score"] == s) & (frame["outliers"] == m)], metric)
            for metric in PER_SET
            for m in modes
        ]
        for s in scores
    ]
    marked = best_of_columns(cells, [metric for metric in PER_SET for _ in modes])
    rows: list[tuple[Cell, ...]] = [
        (SCORES.get(s, s), *row) for s, row in zip(scores, marked, strict=True)
    ]
    level = frame.groupby(["outliers", "score"], sort=False)["auroc"].mean()
    best = {m: str(level[m].idxmax()) for m in modes}
    finding = "The score with the largest mean AUROC is " + listed(
        [f"{SCORES.get(s, s)} with {MODES[m]} ({percent(level[m, s])})" for m, s in best.items()]
    )
    caption = (
        f"{finding}. Detection scores on the same students ({setting_name(chosen[0].experiment)}), "
        f"means over the OOD suite. {cells_note(frame)}"
    )
    data = over_seeds(frame, ["score", "outliers"], METRICS)
    columns = (Column("score"), *mode_columns(PER_SET, modes))
    return MadeTable(columns, tuple(rows), data, caption, finding)
