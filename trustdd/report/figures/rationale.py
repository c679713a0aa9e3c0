"""What outliers cost and why they help: InD accuracy (fig04), equal budget and random (fig05)."""

from __future__ import annotations

import pandas as pd

from trustdd.report import style
from trustdd.report.analysis.gains import (
    SETTING,
    first_setting,
    gains_by_setting,
    gains_in_words,
    gains_quoted,
)
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    compared,
    in_percent,
    over_seeds,
    paired_difference,
    signed,
)
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, dots, marks_note, share_axis
from trustdd.report.naming import METHODS, listed, opened, setting_name
from trustdd.report.results import MissingArtefacts
from trustdd.report.view import View


def fig04(view: View, width: float) -> MadeFigure:
    """InD accuracy per dataset, method, IPC and outlier mode."""
    frame = view.summary()
    distilled = frame[
        (frame["selection"] == "distilled") & (frame["outlier_selection"] == "distilled")
    ]
    if distilled.empty:
        raise MissingArtefacts("none of the runs is of a distilled set", (), "")
    settings = distilled[SETTING].drop_duplicates().reset_index(drop=True)
    gains = gains_by_setting(distilled, "accuracy")
    finding = _accuracy_finding(distilled, gains)
    random = frame[(frame["selection"] == "random") & (frame["outliers"] == "none")]
    full = frame[(frame["selection"] == "full") & (frame["outliers"] == "none")]
    modes = list(by_outliers(distilled))
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
    figure = style.canvas(width, 2.1, finding, handles)
    axes = figure.subplots()
    step = 0.7 / (len(modes) + (not random.empty))
    for place, row in settings.iterrows():
        here = by_outliers(distilled[(distilled[SETTING] == row).all(axis=1)])
        at = int(str(place))
        for index, mode in enumerate(modes):
            if mode in here:
                dots(axes, _at(at, index, step, len(modes)), here[mode]["accuracy"], mode)
        same = random[(random["dataset"] == row["dataset"]) & (random["ipc"] == row["ipc"])]
        if len(same):
            beside = _at(at, len(modes), step, len(modes))
            dots(axes, beside, same["accuracy"], "none", hollow=True)
        ceiling = full[full["dataset"] == row["dataset"]]["accuracy"]
        if len(ceiling):
            axes.hlines(
                ceiling.mean(), at - 0.45, at + 0.45, color=style.INK, linestyle=":", linewidth=1.2
            )
    names = [
        f"{row.dataset}\n{METHODS.get(str(row.method), row.method)}, IPC {row.ipc}"
        for row in settings.itertuples()
    ]
    axes.set_xticks(range(len(settings)), names)
    axes.set_xlim(-0.6, len(settings) - 0.4)
    axes.set_ylabel(axis_label(view, "accuracy"))
    kept = pd.concat([distilled, random, full])
    share_axis(axes, kept, [*SETTING, "selection", "outliers"], "accuracy")
    means = over_seeds(kept, [*SETTING, "selection", "outliers"], ["accuracy"])
    shown = view.with_keys(kept["key"])
    caption = f"Test accuracy of students on InD images. {marks_note(shown)}"
    if gains:
        caption += (
            " Difference from ordinary distillation, paired by seed: " + gains_in_words(gains) + "."
        )
    alt = "Dot plot of InD test accuracy. " + "; ".join(
        f"{row.dataset} {row.method} IPC {row.ipc}, {row.selection}, "
        f"{style.NAMES[str(row.outliers)]}: {in_percent(row.accuracy, row.accuracy_std)}"
        for row in means.itertuples()
    )
    quoted = gains_quoted(gains, "InD accuracy")
    return MadeFigure(figure, means, alt + ".", caption, finding, shown.runs, quoted)


def _at(place: int, index: int, step: float, count: int) -> float:
    return place + (index - (count - 1) / 2) * step


def _accuracy_finding(frame: pd.DataFrame, gains: dict[str, dict[str, Difference]]) -> str:
    """What outliers do to accuracy in the first setting, which is named."""
    name, same = first_setting(frame)
    if name not in gains:
        return f"InD accuracy, {name}: " + listed(
            [
                f"{in_percent(rows['accuracy'].mean())} ({style.NAMES[mode]})"
                for mode, rows in by_outliers(same).items()
            ]
        )
    text = f"InD accuracy beside ordinary distillation, {name}: " + listed(
        [f"{style.NAMES[m]} {signed(100 * g.mean)}" for m, g in gains[name].items()]
    )
    return text + " points"


