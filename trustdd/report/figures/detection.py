"""How a student tells InD from OOD: confidence (fig02), ROC and PR (fig15), scores (fig16)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.analysis.confidence import confidence_of
from trustdd.report.comparison import compared, over_seeds, paired_difference, percent, with_std
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import (
    MARKS_NOTE,
    METRIC_NAMES,
    dots,
    share_axis,
)
from trustdd.report.naming import SCORES, listed, ood_name, setting_name
from trustdd.report.results import (
    arrays,
    by_mode,
    one_setting,
    per_run,
    reports,
    summary,
)
from trustdd.store.run import Run

#: points of a drawn curve
GRID = np.linspace(0.0, 1.0, 101)


def fig02(runs: Sequence[Run], width: float) -> MadeFigure:
    """Distributions of the maximum softmax probability on InD and OOD images, per mode."""
    from matplotlib.patches import Patch

    chosen = one_setting(runs)
    modes = by_mode(chosen)
    means = over_seeds(summary(chosen), ["outliers"], ["auroc"]).set_index("outliers")
    confidences = {mode: _confidences(members) for mode, members in modes.items()}
    classes = arrays(chosen[0], "logits.safetensors")["in"].shape[1]
    edges = np.linspace(1 / classes, 1, 31)
    medians = {mode: _median(*parts["ood"]) for mode, parts in confidences.items()}
    finding = _confidence_finding(medians)

    columns = style.columns_that_fit(width, len(modes), 1.9)
    rows = -(-len(modes) // columns)
    figure = style.canvas(width, 1.75 * rows if columns > 1 else 1.25 * rows, finding)
    axes = style.panels(figure, len(modes), columns, sharex=True, sharey=True)
    table = []
    for panel, (mode, parts) in zip(axes, confidences.items(), strict=True):
        colour = style.COLOURS[mode]
        for part, ink in (("in", style.INK), ("ood", colour)):
            values, weights = parts[part]
            heights, _ = np.histogram(values, edges, weights=weights)
            panel.stairs(heights, edges, fill=True, color=ink, alpha=0.1 if part == "in" else 0.6)
            panel.stairs(heights, edges, color=ink, linewidth=0.9)
            table += [
                (mode, part, left, right, height)
                for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True)
            ]
        auroc = with_std(means.loc[mode, "auroc"], means.loc[mode, "auroc_std"])
        panel.set_title(f"{style.NAMES[mode]}: AUROC {auroc}", color=colour)
        panel.set_xlim(edges[0], 1.0)
        style.percent_axis(panel.yaxis)
        handles = [
            Patch(facecolor=style.GRID, edgecolor=style.INK, label="InD"),
            Patch(facecolor=colour, edgecolor=colour, alpha=0.7, label="OOD"),
        ]
        panel.legend(handles=handles, loc="upper center", handlelength=1.0)
    for panel in axes[:: columns if columns > 1 else 1]:
        panel.set_ylabel("share of images (%)")
    for panel in axes[-columns:]:
        panel.set_xlabel("maximum softmax probability")
    sets = len(chosen[0].experiment.ood)
    caption = (
        f"{finding}. Histograms of the maximum softmax probability (MSP) that students give to "
        f"InD test images and to OOD images, all {sets} OOD sets weighted alike "
        f"({setting_name(chosen[0].experiment)}; seeds pooled). AUROC is the mean over the sets, "
        "± one standard deviation over seeds."
    )
    alt = "Histograms of MSP for InD and OOD images, one panel per outlier mode. " + " ".join(
        f"{style.NAMES[mode]}: median MSP {_median(*parts['in']):.2f} on InD and "
        f"{medians[mode]:.2f} on OOD images, mean AUROC {percent(means.loc[mode, 'auroc'])}%."
        for mode, parts in confidences.items()
    )
    data = pd.DataFrame(table, columns=["outliers", "images", "msp_from", "msp_to", "share"])
    return MadeFigure(figure, data, alt, caption, finding)


def _confidences(runs: Sequence[Run]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """MSP values and weights: each run, and in it each OOD set, counts the same."""
    values: dict[str, list[np.ndarray]] = {"in": [], "ood": []}
    weights: dict[str, list[np.ndarray]] = {"in": [], "ood": []}
    for run in runs:
        logits = arrays(run, "logits.safetensors")
        sets = [name for name in logits if name.startswith("ood.")]
        for name in ("in", *sets):
            part = "in" if name == "in" else "ood"
            shown = confidence_of(logits[name])
            values[part].append(shown)
            share = 1 / len(shown) / len(runs) / (1 if part == "in" else len(sets))
            weights[part].append(np.full(len(shown), share))
    return {p: (np.concatenate(values[p]), np.concatenate(weights[p])) for p in values}


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _confidence_finding(medians: dict[str, float]) -> str:
    if "none" not in medians or len(medians) == 1:
        mode = next(iter(medians))
        return f"Median confidence on OOD images with {style.NAMES[mode]}: {medians[mode]:.2f}"
    others = {m: v for m, v in medians.items() if m != "none"}
    to = listed([f"{v:.2f} ({style.NAMES[m]})" for m, v in others.items()])
    lower = all(v < medians["none"] for v in others.values())
    verb = "lower" if lower else "do not lower"
    return f"Outliers {verb} the median confidence on OOD images: {medians['none']:.2f} to {to}"


def fig15(runs: Sequence[Run], width: float) -> MadeFigure:
    """ROC and precision–recall curves of every OOD set, one line per mode."""
    chosen = one_setting(runs)
    modes = by_mode(chosen)
    sets = list(chosen[0].experiment.ood)
    frame = reports(chosen)
    frame = frame[frame["score"] == "msp"]
    curves = {
        (mode, name): np.stack([_curves(run, name) for run in members])
        for mode, members in modes.items()
        for name in sets
    }
    finding = _worst_set_finding(frame, list(modes))
    handles = [style.mode_handle(mode, marker="") for mode in modes]
    wide = width >= 5
    across = len(sets) if wide else 2
    # wide: a column per set, ROC above PR; narrow: a row per set
    down = 2 if wide else len(sets)
    height = (1.28 if wide else 1.35) * down + 0.25
    figure = style.canvas(width, height, finding, handles)
    grid = figure.subplots(down, across, squeeze=False, sharey="row" if wide else False)
    for place, name in enumerate(sets):
        pair = (grid[0, place], grid[1, place]) if wide else (grid[place, 0], grid[place, 1])
        for kind, panel in enumerate(pair):
            for mode in modes:
                values = curves[mode, name][:, kind]
                mean = values.mean(axis=0)
                colour = style.COLOURS[mode]
                panel.plot(GRID, mean, color=colour, linestyle=style.LINES[mode], linewidth=1.1)
                if len(values) > 1:
                    std = values.std(axis=0, ddof=1)
                    low, high = np.clip(mean - std, 0, 1), np.clip(mean + std, 0, 1)
                    panel.fill_between(GRID, low, high, color=colour, alpha=0.15, linewidth=0)
            panel.set_xlim(-0.02, 1)
            panel.set_ylim(0, 1.03)
            panel.set_xticks([0, 0.5, 1])
            panel.set_yticks([0, 0.5, 1])
            style.percent_axis(panel.xaxis)
            style.percent_axis(panel.yaxis)
            if not wide and place < len(sets) - 1:
                panel.tick_params(labelbottom=False)
            if kind == 0:
                panel.plot([0, 1], [0, 1], color=style.GRID, linewidth=0.8, zorder=0)
                panel.set_title(ood_name(name), fontsize=6.8)
            if place == 0 or not wide:
                panel.set_ylabel("TPR (%)" if kind == 0 else "precision (%)")
            if (wide or place == len(sets) - 1) and kind == 0:
                panel.set_xlabel("FPR (%)")
            if (wide or place == len(sets) - 1) and kind == 1:
                panel.set_xlabel("recall (%)")
    means = over_seeds(frame, ["outliers", "ood"], ["auroc", "aupr_in", "fpr95"])
    caption = (
        f"{finding}. ROC and precision–recall curves of the MSP score, InD as the positive "
        f"class ({setting_name(chosen[0].experiment)}). Lines are means over seeds, bands one "
        f"standard deviation. Precision depends on the ratio of OOD to InD images, here "
        f"{_ratios(frame)}."
    )
    alt = "ROC and precision–recall curves for each OOD set. Mean AUROC in percent: " + "; ".join(
        f"{ood_name(name)}: "
        + ", ".join(
            f"{style.NAMES[m]} {percent(_cell(means, m, name))}" for m in modes
        )
        for name in sets
    )  # fmt: skip
    data = pd.DataFrame(
        [
            (mode, name, ("roc", "pr")[kind], x, mean, std)
            for (mode, name), stack in curves.items()
            for kind in (0, 1)
            for x, mean, std in zip(GRID, stack[:, kind].mean(0), _std(stack[:, kind]), strict=True)
        ],
        columns=["outliers", "ood", "curve", "x", "mean", "std"],
    )
    return MadeFigure(figure, data, alt + ".", caption, finding)


def _std(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)


def _cell(means: pd.DataFrame, mode: str, name: str) -> float:
    return float(means[(means["outliers"] == mode) & (means["ood"] == name)]["auroc"].iloc[0])


def _curves(run: Run, name: str) -> np.ndarray:
    """TPR at each FPR and precision at each recall of `GRID`, ``[2, 101]``; InD positive."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    logits = arrays(run, "logits.safetensors")
    inside, outside = confidence_of(logits["in"]), confidence_of(logits[f"ood.{name}"])
    positive = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    confidence = np.r_[inside, outside]
    false_rate, true_rate, _ = roc_curve(positive, confidence)
    precision, recall, _ = precision_recall_curve(positive, confidence)
    # at a recall between two thresholds, the precision of the next threshold that reaches it
    at = np.searchsorted(recall[::-1], GRID, side="left")
    return np.stack([np.interp(GRID, false_rate, true_rate), precision[::-1][at]])


