"""Can confidence be believed, and what does it cost: fig19 (calibration, risk), fig20 (cost)."""

from __future__ import annotations

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
from trustdd.report.comparison import in_percent, over_seeds
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, band, dots, lines_note, marks_note, share_axis
from trustdd.report.naming import METRICS, MODES, listed, setting_name
from trustdd.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: fewer images than this make no point of the reliability diagram
FEWEST = 10


def fig19(view: View, width: float) -> MadeFigure:
    """Reliability, expected calibration error, and risk–coverage with errors and OOD together."""
    chosen = view.one_setting()
    modes = chosen.by_mode()
    measures = trust_measures(chosen)
    means = over_seeds(measures, ["outliers"], ["ece", "aurc"]).set_index("outliers")
    finding = "Mean selective risk with OOD inputs: " + listed(
        [f"{in_percent(means.loc[m, 'aurc'])} ({style.NAMES[m]})" for m in modes]
    )
    finding += "; ECE " + listed(
        [f"{in_percent(means.loc[m, 'ece'])} ({style.NAMES[m]})" for m in modes]
    )
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
            curve["confidence"], curve["accuracy"], color=style.colour(mode),
            linestyle=style.LINES[mode], marker=style.MARKERS[mode], markersize=3,
        )  # fmt: skip
        rows = measures[measures["outliers"] == mode]
        dots(second, place, rows["ece"], mode)
        risks = np.stack([risk_curve(chosen, run) for run in members])
        band(third, COVERAGES, risks, mode, marks=False)
        table += [
            (mode, "reliability", x, y, np.nan, len(members.seeds))
            for x, y in zip(curve["confidence"], curve["accuracy"], strict=True)
        ]
        std = risks.std(axis=0, ddof=1) if len(risks) > 1 else np.full(risks.shape[1], np.nan)
        table += [
            (mode, "risk", x, y, s, len(members.seeds))
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
        f"Left: accuracy by confidence (MSP) in {BINS} bins of equal width, seeds pooled, bins of "
        f"{FEWEST} images or more. Middle: expected calibration error (ECE) of the MSP on InD test "
        "images. Right: share of accepted inputs that are wrong, errors on InD images and accepted "
        f"OOD images together, when the share with the highest {chosen.score_name} is accepted; "
        "OOD inputs weigh as much as InD inputs, each set alike; the mean selective risk is that "
        f"{chosen.over_sets} ({setting_name(chosen.experiment)}). {marks_note(chosen)} "
        f"{lines_note(chosen)}"
    )
    alt = "Reliability diagram, dot plot of ECE, and risk–coverage curves. " + " ".join(
        f"{MODES[str(m)]}: ECE {in_percent(row['ece'], row['ece_std'])}, mean selective risk "
        f"{in_percent(row['aurc'], row['aurc_std'])}."
        for m, row in means.iterrows()
    )
    quoted: dict[str, float] = {"bins": BINS, "images of a bin": FEWEST}
    for mode, row in means.iterrows():
        for name, said in (("ece", "ECE"), ("aurc", "mean selective risk")):
            quoted[f"{said}, {MODES[str(mode)]}"] = row[name]
            quoted[f"{said}, standard deviation, {MODES[str(mode)]}"] = row[f"{name}_std"]
    quoted["OOD sets"] = len(chosen.sets)
    data = pd.DataFrame(table, columns=["outliers", "curve", "x", "mean", "std", "seeds"])
    return MadeFigure(figure, data, alt, caption, finding, chosen.runs, quoted)


