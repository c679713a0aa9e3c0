"""One setting varied: corruptions (tab09), outlier weight and budget (tab10)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from trustdd.report.analysis.ablations import (
    budget_note,
    corruption_finding,
    corruption_variants,
    varied,
)
from trustdd.report.comparison import by_outliers, over_seeds
from trustdd.report.export import MadeTable
from trustdd.report.markup import Column, Row, Section
from trustdd.report.naming import METRICS, MODES, listed, ood_name, opened, setting_name
from trustdd.report.results import SMALLER_IS_BETTER, MissingArtefacts
from trustdd.report.tables.layout import (
    cells_note,
    head,
    measured,
    mode_columns,
    rank_columns,
)
from trustdd.report.view import View


def tab09(view: View) -> MadeTable:
    """A measure per OOD set for each corruption alone, for all but one, and for all."""
    frame, variants = corruption_variants(view)
    shown = view.with_keys(frame["key"])
    metric = view.metric
    sets = list(dict.fromkeys(frame["ood"]))
    mean = frame.groupby(["key", "variant", "seed"], sort=False)[metric].mean().reset_index()
    cells = rank_columns(
        [
            [
                *(measured(part[part["ood"] == name], metric) for name in sets),
                measured(mean[mean["variant"] == variant], metric),
            ]
            for variant in variants
            for part in [frame[frame["variant"] == variant]]
        ],
        [metric] * (len(sets) + 1),
    )
    rows: list[Row] = [(v, *row) for v, row in zip(variants, cells, strict=True)]
    finding, quoted = corruption_finding(view, frame, variants)
    columns = (
        Column("corruptions"),
        *(Column(ood_name(name), head(metric), True) for name in sets),
        Column("mean", head(metric), True),
    )
    caption = (
        f"{METRICS[metric]} of POE students, and its mean {view.over_sets}, by the corruptions "
        f"that their outliers were distilled from ({setting_name(shown.experiment)}; score: "
        f"{view.score_name}; {budget_note(frame, view)}). {cells_note(shown)}"
    )
    data = over_seeds(frame, ["variant", "ood"], [metric])
    quoted["OOD sets"] = len(sets)
    return MadeTable(columns, tuple(rows), data, caption, finding, shown.runs, quoted)


def tab10(view: View) -> MadeTable:
    """Detection and accuracy against λ, and against the number of outliers."""
    frame = view.summary()
    frame = frame[frame["outliers"] != "none"]
    if frame.empty:
        raise MissingArtefacts("tab10 needs runs with outliers oe or poe", (), "")
    modes = list(by_outliers(frame))
    metrics = view.metrics
    sweeps = {
        "outlier weight λ": varied(frame, "outlier_weight").assign(
            value=lambda t: t["outlier_weight"]
        ),
        "outliers per InD image": varied(frame, "outlier_ipc").assign(
            value=lambda t: t["outlier_ipc"] / t["ipc"]
        ),
    }
    rows: list[Row] = []
    for name, part in sweeps.items():
        values = sorted(part["value"].unique())
        cells = rank_columns(
            [
                [
                    measured(part[(part["value"] == v) & (part["outliers"] == m)], metric)
                    for metric in metrics
                    for m in modes
                ]
                for v in values
            ],
            [metric for metric in metrics for _ in modes],
        )
        rows.append(Section(name))
        rows += [(f"{v:g}", *row) for v, row in zip(values, cells, strict=True)]
    shown = view.with_keys(pd.concat(list(sweeps.values()))["key"])
    finding, quoted = _best_values(view, sweeps)
    columns = (Column("value"), *mode_columns(metrics, modes))
    caption = (
        f"{listed([opened(view.measure(m)) for m in metrics])} ({setting_name(shown.experiment)}; "
        f"{budget_note(next(iter(sweeps.values())), view)}); score: {view.score_name}, means "
        f"{view.over_sets}. In each part all else is equal. {cells_note(shown)}"
    )
    data = pd.concat(
        [
            over_seeds(part, ["outliers", "value"], metrics).assign(setting=name)
            for name, part in sweeps.items()
        ],
        ignore_index=True,
    )
    quoted["OOD sets"] = len(view.sets)
    return MadeTable(columns, tuple(rows), data, caption, finding, shown.runs, quoted)


def _best_values(view: View, sweeps: Mapping[str, pd.DataFrame]) -> tuple[str, dict[str, float]]:
    """At which value each mode detects best, where it has several."""
    metric = view.metric
    smaller = metric in SMALLER_IS_BETTER
    parts = []
    quoted: dict[str, float] = {}
    for name, part in sweeps.items():
        said = []
        for mode, rows in by_outliers(part).items():
            level = rows.groupby("value")[metric].mean()
            if len(level) > 1:
                best = float(level.idxmin() if smaller else level.idxmax())
                said.append(f"{best:g} ({MODES[mode]})")
                quoted[f"best {name}, {MODES[mode]}"] = best
        if said:
            parts.append(f"{name} {listed(said)}")
    if not parts:
        raise MissingArtefacts("tab10 needs runs at two values of λ or of the budget", (), "")
    word = "smallest" if smaller else "largest"
    return f"{opened(view.measure(metric))} is {word} at {'; '.join(parts)}", quoted
