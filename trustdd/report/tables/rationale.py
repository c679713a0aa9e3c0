"""What outliers cost and why they help: InD accuracy (tab07), random against distilled (tab08)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.comparison import by_outliers, over_seeds, paired_difference, percent
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Measured, Row, mark_best
from trustdd.report.naming import MODES, listed, setting, setting_name
from trustdd.report.results import MissingArtefacts, summary
from trustdd.report.tables.layout import best_of_columns, cells_note, head, measured
from trustdd.store.run import Run

SETTING = ["dataset", "method", "ipc"]


def tab07(runs: Sequence[Run]) -> MadeTable:
    """InD accuracy of every setting: each mode, random real images, the full training set."""
    frame = summary(runs)
    whole = (frame["selection"] == "distilled") & (frame["outlier_selection"] == "distilled")
    distilled = frame[whole]
    random = frame[(frame["selection"] == "random") & (frame["outliers"] == "none")]
    full = frame[(frame["selection"] == "full") & (frame["outliers"] == "none")]
    modes = list(by_outliers(distilled))
    treated = [m for m in modes if m != "none" and "none" in modes]
    rows: list[Row] = []
    for key, part in distilled.groupby(SETTING, sort=False):
        dataset, method, ipc = str(key[0]), str(key[1]), int(key[2])
        cells: list[Cell] = [setting(dataset, method, ipc)]
        parts = {m: part[part["outliers"] == m] for m in modes}
        cells += mark_best([measured(parts[m], "accuracy") for m in modes])
        if not random.empty:
            same = random[(random["dataset"] == dataset) & (random["ipc"] == ipc)]
            cells.append(measured(same, "accuracy"))
        if not full.empty:
            cells.append(measured(full[full["dataset"] == dataset], "accuracy"))
        cells += [_gap(parts[m], parts["none"], "accuracy") for m in treated]
        rows.append(tuple(cells))
    columns = [Column("setting"), *(Column(MODES[m], "distilled", True) for m in modes)]
    columns += [Column("random images", "real", True)] * (not random.empty)
    columns += [Column("full data", "real", True)] * (not full.empty)
    columns += [Column(MODES[m], "minus ordinary DD", True) for m in treated]
    gaps = {
        m: paired_difference(
            distilled[distilled["outliers"] == m],
            distilled[distilled["outliers"] == "none"],
            "accuracy",
            SETTING,
        )
        for m in treated
    }
    finding = "InD accuracy " + (
        "against ordinary DD: " + listed([f"{MODES[m]} {g.text}" for m, g in gaps.items()])
        if gaps
        else percent(distilled["accuracy"].mean())
    )
    caption = (
        f"{finding}. Test accuracy; differences are paired by seed, with 95% t-intervals in "
        f"brackets. {cells_note(frame)}"
    )
    kept = pd.concat([distilled, random, full]).drop_duplicates("key")
    data = over_seeds(kept, [*SETTING, "selection", "outliers"], ["accuracy"])
    return MadeTable(tuple(columns), tuple(rows), data, caption, finding)


def _gap(treatment: pd.DataFrame, control: pd.DataFrame, metric: str) -> Measured | None:
    if treatment.empty or control.empty:
        return None
    gap = paired_difference(treatment, control, metric)
    return Measured(gap.mean, sign=True, interval=(gap.low, gap.high))


def tab08(runs: Sequence[Run]) -> MadeTable:
    """At one budget: all InD, and InD with random or distilled outliers; nothing distilled."""
    frame = summary(runs)
    base = next((r.experiment for r in runs if r.experiment.outliers != "none"), None)
    if base is None:
        raise MissingArtefacts("none of the runs has outliers", (), "")
    frame = frame[frame["dataset"] == base.dataset]
    budget = base.ipc + base.outlier_ipc
    metrics = ("accuracy", "auroc", "aupr_in", "fpr95")

    def pick(outliers: str, selection: str, outlier_selection: str, ipc: int) -> pd.DataFrame:
        own = (frame["outliers"] == outliers) & (frame["selection"] == selection)
        own &= (frame["ipc"] == ipc) & (frame["outlier_selection"] == outlier_selection)
        own &= frame["method"].eq(base.method)
        return frame[own]

    settings = {f"all InD, IPC {budget}": pick("none", "distilled", "distilled", budget)}
    references = {}
    for mode in ("oe", "poe"):
        name = MODES[mode]
        settings[f"InD + {name}-R"] = pick(mode, "distilled", "random", base.ipc)
        settings[f"InD + {name}-D"] = pick(mode, "distilled", "distilled", base.ipc)
        references[f"InD + {name}-D"] = f"InD + {name}-R"
    for mode in ("oe", "poe"):
        drawn = pick(mode, "random", "random", base.ipc)
        settings[f"random images + {MODES[mode]}-R"] = drawn
    settings = {name: part for name, part in settings.items() if not part.empty}
    references = {d: r for d, r in references.items() if d in settings and r in settings}
    if not references:
        raise MissingArtefacts(
            f"no pair of runs with random and with distilled outliers on {base.dataset}, "
            f"IPC {base.ipc}", (), "",
        )  # fmt: skip
    cells = best_of_columns(
        [[measured(part, metric) for metric in metrics] for part in settings.values()], metrics
    )
    rows: list[Row] = []
    for (name, part), row in zip(settings.items(), cells, strict=True):
        reference = references.get(name)
        gap = _gap(part, settings[reference], "auroc") if reference else None
        rows.append((name, *row, gap))
    gains = {
        name: paired_difference(settings[name], settings[reference], "auroc")
        for name, reference in references.items()
    }
    finding = "Distilled minus random outliers, mean AUROC: " + listed(
        [f"{name.removeprefix('InD + ').removesuffix('-D')} {g.text}" for name, g in gains.items()]
    )
    columns = (
        Column("training set"),
        *(Column(head(metric), "", True) for metric in metrics),
        Column("AUROC, D minus R", "", True),
    )
    caption = (
        f"{finding}. Every row has {budget} images per class ({setting_name(base)}): "
        f"InD images alone, or {base.ipc} of them and {budget - base.ipc} outliers, drawn at "
        "random (R) or distilled (D). In the last rows nothing is distilled. Differences are "
        f"paired by seed, with 95% t-intervals in brackets. {cells_note(frame)}"
    )
    kept = pd.concat([part.assign(training_set=name) for name, part in settings.items()])
    data = over_seeds(kept, ["training_set"], metrics)
    return MadeTable(columns, tuple(rows), data, caption, finding)
