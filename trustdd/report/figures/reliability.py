"""Can confidence be believed, and what does it cost: fig19 (calibration, risk), fig20 (cost)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.analysis.costs import costs
from trustdd.report.analysis.selective import (
    BINS,
    COVERAGES,
    reliability_curve,
    risk_curve,
    trust_measures,
)
from trustdd.report.comparison import over_seeds, percent, with_std
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import (
    MARKS_NOTE,
    METRIC_NAMES,
    band,
    dots,
    share_axis,
)
from trustdd.report.naming import listed, setting_name
from trustdd.report.results import by_mode, one_setting
from trustdd.store.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: fewer images than this make no point of the reliability diagram
FEWEST = 10


def fig19(runs: Sequence[Run], width: float) -> MadeFigure:
    """Reliability, expected calibration error, and risk–coverage with errors and OOD together."""
    chosen = one_setting(runs)
    modes = by_mode(chosen)
    measures = trust_measures(chosen)
    means = over_seeds(measures, ["outliers"], ["ece", "aurc"]).set_index("outliers")
    finding = "Mean selective risk with OOD inputs: " + listed(
        [f"{percent(means.loc[m, 'aurc'])} ({style.NAMES[m]})" for m in modes]
    )
    finding += "; ECE " + listed([percent(means.loc[m, "ece"]) for m in modes])
    handles = [style.mode_handle(mode) for mode in modes]
    columns = style.columns_that_fit(width, 3, 2.0)
    figure = style.canvas(width, 2.05 if columns == 3 else 5.2, finding, handles)
    first, second, third = style.panels(figure, 3, columns)
    first.plot([0, 1], [0, 1], color=style.GRID, zorder=0)
    table = []
    for place, (mode, members) in enumerate(modes.items()):
        curve = reliability_curve(members)
        curve = curve[curve["count"] >= FEWEST]
        first.plot(
            curve["confidence"], curve["accuracy"], color=style.COLOURS[mode],
            linestyle=style.LINES[mode], marker=style.MARKERS[mode], markersize=3,
        )  # fmt: skip
        rows = measures[measures["outliers"] == mode]
        dots(second, place, rows["ece"], mode)
        risks = np.stack([risk_curve(run) for run in members])
        band(third, COVERAGES, risks, mode, marks=False)
        table += [
            (mode, "reliability", x, y, np.nan)
            for x, y in zip(curve["confidence"], curve["accuracy"], strict=True)
        ]
        std = risks.std(axis=0, ddof=1) if len(risks) > 1 else np.full(risks.shape[1], np.nan)
        table += [
            (mode, "risk", x, y, s)
            for x, y, s in zip(COVERAGES, risks.mean(axis=0), std, strict=True)
        ]
    first.set_xlabel("confidence, MSP (%)")
    first.set_ylabel("accuracy (%)")
    first.set_title("reliability, InD")
    first.set_xlim(0, 1)
    first.set_ylim(0, 1.02)
    style.percent_axis(first.xaxis)
    style.percent_axis(first.yaxis)
    second.set_xticks(range(len(modes)), [style.NAMES[m].replace(" ", "\n") for m in modes])
    second.set_xlim(-0.6, len(modes) - 0.4)
    second.set_ylim(0, 1.25 * float(measures["ece"].max()))
    second.set_ylabel("ECE (%)")
    second.set_title("calibration, InD")
    style.percent_axis(second.yaxis)
    second.grid(axis="y")
    third.set_xlabel("coverage (%)")
    third.set_ylabel("selective risk (%)")
    third.set_title("InD and OOD, 1 to 1")
    third.set_xlim(0, 1)
    third.set_ylim(bottom=0)
    style.percent_axis(third.xaxis)
    style.percent_axis(third.yaxis)
    third.grid(axis="y")
    caption = (
        f"{finding} (both in percent). Left: accuracy by confidence in {BINS} bins of equal width, "
        f"seeds pooled, bins of {FEWEST} images or more. Middle: expected calibration error on "
        "InD test images. Right: share of accepted inputs that are wrong, errors on InD images "
        "and accepted OOD images together, when the most confident share is accepted; OOD inputs "
        "weigh as much as InD inputs, each set alike "
        f"({setting_name(chosen[0].experiment)}). {MARKS_NOTE}"
    )
    alt = "Reliability diagram, dot plot of ECE, and risk–coverage curves. " + " ".join(
        f"{style.NAMES[m]}: ECE {with_std(row['ece'], row['ece_std'])}%, mean selective risk "
        f"{with_std(row['aurc'], row['aurc_std'])}%."
        for m, row in means.iterrows()
    )
    data = pd.DataFrame(table, columns=["outliers", "curve", "x", "mean", "std"])
    return MadeFigure(figure, data, alt, caption, finding)


def fig20(runs: Sequence[Run], width: float) -> MadeFigure:
    """Accuracy and AUROC against storage and training time: distilled, random and full data."""
    frame = costs(runs)
    means = over_seeds(
        frame, ["selection", "outliers"], ["storage_kib", "training_seconds", "accuracy", "auroc"]
    )
    finding = _cost_finding(means)
    modes = list(by_mode(runs))
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    handles += [
        style.mode_handle("none", name, marker=marker, color=style.INK, linestyle="none",
                          markerfacecolor=style.CARD if hollow else style.INK)
        for name, marker, hollow in (("full data", "D", False), ("random images", "o", True))
        if name.split()[0] in set(frame["selection"])
    ]  # fmt: skip
    columns = style.columns_that_fit(width, 2, 2.4)
    figure = style.canvas(
        width, 2.1 if columns == 2 else 3.7, finding, handles, columns=3 if width < 5 else 0
    )
    axes = style.panels(figure, 2, columns)
    shown = (("storage_kib", "training set (KiB)"), ("training_seconds", "training a student (s)"))
    for panel, (column, label) in zip(axes, shown, strict=True):
        for row in means.itertuples():
            kind, mode = str(row.selection), str(row.outliers)
            ink = style.COLOURS[mode]
            panel.errorbar(
                [getattr(row, column)], [row.auroc], yerr=[np.nan_to_num(row.auroc_std)],
                marker="D" if kind == "full" else style.MARKERS[mode], color=ink, markersize=5.5,
                markerfacecolor=style.CARD if kind == "random" else ink, capsize=2,
                linestyle="none",
            )  # fmt: skip
        panel.set_xscale("log")
        _plain_log(panel)
        panel.set_xlabel(label)
        panel.set_ylabel(METRIC_NAMES["auroc"])
        share_axis(panel, frame, ["selection", "outliers"], "auroc")
    distilling = frame[frame["selection"] == "distilled"]["distillation_seconds"].mean()
    caption = (
        f"{finding}. Mean AUROC against the bytes of the training set, as stored, and against the "
        f"seconds that training a student takes, on the machine named in the record. Distilling "
        f"itself took {distilling:,.0f} s a run on average, once per set. Points are means over "
        "seeds, bars one standard deviation; colours are outlier modes."
    )
    alt = "Scatter plots of mean AUROC against storage and training time. " + "; ".join(
        f"{row.selection}, {style.NAMES[str(row.outliers)]}: {row.storage_kib:,.0f} KiB, "
        f"{row.training_seconds:,.1f} s, accuracy {percent(row.accuracy)}%, AUROC "
        f"{percent(row.auroc)}%"
        for row in means.itertuples()
    )
    return MadeFigure(figure, means, alt + ".", caption, finding)


def _plain_log(axes: Axes) -> None:
    """Label 1, 2, 5, 10, … on a logarithmic x axis as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    axes.set_xlim(low * 0.8, high * 1.25)
    # over many decades, powers of ten alone
    steps = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _cost_finding(means: pd.DataFrame) -> str:
    own = means[means["selection"] == "distilled"]
    full = means[(means["selection"] == "full")]
    if full.empty:
        return f"Distilled sets take {own['storage_kib'].max():,.0f} KiB at most"
    space = full["storage_kib"].mean() / own["storage_kib"].mean()
    time = full["training_seconds"].mean() / own["training_seconds"].mean()
    accuracy = full["accuracy"].max() - own["accuracy"].max()
    smaller = f"{_times(space)} {'smaller' if space > 1 else 'larger'} than the full data"
    faster = f"{_times(time)} {'faster' if time > 1 else 'slower'}"
    gap = f"{abs(100 * accuracy):.1f} points {'less' if accuracy > 0 else 'more'} accurate"
    return f"Distilled sets are {smaller}; students train {faster}, the best of them {gap}"


def _times(ratio: float) -> str:
    return f"{max(ratio, 1 / ratio):,.3g}×"
