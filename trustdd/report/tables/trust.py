"""Beyond detection: transfer (tab12), calibration and selective risk (tab13), cost (tab14)."""

from __future__ import annotations

from collections.abc import Sequence

from trustdd.report.analysis.costs import costs
from trustdd.report.analysis.selective import BINS, trust_measures
from trustdd.report.comparison import by_outliers, over_seeds, paired_difference, percent
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Measured, Row
from trustdd.report.naming import METHODS, MODES, NETWORKS, OUTLIERS, listed, setting_name
from trustdd.report.results import one_setting, per_run, reports
from trustdd.report.tables.layout import (
    best_of_columns,
    cells_note,
    measured,
    mode_cells,
    mode_columns,
)
from trustdd.store.run import Run


def tab12(runs: Sequence[Run]) -> MadeTable:
    """Accuracy and mean AUROC of students of other architectures."""
    chosen = one_setting(runs)
    frame = per_run(reports(chosen, "transfer.csv"), ["network"])
    modes = list(by_outliers(frame))
    metrics = ("accuracy", "auroc")
    networks = list(dict.fromkeys(frame["network"]))
    rows: list[Row] = [
        (NETWORKS.get(n, n), *mode_cells(frame[frame["network"] == n], metrics, modes))
        for n in networks
    ]
    others = frame[frame["network"] != "convnet"]
    plain = others[others["outliers"] == "none"]
    gains = {
        m: paired_difference(
            others[others["outliers"] == m].groupby("seed")["auroc"].mean().reset_index(),
            plain.groupby("seed")["auroc"].mean().reset_index(),
            "auroc",
        )
        for m in modes
        if m != "none" and not plain.empty
    }
    finding = "Mean AUROC against ordinary DD, mean over the other architectures: " + listed(
        [f"{MODES[m]} {g.text}" for m, g in gains.items()]
    )
    caption = (
        f"{finding}. Students of each architecture trained on the sets that were distilled with a "
        f"ConvNet ({setting_name(chosen[0].experiment)}). {cells_note(frame)}"
    )
    data = over_seeds(frame, ["network", "outliers"], metrics)
    columns = (Column("architecture"), *mode_columns(metrics, modes))
    return MadeTable(columns, tuple(rows), data, caption, finding)


def tab13(runs: Sequence[Run]) -> MadeTable:
    """ECE and selective risk per mode, and their differences from ordinary distillation."""
    chosen = one_setting(runs)
    frame = trust_measures(chosen)
    modes = list(by_outliers(frame))
    metrics = ("ece", "aurc_in", "aurc")
    parts = {m: frame[frame["outliers"] == m] for m in modes}
    cells = best_of_columns([[measured(parts[m], x) for x in metrics] for m in modes], metrics)
    rows: list[Row] = []
    for mode, row in zip(modes, cells, strict=True):
        gaps: list[Cell] = []
        for metric in ("ece", "aurc"):
            if mode == "none" or "none" not in modes:
                gaps.append(None)
                continue
            gap = paired_difference(parts[mode], parts["none"], metric)
            gaps.append(Measured(gap.mean, sign=True, interval=(gap.low, gap.high)))
        rows.append((MODES[mode], *row, *gaps))
    means = frame.groupby("outliers", sort=False)[["ece", "aurc"]].mean()
    finding = "ECE is " + listed([f"{percent(means.loc[m, 'ece'])} ({MODES[m]})" for m in modes])
    finding += ", mean selective risk with OOD inputs " + listed(
        [f"{percent(means.loc[m, 'aurc'])} ({MODES[m]})" for m in modes]
    )
    columns = (
        Column("outliers"), Column("ECE ↓", "InD", True), Column("risk ↓", "InD", True),
        Column("risk ↓", "InD and OOD", True),
        Column("ECE", "minus ordinary DD", True),
        Column("risk with OOD", "minus ordinary DD", True),
    )  # fmt: skip
    caption = (
        f"{finding} (in percent). ECE in {BINS} bins of the MSP on InD test images; risk is the "
        "area under the risk–coverage curve, on InD images alone and with OOD inputs that weigh "
        f"as much ({setting_name(chosen[0].experiment)}). Differences are paired by seed, with 95% "
        f"t-intervals in brackets. {cells_note(frame)}"
    )
    data = over_seeds(frame, ["outliers"], metrics)
    return MadeTable(columns, tuple(rows), data, caption, finding)


def tab14(runs: Sequence[Run]) -> MadeTable:
    """What each training set costs, and what its students reach."""
    frame = costs(runs)
    rows: list[Row] = []
    amounts = ("storage_kib", "distillation_seconds", "training_seconds", "peak_memory_mib")
    digits = {"storage_kib": 1, "distillation_seconds": 1, "training_seconds": 1}
    by = ["dataset", "ipc", "selection", "method", "outlier_selection", "outliers"]
    for key, part in frame.groupby(by, sort=False):
        dataset, ipc, selection, method, _, outliers = map(str, key)
        what = {"full": "full data", "random": f"random, IPC {ipc}"}.get(
            selection, f"{METHODS.get(method, method)}, IPC {ipc}"
        )
        cells: list[Cell] = [f"{dataset}, {what}, {OUTLIERS[outliers]}"]
        cells.append(Measured(float(part["training_images"].mean()), scale=1, digits=0))
        cells += [
            Measured(float(part[name].mean()), scale=1, digits=digits.get(name, 0))
            if part[name].notna().any()
            else None
            for name in amounts
        ]
        rows.append((*cells, measured(part, "accuracy"), measured(part, "auroc")))
    own = frame[frame["selection"] == "distilled"]
    full = frame[frame["selection"] == "full"]
    finding = (
        f"A distilled set takes {own['storage_kib'].mean():,.0f} KiB and "
        f"{own['training_seconds'].mean():,.1f} s to train on"
    )
    if not full.empty:
        finding += (
            f", the full data {full['storage_kib'].mean():,.0f} KiB and "
            f"{full['training_seconds'].mean():,.1f} s"
        )
    columns = (
        Column("training set"), Column("images", "", True), Column("storage (KiB)", "", True),
        Column("distilling (s)", "", True), Column("training (s)", "", True),
        Column("peak memory (MiB)", "", True), Column("accuracy ↑", "", True),
        Column("AUROC ↑", "", True),
    )  # fmt: skip
    caption = (
        f"{finding}, on average. Images include outliers; storage is a byte a value for real "
        "images and two for synthetic ones; memory is that of the process that distilled, or "
        "trained on the full data. Times are wall time on the machine that the record names. "
        f"{cells_note(frame)}"
    )
    data = over_seeds(frame, by, ["training_images", *amounts, "accuracy", "auroc"])
    return MadeTable(columns, tuple(rows), data, caption, finding)
