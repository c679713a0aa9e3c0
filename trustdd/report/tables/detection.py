"""Detection results: per OOD set (tab03, tab04, tab06), digits (tab05), scores (tab11)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.analysis.gains import (
    SETTING,
    first_setting,
    gains_by_setting,
    gains_in_words,
    gains_quoted,
)
from trustdd.report.comparison import Difference, by_outliers, in_percent, over_seeds
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Row, Section
from trustdd.report.naming import (
    METHODS,
    METRICS,
    MODES,
    OUTLIERS,
    SCORES,
    listed,
    ood_name,
    opened,
    setting,
    setting_name,
)
from trustdd.report.results import (
    NEAR_OOD,
    SMALLER_IS_BETTER,
    MissingArtefacts,
    per_run,
)
from trustdd.report.tables.layout import (
    arrow,
    cells_note,
    measured,
    metric_column,
    mode_cells,
    mode_columns,
    rank_columns,
)
from trustdd.report.view import View


def tab03(view: View) -> MadeTable:
    """Gradient matching: per OOD set, none, OE and POE, for each IPC."""
    return _per_set(view)


def tab04(view: View) -> MadeTable:
    """Trajectory matching: the same."""
    return _per_set(view)


def tab06(view: View) -> MadeTable:
    """The ImageNet subset: the same."""
    return _per_set(view)


def _per_set(view: View) -> MadeTable:
    frame = _whole(view.reports())
    shown = view.with_keys(frame["key"])
    modes = list(by_outliers(frame))
    metrics = view.metrics
    rows: list[Row] = []
    for key, part in frame.groupby(SETTING, sort=False):
        dataset, method, ipc = key
        rows.append(Section(setting(str(dataset), str(method), int(ipc))))
        for name, here in part.groupby("ood", sort=False):
            rows.append((ood_name(str(name)), *mode_cells(here, metrics, modes)))
        for label, sets in _suites(str(dataset), list(part["ood"].unique())):
            mean = per_run(part[part["ood"].isin(sets)], score=view.selection.score)
            rows.append((label, *mode_cells(mean, metrics, modes)))
    means = per_run(frame, score=view.selection.score)
    finding, told, quoted = _gain_words(shown, means)
    caption = (
        f"{listed([METRICS[m] for m in metrics])} by the {view.score_name} score per OOD set; "
        f"means {shown.over_sets}. {cells_note(shown)} Deviations of the means are over seeds, not "
        f"over sets. {told}"
    )
    data = over_seeds(frame, [*SETTING, "outliers", "ood"], metrics)
    columns = (Column("OOD set"), *mode_columns(metrics, modes))
    return MadeTable(columns, tuple(rows), data, caption, finding, shown.runs, quoted)


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep what was distilled throughout."""
    frame = frame[(frame["selection"] == "distilled") & (frame["outlier_selection"] == "distilled")]
    if frame.empty:
        raise MissingArtefacts("none of the runs is of a distilled set", (), "")
    return frame


