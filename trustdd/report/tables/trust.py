"""Beyond detection: transfer (tab12), calibration and selective risk (tab13), cost (tab14)."""

from __future__ import annotations

from trustdd.report.analysis.costs import costs
from trustdd.report.analysis.selective import BINS, trust_measures
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    in_percent,
    over_seeds,
    paired_difference,
)
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Measured, Row
from trustdd.report.naming import (
    METHODS,
    METRICS,
    MODES,
    NETWORKS,
    OUTLIERS,
    listed,
    opened,
    setting_name,
)
from trustdd.report.tables.layout import (
    cells_note,
    gap_cell,
    measured,
    metric_column,
    mode_cells,
    mode_columns,
    rank_columns,
)
from trustdd.report.view import View


def tab12(view: View) -> MadeTable:
    """Detection and accuracy of students of other architectures."""
    chosen = view.one_setting()
    frame = chosen.per_run(["network"], "transfer.csv")
    modes = list(by_outliers(frame))
    metric, metrics = chosen.metric, chosen.metrics
    networks = list(dict.fromkeys(frame["network"]))
    rows: list[Row] = [
        (NETWORKS.get(n, n), *mode_cells(frame[frame["network"] == n], metrics, modes))
        for n in networks
    ]
    others = frame[frame["network"] != "convnet"]
    # the architectures of a seed count as their mean
    means = others.groupby(["outliers", "seed"], sort=False)[metric].mean().reset_index()
    parts = by_outliers(means)
    plain = parts.pop("none", None)
    measure = chosen.measure(metric)
    quoted: dict[str, float | Difference] = {"OOD sets": len(chosen.sets)}
    if plain is not None and parts:
        gains = {m: paired_difference(part, plain, metric) for m, part in parts.items()}
        finding = f"{opened(measure)} against ordinary DD, mean over the other architectures: "
        finding += listed([f"{MODES[m]} {g.text}" for m, g in gains.items()])
        quoted |= {f"{measure}, {MODES[m]} minus ordinary DD": g for m, g in gains.items()}
    else:
        levels = {m: part[metric].mean() for m, part in by_outliers(means).items()}
        finding = f"{opened(measure)}, mean over the other architectures: "
        finding += listed([f"{in_percent(v)} ({MODES[m]})" for m, v in levels.items()])
        quoted |= {f"{measure}, {MODES[m]}": value for m, value in levels.items()}
    caption = (
        "Students of each architecture trained on the sets that were distilled with a ConvNet "
        f"({setting_name(chosen.experiment)}); detection by the {chosen.score_name} score, means "
        f"{chosen.over_sets}. {cells_note(chosen)}"
    )
    data = over_seeds(frame, ["network", "outliers"], metrics)
    columns = (Column("architecture"), *mode_columns(metrics, modes))
    return MadeTable(columns, tuple(rows), data, caption, finding, chosen.runs, quoted)


def tab13(view: View) -> MadeTable:
    """ECE and selective risk per mode, and their differences from ordinary distillation."""
    chosen = view.one_setting()
    frame = trust_measures(chosen)
    metrics = ("ece", "aurc_in", "aurc")
    parts = by_outliers(frame)
    cells = rank_columns([[measured(p, x) for x in metrics] for p in parts.values()], metrics)
    gaps = {
        (mode, metric): paired_difference(part, parts["none"], metric)
        for mode, part in parts.items()
        for metric in ("ece", "aurc")
        if mode != "none" and "none" in parts
    }
    rows: list[Row] = [
        (MODES[mode], *row, *(gap_cell(gaps.get((mode, metric))) for metric in ("ece", "aurc")))
        for mode, row in zip(parts, cells, strict=True)
    ]
    means = {m: part[["ece", "aurc"]].mean() for m, part in parts.items()}
    finding = "ECE is " + listed([f"{in_percent(v['ece'])} ({MODES[m]})" for m, v in means.items()])
    finding += ", mean selective risk with OOD inputs " + listed(
        [f"{in_percent(v['aurc'])} ({MODES[m]})" for m, v in means.items()]
    )
    columns = (
        Column("outliers"), Column("ECE ↓", "InD", True), Column("risk ↓", "InD", True),
        Column("risk ↓", "InD and OOD", True),
        Column("ECE", "minus ordinary DD", True),
        Column("risk with OOD", "minus ordinary DD", True),
    )  # fmt: skip
    caption = (
        f"ECE in {BINS} bins of the MSP on InD test images; risk is the area under the "
        f"risk–coverage curve when the highest {chosen.score_name} is accepted first, on InD "
        "images alone and with OOD inputs that weigh as much, each set alike "
        f"({setting_name(chosen.experiment)}; {chosen.over_sets}). Differences in points are "
        f"paired by seed, with 95% t-intervals in brackets. {cells_note(chosen)}"
    )
    quoted: dict[str, float | Difference] = {"bins": BINS, "OOD sets": len(chosen.sets)}
    for mode, value in means.items():
        quoted |= {f"ECE, {MODES[mode]}": value["ece"], f"risk, {MODES[mode]}": value["aurc"]}
    quoted |= {f"{x}, {MODES[m]} minus ordinary DD": gap for (m, x), gap in gaps.items()}
    data = over_seeds(frame, ["outliers"], metrics)
    return MadeTable(columns, tuple(rows), data, caption, finding, chosen.runs, quoted)


def tab14(view: View) -> MadeTable:
    """What each training set costs, and what its students reach."""
    frame = costs(view)
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
        rows.append((*cells, *(measured(part, name) for name in ("accuracy", *view.metrics))))
    own = frame[frame["selection"] == "distilled"]
    full = frame[frame["selection"] == "full"]
    quoted: dict[str, float | Difference] = {"OOD sets": len(view.sets)}
    said = []
    for part, name in ((own, "A distilled set"), (full, "the full data")):
        if part.empty:
            continue
        space, time = part["storage_kib"].mean(), part["training_seconds"].mean()
        said.append(f"{name} {space:,.0f} KiB and {time:,.1f} s")
        quoted |= {f"KiB, {name}": space, f"seconds of training on {name}": time}
    finding = opened(f"{', '.join(said)} to train on, means over modes")
    finding = finding.replace("A distilled set ", "A distilled set takes ", 1)
    columns = (
        Column("training set"), Column("images", "", True), Column("storage (KiB)", "", True),
        Column("distilling (s)", "", True), Column("training (s)", "", True),
        Column("peak memory (MiB)", "", True), metric_column("accuracy"),
        *(metric_column(metric) for metric in view.metrics),
    )  # fmt: skip
    caption = (
        "Images include outliers; storage is a byte a value for real images and two for synthetic "
        "ones; memory is that of the process that distilled, or trained on the full data. Times "
        "are wall time on the machine that the record names. "
        f"{listed([METRICS[m] for m in view.metrics])} by the {view.score_name} score, means "
        f"{view.over_sets}. Shares: {cells_note(view)[:1].lower()}{cells_note(view)[1:]}"
    )
    data = over_seeds(frame, by, ["training_images", *amounts, "accuracy", *view.metrics])
    return MadeTable(columns, tuple(rows), data, caption, finding, view.runs, quoted)