def fig20(view: View, width: float) -> MadeFigure:
    """Detection against storage and training time: distilled, random and full data."""
    frame = costs(view)
    frame = frame[_one_budget(view, frame)]
    metric = view.metric
    amounts = ["storage_kib", "training_seconds", "accuracy", *view.metrics]
    means = over_seeds(frame, ["selection", "outliers"], list(dict.fromkeys(amounts)))
    finding, quoted = _cost_finding(means)
    modes = [mode for mode in MODES if mode in set(frame["outliers"])]
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    handles += [
        style.mode_handle("none", name, marker=marker, color=style.INK, linestyle="none",
                          markerfacecolor=style.CARD if hollow else style.INK)
        for name, marker, hollow in (("full data", "D", False), ("random images", "o", True))
        if name.split()[0] in set(frame["selection"])
    ]  # fmt: skip
    columns = style.columns_that_fit(width, 2, 2.4)
    figure = style.canvas(width, 2.1 if columns == 2 else 3.7, finding, handles)
    axes = style.panels(figure, 2, columns)
    shown = (("storage_kib", "training set (KiB)"), ("training_seconds", "training a student (s)"))
    for panel, (column, label) in zip(axes, shown, strict=True):
        for _, row in means.iterrows():
            kind, mode = str(row["selection"]), str(row["outliers"])
            ink = style.colour(mode)
            panel.errorbar(
                [row[column]], [row[metric]], yerr=[np.nan_to_num(row[f"{metric}_std"])],
                marker="D" if kind == "full" else style.MARKERS[mode], color=ink, markersize=5.5,
                markerfacecolor=style.CARD if kind == "random" else ink, capsize=2,
                linestyle="none",
            )  # fmt: skip
        panel.set_xscale("log")
        _plain_log(panel)
        panel.set_xlabel(label)
        panel.set_ylabel(axis_label(view, metric))
        share_axis(panel, frame, ["selection", "outliers"], metric)
    distilling = frame[frame["selection"] == "distilled"]["distillation_seconds"].mean()
    chosen = view.with_keys(frame["key"])
    caption = (
        f"{METRICS[metric]} by the {view.score_name} score, means {view.over_sets}, against the "
        "bytes of the training set, as stored, and against the seconds that training a student "
        f"takes, on the machine named in the record ({setting_name(chosen.experiment)}). "
        f"Distilling itself took {distilling:,.0f} s a run on average, once per set. Points are "
        f"means over {chosen.seeds_text}, bars one standard deviation over seeds; colours are "
        "outlier modes."
    )
    alt = "Scatter plots against storage and training time. " + "; ".join(
        f"{row['selection']}, {MODES[str(row['outliers'])]}: {row['storage_kib']:,.0f} KiB, "
        f"{row['training_seconds']:,.1f} s, accuracy {in_percent(row['accuracy'])}, "
        f"{view.measure(metric)} {in_percent(row[metric])}"
        for _, row in means.iterrows()
    )
    quoted |= {"seconds of a distillation": distilling, "OOD sets": len(view.sets)}
    return MadeFigure(figure, means, alt + ".", caption, finding, chosen.runs, quoted)


def _one_budget(view: View, frame: pd.DataFrame) -> pd.Series:
    """Rows of the first run's dataset, by its method and IPC where they are of distilled sets."""
    first = view.experiment
    same = (frame["dataset"] == first.dataset) & (frame["ipc"] == first.ipc)
    own = same & (frame["method"] == first.method)
    return own | (same & (frame["selection"] != "distilled")) | (
        (frame["dataset"] == first.dataset) & (frame["selection"] == "full")
    )  # fmt: skip


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


def _cost_finding(means: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """What a distilled set saves against the full data, means over the outlier modes."""
    own = means[means["selection"] == "distilled"]
    full = means[means["selection"] == "full"]
    if own.empty or full.empty:
        most = float(means["storage_kib"].max())
        return f"Training sets of {most:,.0f} KiB at most", {"largest training set, KiB": most}
    space = full["storage_kib"].mean() / own["storage_kib"].mean()
    time = full["training_seconds"].mean() / own["training_seconds"].mean()
    accuracy = full["accuracy"].max() - own["accuracy"].max()
    smaller = f"{_times(space)} {'smaller' if space > 1 else 'larger'} than the full data"
    faster = f"{_times(time)} {'faster' if time > 1 else 'slower'}"
    gap = f"{abs(100 * accuracy):.1f} points {'less' if accuracy > 0 else 'more'} accurate"
    return f"Distilled sets are {smaller}; students train {faster}, the best of them {gap}", {
        "times smaller, mean over modes": max(space, 1 / space),
        "times faster, mean over modes": max(time, 1 / time),
        "accuracy, best of full minus best of distilled": accuracy,
    }


def _times(ratio: float) -> str:
    return f"{max(ratio, 1 / ratio):,.3g}×"