def fig05(view: View, width: float) -> MadeFigure:
    """Equal budget: all InD, InD+OE, InD+POE; and outliers random against distilled."""
    frame = view.summary()
    base = view.experiment
    same = (frame["dataset"] == base.dataset) & (frame["method"] == base.method)
    frame = frame[same & (frame["selection"] == "distilled")]
    trusted = frame[(frame["outliers"] != "none") & (frame["outlier_selection"] == "distilled")]
    if trusted.empty:
        raise MissingArtefacts("fig05: no run with distilled outliers oe or poe", (), "")
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
    of_modes, of_drawn = by_outliers(trusted), by_outliers(drawn)
    # (panel, label, rows, mode, drawn at random)
    shown = [("a", f"all InD\n(IPC {budget})", plain, "none", False)]
    shown += [("a", f"InD +\n{style.NAMES[m]}", own, m, False) for m, own in of_modes.items()]
    for mode in of_modes:
        for selection, rows in (("R", of_drawn.get(mode)), ("D", of_modes[mode])):
            if rows is not None:
                shown.append(
                    ("b", f"{style.NAMES[mode]}-{selection}", rows, mode, selection == "R")
                )
    metric = view.metric
    budget_gaps = {m: paired_difference(own, plain, metric) for m, own in of_modes.items()}
    drawn_gaps = {
        m: paired_difference(of_modes[m], rows, metric)
        for m, rows in of_drawn.items()
        if m in of_modes
    }
    measure = view.measure(metric)
    finding = (
        f"{opened(measure)}, points by outliers at equal budget: "
        + listed([f"{signed(100 * g.mean)} ({style.NAMES[m]})" for m, g in budget_gaps.items()])
        + "; by distilling them: "
        + listed([f"{signed(100 * g.mean)} ({style.NAMES[m]})" for m, g in drawn_gaps.items()])
    )
    count = len(view.metrics)
    figure = style.canvas(width, 0.3 + 1.6 * count, finding)
    grid = figure.subplots(count, 2, sharex="col", squeeze=False)
    narrow = not style.wide(width)
    titles = {"a": "(a) equal budget", "b": "(b) R and D" if narrow else "(b) random and distilled"}
    for column, panel in enumerate(("a", "b")):
        entries = [entry for entry in shown if entry[0] == panel]
        for row, name in enumerate(view.metrics):
            axes = grid[row, column]
            for place, (_, _, rows, mode, hollow) in enumerate(entries):
                dots(axes, place, rows[name], mode, hollow=hollow)
            here = pd.concat([rows.assign(setting=label) for _, label, rows, _, _ in entries])
            share_axis(axes, here, ["setting"], name)
            axes.set_xlim(-0.5, len(entries) - 0.5)
            axes.set_xticks(
                range(len(entries)), [label for _, label, *_ in entries],
                fontsize=style.points(6.0 if narrow else 7.0),
            )  # fmt: skip
            if column == 0:
                axes.set_ylabel(axis_label(view, name))
        grid[0, column].set_title(titles[panel])
    kept = ["panel", "setting", "outliers", "outlier_selection", "ipc", "outlier_ipc", "seed"]
    every = pd.concat(
        [
            rows.assign(panel=panel, setting=label.replace("\n", " "))
            for panel, label, rows, _, _ in shown
        ],
        ignore_index=True,
    )
    chosen = view.with_keys(every["key"])
    caption = (
        f"(a) The same number of synthetic images per class, {budget}, as InD images alone or as "
        f"{ipc} InD images and {budget - ipc} outliers. (b) Outliers drawn at random (R, hollow) "
        f"or distilled (D). {setting_name(base)}; score: {view.score_name}, means "
        f"{view.over_sets}. {marks_note(chosen)} {opened(measure)}, paired by seed: "
        + "; ".join(f"{style.NAMES[m]} minus all InD {g.text}" for m, g in budget_gaps.items())
        + "; "
        + "; ".join(f"{style.NAMES[m]}-D minus {style.NAMES[m]}-R {g.text}, {compared(g)}"
                    for m, g in drawn_gaps.items())
        + "."
    )  # fmt: skip
    means = over_seeds(every, ["panel", "setting"], view.metrics)
    alt = "Dot plots of equal budgets and of random against distilled outliers. " + "; ".join(
        f"({row['panel']}) {row['setting']}: "
        + ", ".join(
            f"{view.measure(m)} {in_percent(row[m], row[f'{m}_std'])}" for m in view.metrics
        )
        for _, row in means.iterrows()
    )
    quoted: dict[str, float | Difference] = {
        f"{measure}, {style.NAMES[m]} minus all InD": g for m, g in budget_gaps.items()
    }
    quoted |= {f"{measure}, {style.NAMES[m]}-D minus -R": g for m, g in drawn_gaps.items()}
    for _, row in means.iterrows():
        for name in view.metrics:
            quoted[f"{view.measure(name)}, ({row['panel']}) {row['setting']}"] = row[name]
            quoted[f"its standard deviation, ({row['panel']}) {row['setting']}, {name}"] = row[
                f"{name}_std"
            ]
    quoted |= {"images per class": budget, "outliers": budget - ipc, "OOD sets": len(view.sets)}
    data = every[[*kept, *view.metrics]]
    return MadeFigure(figure, data, alt + ".", caption, finding, chosen.runs, quoted)
