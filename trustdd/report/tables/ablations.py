"""One setting varied: corruptions (tab09), outlier weight and budget (tab10)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.analysis.ablations import budget_note, corruption_variants, varied
from trustdd.report.comparison import by_outliers, over_seeds, paired_difference, percent
from trustdd.report.export import MadeTable
from trustdd.report.markup import Column, Row, Section
from trustdd.report.naming import MODES, listed, ood_name, setting_name
from trustdd.report.results import summary
from trustdd.report.tables.layout import best_of_columns, cells_note, measured, mode_columns
from trustdd.store.run import Run


def tab09(runs: Sequence[Run]) -> MadeTable:
    """AUROC per OOD set for each corruption alone, for all but one, and for all."""
    frame, variants = corruption_variants(runs)
    sets = list(dict.fromkeys(frame["ood"]))
    mean = frame.groupby(["key", "variant", "seed"], sort=False)["auroc"].mean().reset_index()
    cells = best_of_columns(
        [
            [
                *(measured(part[part["ood"] == name], "auroc") for name in sets),
                measured(mean[mean["variant"] == variant], "auroc"),
            ]
            for variant in variants
            for part in [frame[frame["variant"] == variant]]
        ],
        ["auroc"] * (len(sets) + 1),
    )
    rows: list[Row] = [(v, *row) for v, row in zip(variants, cells, strict=True)]
    finding = _corruption_finding(mean, variants)
    columns = (
        Column("corruptions"),
        *(Column(ood_name(name), "AUROC ↑", True) for name in sets),
        Column("mean", "AUROC ↑", True),
    )
    caption = (
        f"{finding}. AUROC of POE students by the corruptions that their outliers were distilled "
        f"from ({setting_name(runs[0].experiment)}; {budget_note(frame, runs)}). "
        f"{cells_note(frame)}"
    )
    data = over_seeds(frame, ["variant", "ood"], ["auroc", "fpr95"])
    return MadeTable(columns, tuple(rows), data, caption, finding)


def _corruption_finding(mean: pd.DataFrame, variants: Sequence[str]) -> str:
    level = mean.groupby("variant", sort=False)["auroc"].mean()
    alone = [v for v in variants if v.startswith("only ")]
    if "all" not in variants or not alone:
        return f"Mean AUROC is largest with {level.idxmax()} ({percent(level.max())})"
    best = max(alone, key=lambda v: float(level[v]))
    gap = paired_difference(mean[mean["variant"] == "all"], mean[mean["variant"] == best], "auroc")
    return f"All corruptions minus the best single one, {best.removeprefix('only ')}: {gap.text}"


def tab10(runs: Sequence[Run]) -> MadeTable:
    """Mean AUROC and accuracy against λ, and against the number of outliers."""
    frame = summary(runs)
    frame = frame[frame["outliers"] != "none"]
    modes = list(by_outliers(frame))
    metrics = ("auroc", "accuracy")
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
        cells = best_of_columns(
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
    finding = _largest(sweeps, modes)
    columns = (Column("value"), *mode_columns(metrics, modes))
    caption = (
        f"{finding} ({setting_name(runs[0].experiment)}; "
        f"{budget_note(next(iter(sweeps.values())), runs)}). {cells_note(frame)}"
    )
    data = pd.concat(
        [
            over_seeds(part, ["outliers", "value"], metrics).assign(setting=name)
            for name, part in sweeps.items()
        ],
        ignore_index=True,
    )
    return MadeTable(columns, tuple(rows), data, caption, finding)


def _largest(sweeps: dict[str, pd.DataFrame], modes: Sequence[str]) -> str:
    parts = []
    for name, part in sweeps.items():
        level = part.groupby(["outliers", "value"])["auroc"].mean()
        swept = [m for m in modes if m in level.index and len(level[m]) > 1]
        parts.append(f"{name} " + listed([f"{level[m].idxmax():g} ({MODES[m]})" for m in swept]))
    return "Mean AUROC is largest at " + "; ".join(parts)
