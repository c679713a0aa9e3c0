"""What outliers cost and why they help: InD accuracy (fig04), equal budget and random (fig05)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    compared,
    over_seeds,
    paired_difference,
    percent,
    signed,
    with_std,
)
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import (
    MARKS_NOTE,
    METRIC_NAMES,
    dots,
    share_axis,
)
from trustdd.report.naming import METHODS, listed, setting_name
from trustdd.report.results import MissingArtefacts, by_mode, summary
from trustdd.store.run import Run

SETTING = ["dataset", "method", "ipc"]


def fig04(runs: Sequence[Run], width: float) -> MadeFigure:
    """InD accuracy per dataset, method and outlier mode."""
    frame = summary(runs)
    frame["kind"] = frame["selection"]
    distilled = frame[frame["selection"] == "distilled"]
    modes = list(by_mode(runs))
    settings = distilled[SETTING].drop_duplicates().reset_index(drop=True)
    gaps = {
        mode: paired_difference(
            distilled[distilled["outliers"] == mode],
            distilled[distilled["outliers"] == "none"],
            "accuracy",
            SETTING,
        )
        for mode in modes
        if mode != "none" and "none" in modes
    }
    finding = _accuracy_finding(distilled, gaps)
    random = frame[frame["selection"] == "random"]
    full = frame[(frame["selection"] == "full") & (frame["outliers"] == "none")]
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    if not random.empty:
        handles.append(
            style.mode_handle("none", "random real images", linestyle="none",
                              markerfacecolor=style.CARD)
        )  # fmt: skip
    if not full.empty:
        handles.append(
            style.mode_handle("none", "full data", marker="", color=style.INK, linestyle=":")
        )
    figure = style.canvas(width, 2.1, finding, handles, columns=3 if width < 5 else 0)
    axes = figure.subplots()
    step = 0.7 / (len(modes) + (not random.empty))
    for place, setting in settings.iterrows():
        here = distilled[(distilled[SETTING] == setting).all(axis=1)]
        for index, mode in enumerate(modes):
            values = here[here["outliers"] == mode]["accuracy"]
            if len(values):
                dots(axes, _at(int(str(place)), index, step, len(modes)), values, mode)
        same = random[(random["dataset"] == setting["dataset"]) & (random["ipc"] == setting["ipc"])]
        values = same[same["outliers"] == "none"]["accuracy"]
        if len(values):
            at = _at(int(str(place)), len(modes), step, len(modes))
            dots(axes, at, values, "none", hollow=True)
        ceiling = full[full["dataset"] == setting["dataset"]]["accuracy"]
        if len(ceiling):
            axes.hlines(
                ceiling.mean(), int(str(place)) - 0.45, int(str(place)) + 0.45, color=style.INK,
                linestyle=":", linewidth=1.2,
            )  # fmt: skip
    names = [
        f"{row.dataset}\n{METHODS.get(row.method, row.method)}, IPC {row.ipc}"
        for row in settings.itertuples()
    ]
    axes.set_xticks(range(len(settings)), names)
    axes.set_xlim(-0.6, len(settings) - 0.4)
    axes.set_ylabel(METRIC_NAMES["accuracy"])
    share_axis(axes, frame, [*SETTING, "selection", "outliers"], "accuracy")
    means = over_seeds(frame, [*SETTING, "selection", "outliers"], ["accuracy"])
    caption = (
        f"{finding}. Test accuracy of students on InD images. {MARKS_NOTE} "
        "Difference from ordinary distillation, paired by seed: "
        + "; ".join(f"{style.NAMES[m]} {g.text}" for m, g in gaps.items())
        + "."
    )
    alt = "Dot plot of InD test accuracy in percent. " + "; ".join(
        f"{row.dataset} {row.method} IPC {row.ipc}, {row.selection}, "
        f"{style.NAMES[row.outliers]}: {with_std(row.accuracy, row.accuracy_std)}"
        for row in means.itertuples()
    )
    return MadeFigure(figure, means, alt + ".", caption, finding)


def _at(place: int, index: int, step: float, count: int) -> float:
    return place + (index - (count - 1) / 2) * step


def _accuracy_finding(frame: pd.DataFrame, gaps: dict[str, Difference]) -> str:
    if not gaps:
        return f"InD accuracy {percent(frame['accuracy'].mean())}%"
    text = "InD accuracy beside ordinary distillation: " + listed(
        [f"{style.NAMES[m]} {signed(100 * g.mean)}" for m, g in gaps.items()]
    )
    return text + " points"


def fig05(runs: Sequence[Run], width: float) -> MadeFigure:
    """Equal budget: all InD, InD+OE, InD+POE; and outliers random against distilled."""
    frame = summary(runs)
    base = runs[0].experiment
    same = (frame["dataset"] == base.dataset) & (frame["method"] == base.method)
    frame = frame[same & (frame["selection"] == "distilled")]
    trusted = frame[(frame["outliers"] != "none") & (frame["outlier_selection"] == "distilled")]
    ipc = int(trusted["ipc"].iloc[0])
    trusted = trusted[trusted["ipc"] == ipc]
    budget = ipc + int(trusted["outlier_ipc"].iloc[0])
    plain = frame[(frame["outliers"] == "none") & (frame["ipc"] == budget)]
    drawn = frame[
        (frame["outliers"] != "none")
        & (frame["outlier_selection"] == "random")
        & (frame["ipc"] == ipc)
    ]
    if plain.empty or drawn.empty:
        lacking = "outliers none at the same budget" if plain.empty else "random outliers"
        raise MissingArtefacts(
            f"fig05: no run with {lacking} ({base.dataset}, IPC {budget if plain.empty else ipc})",
            (), "",
        )  # fmt: skip
    modes = [m for m in by_outliers(trusted) if m != "none"]
    # (panel, label, rows, mode, drawn at random)
    shown = [("a", f"all InD\n(IPC {budget})", plain, "none", False)]
    for mode in modes:
        own = trusted[trusted["outliers"] == mode]
        shown.append(("a", f"InD +\n{style.NAMES[mode]}", own, mode, False))
    for mode in modes:
        for selection, rows in (("R", drawn), ("D", trusted)):
            name = f"{style.NAMES[mode]}-{selection}"
            shown.append(("b", name, rows[rows["outliers"] == mode], mode, selection == "R"))
    budget_gaps = {
        m: paired_difference(trusted[trusted["outliers"] == m], plain, "auroc") for m in modes
    }
    drawn_gaps = {
        m: paired_difference(
            trusted[trusted["outliers"] == m], drawn[drawn["outliers"] == m], "auroc"
        )
        for m in modes
    }
    finding = (
        "Mean AUROC, points gained by outliers at equal budget: "
        + listed([f"{signed(100 * g.mean)} ({style.NAMES[m]})" for m, g in budget_gaps.items()])
        + "; by distilling them: "
        + listed([signed(100 * g.mean) for g in drawn_gaps.values()])
    )
    figure = style.canvas(width, 3.5, finding)
    grid = figure.subplots(2, 2, sharex="col", squeeze=False)
    narrow = width < 5
    titles = {"a": "(a) equal budget", "b": "(b) R and D" if narrow else "(b) random and distilled"}
    for column, panel in enumerate(("a", "b")):
        entries = [entry for entry in shown if entry[0] == panel]
        for row, metric in enumerate(("auroc", "accuracy")):
            axes = grid[row, column]
            for place, (_, _, rows, mode, hollow) in enumerate(entries):
                dots(axes, place, rows[metric], mode, hollow=hollow)
            drawn = pd.concat([rows.assign(setting=label) for _, label, rows, _, _ in entries])
            share_axis(axes, drawn, ["setting"], metric)
            axes.set_xlim(-0.5, len(entries) - 0.5)
            axes.set_xticks(
                range(len(entries)), [label for _, label, *_ in entries],
                fontsize=5.8 if narrow else 7.0,
            )  # fmt: skip
            if column == 0:
                axes.set_ylabel(METRIC_NAMES[metric])
        grid[0, column].set_title(titles[panel])
    caption = (
        f"{finding}. (a) The same number of synthetic images per class, {budget}, as InD images "
        f"alone or as {ipc} InD images and {budget - ipc} outliers. (b) Outliers drawn at random "
        f"(R, hollow) or distilled (D). {setting_name(base)}. {MARKS_NOTE} Mean AUROC, paired by "
        "seed: "
        + "; ".join(f"{style.NAMES[m]} minus all InD {g.text}" for m, g in budget_gaps.items())
        + "; "
        + "; ".join(f"{style.NAMES[m]}-D minus {style.NAMES[m]}-R {g.text}, {compared(g)}"
                    for m, g in drawn_gaps.items())
        + "."
    )  # fmt: skip
    data = pd.concat(
        [
            rows.assign(panel=panel, setting=label.replace("\n", " "))
            for panel, label, rows, _, _ in shown
        ],
        ignore_index=True,
    )[["panel", "setting", "outliers", "outlier_selection", "ipc", "outlier_ipc", "seed",
       "auroc", "accuracy"]]  # fmt: skip
    means = over_seeds(data, ["panel", "setting"], ["auroc", "accuracy"])
    alt = "Dot plots of mean AUROC and InD accuracy in percent. " + "; ".join(
        f"({row.panel}) {row.setting}: AUROC {with_std(row.auroc, row.auroc_std)}, accuracy "
        f"{with_std(row.accuracy, row.accuracy_std)}"
        for row in means.itertuples()
    )
    return MadeFigure(figure, data, alt + ".", caption, finding)