def _ratios(frame: pd.DataFrame) -> str:
    ratios = (frame["n_out"] / frame["n_in"]).round(2)
    low, high = ratios.min(), ratios.max()
    return f"{low:g} to 1" if low == high else f"{low:g} to 1 up to {high:g} to 1"


def _worst_set_finding(frame: pd.DataFrame, modes: Sequence[str]) -> str:
    means = frame.groupby(["outliers", "ood"], sort=False)["auroc"].mean()
    best = max(modes, key=lambda m: float(means[m].mean()))
    hardest = str(means[best].idxmin())
    text = f"The hardest OOD set for {style.NAMES[best]} is {ood_name(hardest)}"
    text += f" (AUROC {percent(means[best, hardest])}"
    if best != "none" and "none" in modes:
        text += f"; ordinary DD {percent(means['none', hardest])}"
    return text + ")"


def fig16(runs: Sequence[Run], width: float) -> MadeFigure:
    """Mean AUROC of every detection score, per mode."""
    chosen = one_setting(runs)
    modes = list(by_mode(chosen))
    frames = [reports(chosen)]
    if all(run.has("detectors.csv") for run in chosen):
        frames.append(reports(chosen, "detectors.csv"))
    frame = per_run(pd.concat(frames, ignore_index=True), ["score"])
    scores = list(dict.fromkeys(frame["score"]))
    finding = _score_finding(frame, modes, scores)
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    figure = style.canvas(width, 2.2, finding, handles)
    axes = figure.subplots()
    step = 0.8 / max(len(modes), 1)
    for place, score in enumerate(scores):
        for index, mode in enumerate(modes):
            rows = frame[(frame["score"] == score) & (frame["outliers"] == mode)]
            dots(axes, place + (index - (len(modes) - 1) / 2) * step, rows["auroc"], mode)
    axes.set_xticks(range(len(scores)), [SCORES.get(s, s) for s in scores])
    axes.set_xlim(-0.6, len(scores) - 0.4)
    axes.set_ylabel(METRIC_NAMES["auroc"])
    share_axis(axes, frame, ["score", "outliers"], "auroc")
    means = over_seeds(frame, ["score", "outliers"], ["auroc", "fpr95"])
    caption = (
        f"{finding}. Mean AUROC over the OOD suite for each detection score "
        f"({setting_name(chosen[0].experiment)}). {MARKS_NOTE}"
    )
    alt = "Dot plot of mean AUROC in percent for each detection score. " + " ".join(
        f"{SCORES.get(score, score)}: "
        + ", ".join(
            f"{style.NAMES[row.outliers]} {with_std(row.auroc, row.auroc_std)}"
            for row in means[means["score"] == score].itertuples()
        )
        + "."
        for score in scores
    )
    return MadeFigure(figure, means, alt, caption, finding)


def _score_finding(frame: pd.DataFrame, modes: Sequence[str], scores: Sequence[str]) -> str:
    treated = next((m for m in ("poe", "oe") if m in modes), modes[0])
    own = frame[frame["outliers"] == treated]
    means = own.groupby("score", sort=False)["auroc"].mean()
    best = str(means.idxmax())
    name = SCORES.get(best, best)
    if len(scores) < 2 or best == "msp":
        return (
            f"With {style.NAMES[treated]}, {name} detects best (mean AUROC {percent(means[best])})"
        )
    gap = paired_difference(own[own["score"] == best], own[own["score"] == "msp"], "auroc")
    return (
        f"With {style.NAMES[treated]}, {name} has the largest mean AUROC, {percent(means[best])}, "
        f"{compared(gap)} {'from' if 'different' in compared(gap) else 'than'} that of MSP, "
        f"{percent(means['msp'])}"
    )