def _suites(dataset: str, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Rows of means: near, far and all, as far as they differ."""
    near = [n for n in names if n in NEAR_OOD.get(dataset, ())]
    far = [n for n in names if n not in near]
    rows = [("mean", list(names))] if len(names) > 1 else []
    if near and far:
        rows += [(f"mean, near-OOD ({len(near)})", near), (f"mean, far-OOD ({len(far)})", far)]
    return rows


def _gain_words(view: View, means: pd.DataFrame) -> tuple[str, str, dict[str, float | Difference]]:
    """What outliers add in the first setting, as a finding; in all settings, as a sentence.

    Args:
        view: names the measure.
        means: a row per run, of distilled sets.

    Returns:
        Finding, sentence (empty where the finding says it all), and the numbers in them.
    """
    metric, measure = view.metric, view.measure(view.metric)
    gains = gains_by_setting(means, metric)
    quoted = gains_quoted(gains, measure)
    name, same = first_setting(means)
    if name not in gains:
        levels = {m: rows[metric].mean() for m, rows in by_outliers(same).items()}
        quoted |= {f"{measure}, {MODES[m]}, {name}": value for m, value in levels.items()}
        said = listed([f"{in_percent(value)} ({MODES[m]})" for m, value in levels.items()])
        return f"{opened(measure)}, {name}: {said}", "", quoted
    finding = f"{opened(measure)} against ordinary DD, {name}: " + listed(
        [f"{MODES[m]} {gap.text}" for m, gap in gains[name].items()]
    )
    others = {n: of for n, of in gains.items() if n != name}
    told = f"The same in other settings: {gains_in_words(others)}." if others else ""
    return finding, told, quoted


def tab05(view: View) -> MadeTable:
    """Digits: every measure, near and far OOD apart, for distilled, random and full data."""
    frame = view.reports()
    first = view.one_setting().experiment
    frame = frame[(frame["ipc"] == first.ipc) | (frame["selection"] == "full")]
    near = frame["ood"].isin(NEAR_OOD.get(first.dataset, ()))
    score = view.selection.score
    table = per_run(frame, score=score)
    metric = view.metric
    for label, part in (("near", frame[near]), ("far", frame[~near])):
        if not part.empty and near.any() and not near.all():
            side = per_run(part, score=score)[["key", metric]]
            table = table.merge(side.rename(columns={metric: label}), on="key")
    sides = [side for side in ("near", "far") if side in table]
    measures = [m for m in view.metrics if m != metric]
    place = list(view.metrics).index(metric) if metric in view.metrics else 0
    shown = [*measures[:place], metric, *sides, *measures[place:]]
    compared = [metric if name in sides else name for name in shown]
    rows: list[Row] = []
    for key, part in table.groupby(["selection", "method"], sort=False):
        selection, method = str(key[0]), str(key[1])
        parts = by_outliers(part)
        cells = rank_columns(
            [[measured(own, name) for name in shown] for own in parts.values()], compared
        )
        rows.append(Section(_selection_name(selection, method, first.ipc)))
        rows += [(OUTLIERS[m], *row) for m, row in zip(parts, cells, strict=True)]
    whole = table[(table["selection"] == "distilled") & (table["outlier_selection"] == "distilled")]
    if whole.empty:
        raise MissingArtefacts("none of the runs is of a distilled set", (), "")
    finding, told, quoted = _gain_words(view, whole)
    columns = (Column("outliers"), *(_column(view, name, metric) for name in shown))
    counts = frame[["n_in", "n_out"]]
    chosen = view.with_keys(table["key"])
    sizes = {"InD images": counts["n_in"].iloc[0], "fewest OOD images": counts["n_out"].min(),
             "most OOD images": counts["n_out"].max()}  # fmt: skip
    caption = (
        f"Measures of the {view.score_name} score, means {view.over_sets} ({first.dataset}, IPC "
        f"{first.ipc}; {counts['n_in'].iloc[0]:,} InD images, {_range(counts['n_out'])} OOD images "
        f"a set, which AUPR depends on). {cells_note(chosen)} {told}"
    )
    data = over_seeds(table, ["selection", "method", "outliers"], shown)
    quoted |= {**sizes, "OOD sets": len(view.sets)}
    return MadeTable(columns, tuple(rows), data, caption, finding, chosen.runs, quoted)


def _column(view: View, name: str, metric: str) -> Column:
    if name in ("near", "far"):
        return Column(f"{name}-OOD", f"{METRICS[metric].partition(' (')[0]} {arrow(metric)}", True)
    return metric_column(name)


def _range(counts: pd.Series) -> str:
    low, high = counts.min(), counts.max()
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _selection_name(selection: str, method: str, ipc: int) -> str:
    if selection == "full":
        return "full training set"
    if selection == "random":
        return f"random real images and outliers, IPC {ipc}"
    return f"distilled by {METHODS.get(method, method)}, IPC {ipc}"


def tab11(view: View) -> MadeTable:
    """Suite means of every detection score, per mode."""
    chosen = view.one_setting()
    frame = chosen.per_run(["score"])
    modes = list(by_outliers(frame))
    metric = chosen.metric
    scores = list(dict.fromkeys(frame["score"]))
    cells = [
        [
            measured(frame[(frame["score"] == s) & (frame["outliers"] == m)], name)
            for name in chosen.metrics
            for m in modes
        ]
        for s in scores
    ]
    marked = rank_columns(cells, [name for name in chosen.metrics for _ in modes])
    rows: list[tuple[Cell, ...]] = [
        (SCORES.get(s, s), *row) for s, row in zip(scores, marked, strict=True)
    ]
    level = frame.groupby(["outliers", "score"], sort=False)[metric].mean()
    smaller = metric in SMALLER_IS_BETTER
    best = {m: str(level[m].idxmin() if smaller else level[m].idxmax()) for m in modes}
    word = "smallest" if smaller else "largest"
    finding = f"The score with the {word} {chosen.measure(metric)} is " + listed(
        [f"{SCORES.get(s, s)} with {MODES[m]} ({in_percent(level[m, s])})" for m, s in best.items()]
    )
    caption = (
        f"Detection scores on the same students ({setting_name(chosen.experiment)}), means "
        f"{chosen.over_sets}. {cells_note(chosen)}"
    )
    data = over_seeds(frame, ["score", "outliers"], chosen.metrics)
    columns = (Column("score"), *mode_columns(chosen.metrics, modes))
    quoted: dict[str, float | Difference] = {"OOD sets": len(chosen.sets)}
    return MadeTable(columns, tuple(rows), data, caption, finding, chosen.runs, quoted)
