"""What outliers cost and why they help: InD accuracy (tab07), random against distilled (tab08)."""

from __future__ import annotations

import pandas as pd

from trustdd.report.analysis.gains import (
    SETTING,
    first_setting,
    gains_by_setting,
    gains_quoted,
)
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    in_percent,
    over_seeds,
    paired_difference,
)
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Row, ranked
from trustdd.report.naming import MODES, listed, setting, setting_name
from trustdd.report.results import MissingArtefacts
from trustdd.report.tables.layout import (
    arrow,
    cells_note,
    gap_cell,
    measured,
    metric_column,
    rank_columns,
)
from trustdd.report.view import View


def tab07(view: View) -> MadeTable:
    """InD accuracy of every setting: each mode, random real images, the full training set."""
    frame = view.summary()
    whole = (frame["selection"] == "distilled") & (frame["outlier_selection"] == "distilled")
    distilled = frame[whole]
    if distilled.empty:
        raise MissingArtefacts("none of the runs is of a distilled set", (), "")
    random = frame[(frame["selection"] == "random") & (frame["outliers"] == "none")]
    full = frame[(frame["selection"] == "full") & (frame["outliers"] == "none")]
    modes = list(by_outliers(distilled))
    treated = [m for m in modes if m != "none" and "none" in modes]
    gains = gains_by_setting(distilled, "accuracy")
    rows: list[Row] = []
    for key, part in distilled.groupby(SETTING, sort=False):
        dataset, method, ipc = str(key[0]), str(key[1]), int(key[2])
        name = setting(dataset, method, ipc)
        cells: list[Cell] = [name]
        cells += ranked([measured(part[part["outliers"] == m], "accuracy") for m in modes])
        if not random.empty:
            same = random[(random["dataset"] == dataset) & (random["ipc"] == ipc)]
            cells.append(measured(same, "accuracy"))
        if not full.empty:
            cells.append(measured(full[full["dataset"] == dataset], "accuracy"))
        cells += [gap_cell(gains.get(name, {}).get(m)) for m in treated]
        rows.append(tuple(cells))
    columns = [Column("setting"), *(Column(MODES[m], "distilled", True) for m in modes)]
    columns += [Column("random images", "real", True)] * (not random.empty)
    columns += [Column("full data", "real", True)] * (not full.empty)
    columns += [Column(MODES[m], "minus ordinary DD", True) for m in treated]
    name, same = first_setting(distilled)
    quoted = gains_quoted(gains, "InD accuracy")
    if name in gains:
        finding = f"InD accuracy against ordinary DD, {name}: " + listed(
            [f"{MODES[m]} {gap.text}" for m, gap in gains[name].items()]
        )
    else:
        levels = {m: part["accuracy"].mean() for m, part in by_outliers(same).items()}
        quoted |= {f"InD accuracy, {MODES[m]}, {name}": value for m, value in levels.items()}
        finding = f"InD accuracy, {name}: " + listed(
            [f"{in_percent(value)} ({MODES[m]})" for m, value in levels.items()]
        )
    kept = pd.concat([distilled, random, full]).drop_duplicates("key")
    shown = view.with_keys(kept["key"])
    caption = (
        "Test accuracy on InD images; differences in points are paired by seed, with 95% "
        f"t-intervals in brackets. {cells_note(shown)}"
    )
    data = over_seeds(kept, [*SETTING, "selection", "outliers"], ["accuracy"])
    return MadeTable(tuple(columns), tuple(rows), data, caption, finding, shown.runs, quoted)


def tab08(view: View) -> MadeTable:
    """At one budget: all InD, and InD with random or distilled outliers; nothing distilled."""
    frame = view.summary()
    base = next((r.experiment for r in view if r.experiment.outliers != "none"), None)
    if base is None:
        raise MissingArtefacts("none of the runs has outliers", (), "")
    frame = frame[frame["dataset"] == base.dataset]
    budget = base.ipc + base.outlier_ipc
    metric, metrics = view.metric, view.metrics

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
    gains = {
        name: paired_difference(settings[name], settings[reference], metric)
        for name, reference in references.items()
    }
    cells = rank_columns(
        [[measured(part, name) for name in metrics] for part in settings.values()], metrics
    )
    rows: list[Row] = [
        (name, *row, gap_cell(gains.get(name))) for name, row in zip(settings, cells, strict=True)
    ]
    measure = view.measure(metric)
    finding = f"Distilled minus random outliers, {measure}: " + listed(
        [f"{name.removeprefix('InD + ').removesuffix('-D')} {g.text}" for name, g in gains.items()]
    )
    columns = (
        Column("training set"),
        *(metric_column(name) for name in metrics),
        Column("D minus R", metric_column(metric).group or f"AUROC {arrow(metric)}", True),
    )
    kept = pd.concat([part.assign(training_set=name) for name, part in settings.items()])
    shown = view.with_keys(kept["key"])
    caption = (
        f"Every row has {budget} images per class ({setting_name(base)}): InD images alone, or "
        f"{base.ipc} of them and {budget - base.ipc} outliers, drawn at random (R) or distilled "
        "(D). In the last rows nothing is distilled. Detection by the "
        f"{view.score_name} score, means {view.over_sets}. Differences of the {measure} are in "
        f"points, paired by seed, with 95% t-intervals in brackets. {cells_note(shown)}"
    )
    quoted: dict[str, float | Difference] = {
        f"{measure}, {name} minus {references[name]}": gap for name, gap in gains.items()
    }
    quoted |= {"images per class": budget, "outliers": budget - base.ipc,
               "OOD sets": len(view.sets)}  # fmt: skip
    data = over_seeds(kept, ["training_set"], metrics)
    return MadeTable(columns, tuple(rows), data, caption, finding, shown.runs, quoted)
