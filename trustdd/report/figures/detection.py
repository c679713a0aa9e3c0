"""How a student tells InD from OOD: confidence (fig02), ROC and PR (fig15), scores (fig16)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    compared,
    in_percent,
    over_seeds,
    paired_difference,
    with_std,
)
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, dots, lines_note, marks_note, share_axis
from trustdd.report.naming import METRICS, SCORE_AXES, SCORES, listed, ood_name, setting_name
from trustdd.report.results import SMALLER_IS_BETTER
from trustdd.report.view import View
from trustdd.store.run import Run

#: points of a drawn curve
GRID = np.linspace(0.0, 1.0, 101)
#: bins of a histogram, and the shares of a score without bounds that it reaches from and to
BINS, TAILS = 30, (0.002, 0.998)


def fig02(view: View, width: float) -> MadeFigure:
    """Distributions of the score on InD and OOD images, per mode."""
    from matplotlib.patches import Patch

    chosen = view.one_setting()
    modes = chosen.by_mode()
    means = over_seeds(chosen.summary(), ["outliers"], chosen.metrics).set_index("outliers")
    scores = {mode: _pooled(members) for mode, members in modes.items()}
    edges = _edges(chosen, scores)
    medians = {m: {part: _median(*parts[part]) for part in parts} for m, parts in scores.items()}
    finding = _confidence_finding({m: of["ood"] for m, of in medians.items()}, chosen.score_name)

    columns = style.columns_that_fit(width, len(modes), 1.9)
    rows = -(-len(modes) // columns)
    figure = style.canvas(width, (1.75 if columns > 1 else 1.35) * rows, finding)
    axes = style.panels(figure, len(modes), columns, sharex=True, sharey=True)
    table = []
    for panel, (mode, parts) in zip(axes, scores.items(), strict=True):
        colour = style.colour(mode)
        for part, ink in (("in", style.INK), ("ood", colour)):
            values, weights = parts[part]
            heights, _ = np.histogram(np.clip(values, *edges[[0, -1]]), edges, weights=weights)
            panel.stairs(heights, edges, fill=True, color=ink, alpha=0.1 if part == "in" else 0.6)
            panel.stairs(heights, edges, color=ink, linewidth=0.9)
            table += [
                (mode, part, left, right, height, len(modes[mode].seeds))
                for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True)
            ]
        panel.set_title(style.NAMES[mode], color=style.text_colour(mode))
        panel.set_xlim(edges[0], edges[-1])
        style.percent_axis(panel.yaxis)
        handles = [
            Patch(facecolor=style.GRID, edgecolor=style.INK, label="InD"),
            Patch(facecolor=colour, edgecolor=colour, alpha=0.7, label="OOD"),
        ]
        panel.legend(
            handles=handles, loc="upper center", handlelength=1.0,
            title="\n".join(_reached(chosen, means.loc[mode], metric) for metric in chosen.metrics),
            title_fontsize=style.points(7.0), alignment="left",
        )  # fmt: skip
    # room for the legend above the highest bar
    axes[0].set_ylim(top=axes[0].get_ylim()[1] * (1.25 + 0.12 * len(chosen.metrics)))
    for panel in axes[:: columns if columns > 1 else 1]:
        panel.set_ylabel("share of images (%)")
    for panel in axes[-columns:]:
        panel.set_xlabel(SCORE_AXES[chosen.selection.score])
    named = listed([METRICS[metric] for metric in chosen.metrics])
    spread = (
        f"± one standard deviation over {chosen.seeds_text}"
        if len(chosen.seeds) > 1
        else "of one seed"
    )
    caption = (
        f"Histograms of the {chosen.score_name} score that students give to InD test images and to "
        f"OOD images, every set weighted alike ({setting_name(chosen.experiment)}; seeds pooled; "
        f"the outermost bins hold what lies beyond them). {named}: means {chosen.over_sets}, in "
        f"percent, {spread}."
    )
    alt = (
        f"Histograms of the {chosen.score_name} score for InD and OOD images, one panel per "
        "outlier mode. "
    )
    alt += " ".join(
        f"{style.NAMES[mode]}: median {of['in']:.2f} on InD and {of['ood']:.2f} on OOD images, "
        + listed([f"{chosen.measure(m)} {in_percent(means.loc[mode, m])}" for m in chosen.metrics])
        + "."
        for mode, of in medians.items()
    )
    data = pd.DataFrame(
        table, columns=["outliers", "images", "score_from", "score_to", "share", "seeds"]
    )
    quoted: dict[str, float] = {
        f"median {chosen.score_name} on {part} images, {style.NAMES[mode]}": value
        for mode, of in medians.items()
        for part, value in of.items()
    }
    for metric in chosen.metrics:
        for mode, row in means.iterrows():
            quoted[f"{chosen.measure(metric)}, {style.NAMES[str(mode)]}"] = row[metric]
            quoted[f"its standard deviation, {style.NAMES[str(mode)]}, {metric}"] = row[
                f"{metric}_std"
            ]
    quoted["OOD sets"] = len(chosen.sets)
    return MadeFigure(figure, data, alt, caption, finding, chosen.runs, quoted)


def _reached(view: View, means: pd.Series, metric: str) -> str:
    return f"{METRICS[metric]} {with_std(means[metric], means[f'{metric}_std'])}"


def _edges(view: View, scores: Mapping[str, Mapping[str, tuple[np.ndarray, ...]]]) -> np.ndarray:
    """Edges of the bins: from a guess to certainty, or all that occurs but for the tails."""
    if view.selection.score == "msp":
        from trustdd.report.results import arrays

        classes = arrays(view[0], "logits.safetensors")["in"].shape[1]
        return np.linspace(1 / classes, 1, BINS + 1)
    values = np.concatenate([part[0] for parts in scores.values() for part in parts.values()])
    low, high = np.quantile(values, TAILS)
    return np.linspace(float(low), float(high), BINS + 1)


def _pooled(view: View) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores and weights: each run, in it each student and each OOD set, counts the same."""
    values: dict[str, list[np.ndarray]] = {"in": [], "ood": []}
    weights: dict[str, list[np.ndarray]] = {"in": [], "ood": []}
    for run in view:
        for student in range(run.experiment.students):
            scores = view.confidences(run, student)
            for name, shown in scores.items():
                part = "in" if name == "in" else "ood"
                values[part].append(shown)
                share = 1 / len(shown) / len(view) / run.experiment.students
                share /= 1 if part == "in" else len(scores) - 1
                weights[part].append(np.full(len(shown), share))
    return {p: (np.concatenate(values[p]), np.concatenate(weights[p])) for p in values}


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _confidence_finding(medians: Mapping[str, float], score: str) -> str:
    if "none" not in medians or len(medians) == 1:
        return f"Median {score} on OOD images: " + listed(
            [f"{value:.2f} ({style.NAMES[mode]})" for mode, value in medians.items()]
        )
    others = {m: v for m, v in medians.items() if m != "none"}
    to = listed([f"{v:.2f} ({style.NAMES[m]})" for m, v in others.items()])
    lower = [m for m, v in others.items() if v < medians["none"]]
    verb = "lower" if len(lower) == len(others) else "do not lower" if not lower else "change"
    return f"Outliers {verb} the median {score} on OOD images: {medians['none']:.2f} to {to}"


def fig15(view: View, width: float) -> MadeFigure:
    """ROC and precision–recall curves of every OOD set, one line per mode."""
    chosen = view.one_setting()
    modes = chosen.by_mode()
    sets = list(chosen.sets)
    frame = chosen.reports()
    curves: dict[tuple[str, str], np.ndarray] = {}
    for mode, members in modes.items():
        of_runs = [_curves(members, run) for run in members]
        curves |= {(mode, name): np.stack([of[name] for of in of_runs]) for name in sets}
    means = over_seeds(frame, ["outliers", "ood"], chosen.metrics)
    finding = _worst_set_finding(means, list(modes), chosen.metric)
    handles = [style.mode_handle(mode, marker="") for mode in modes]
    wide = style.wide(width)
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
                colour = style.colour(mode)
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
                panel.set_title(ood_name(name), fontsize=style.points(6.8))
            if place == 0 or not wide:
                panel.set_ylabel("TPR (%)" if kind == 0 else "precision (%)")
            if (wide or place == len(sets) - 1) and kind == 0:
                panel.set_xlabel("FPR (%)")
            if (wide or place == len(sets) - 1) and kind == 1:
                panel.set_xlabel("recall (%)")
    ratios = (frame["n_out"] / frame["n_in"]).round(2)
    caption = (
        f"ROC and precision–recall curves of the {chosen.score_name} score, InD as the positive "
        f"class ({setting_name(chosen.experiment)}). {lines_note(chosen)} Precision depends on the "
        f"ratio of OOD to InD images, here {_ratios(ratios)}."
    )
    alt = (
        "ROC and precision–recall curves for each OOD set. "
        + " ".join(
            f"{METRICS[metric]}, means over seeds: " + "; ".join(
                f"{ood_name(name)}: " + ", ".join(
                    f"{style.NAMES[m]} {in_percent(_cell(means, m, name, metric))}" for m in modes
                )
                for name in sets
            ) + "."
            for metric in chosen.metrics
        )
    )  # fmt: skip
    data = pd.DataFrame(
        [
            (mode, name, ("roc", "pr")[kind], x, mean, std, len(stack))
            for (mode, name), stack in curves.items()
            for kind in (0, 1)
            for x, mean, std in zip(GRID, stack[:, kind].mean(0), _std(stack[:, kind]), strict=True)
        ],
        columns=["outliers", "ood", "curve", "x", "mean", "std", "seeds"],
    )
    quoted: dict[str, float] = {
        f"{METRICS[metric]} on {ood_name(str(row['ood']))}, {style.NAMES[row['outliers']]}": row[
            metric
        ]
        for metric in chosen.metrics
        for _, row in means.iterrows()
    }
    quoted |= {"smallest ratio of OOD to InD": ratios.min(), "largest ratio": ratios.max()}
    return MadeFigure(figure, data, alt, caption, finding, chosen.runs, quoted)


def _std(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)


def _cell(means: pd.DataFrame, mode: str, name: str, metric: str) -> float:
    return float(means[(means["outliers"] == mode) & (means["ood"] == name)][metric].iloc[0])


def _curves(view: View, run: Run) -> dict[str, np.ndarray]:
    """TPR at each FPR and precision at each recall of `GRID`, ``[2, 101]`` a set; InD positive.

    The mean over the run's students.
    """
    each = [_curves_of(view, run, student) for student in range(run.experiment.students)]
    return {name: np.mean([of[name] for of in each], axis=0) for name in each[0]}


def _curves_of(view: View, run: Run, student: int) -> dict[str, np.ndarray]:
    from sklearn.metrics import precision_recall_curve, roc_curve

    scores = view.confidences(run, student)
    inside = scores.pop("in")
    found = {}
    for name, outside in scores.items():
        positive = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
        both = np.r_[inside, outside]
        false_rate, true_rate, _ = roc_curve(positive, both)
        precision, recall, _ = precision_recall_curve(positive, both)
        # at a recall between two thresholds, the precision of the next threshold that reaches it
        at = np.searchsorted(recall[::-1], GRID, side="left")
        found[name] = np.stack([np.interp(GRID, false_rate, true_rate), precision[::-1][at]])
    return found


def _ratios(ratios: pd.Series) -> str:
    low, high = ratios.min(), ratios.max()
    return f"{low:g} to 1" if low == high else f"{low:g} to 1 up to {high:g} to 1"


def _worst_set_finding(means: pd.DataFrame, modes: Sequence[str], metric: str) -> str:
    level = means.set_index(["outliers", "ood"])[metric]
    smaller = metric in SMALLER_IS_BETTER
    averages = {mode: float(level[mode].mean()) for mode in modes}
    best = min(averages, key=lambda m: averages[m] if smaller else -averages[m])
    hardest = str(level[best].idxmax() if smaller else level[best].idxmin())
    text = f"The hardest OOD set for {style.NAMES[best]} is {ood_name(hardest)}"
    text += f" ({METRICS[metric]} {in_percent(level[best, hardest])}"
    if best != "none" and "none" in modes:
        text += f"; ordinary DD {in_percent(level['none', hardest])}"
    return text + ")"


def fig16(view: View, width: float) -> MadeFigure:
    """Suite means of every detection score, per mode."""
    chosen = view.one_setting()
    modes = list(chosen.by_mode())
    frame = chosen.per_run(["score"])
    scores = list(dict.fromkeys(frame["score"]))
    finding, gap = _score_finding(chosen, frame, modes, scores)
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    figure = style.canvas(width, 0.3 + 1.9 * len(chosen.metrics), finding, handles)
    axes = style.panels(figure, len(chosen.metrics), 1, sharex=True)
    step = 0.8 / max(len(modes), 1)
    for panel, metric in zip(axes, chosen.metrics, strict=True):
        for place, score in enumerate(scores):
            for index, mode in enumerate(modes):
                rows = frame[(frame["score"] == score) & (frame["outliers"] == mode)]
                dots(panel, place + (index - (len(modes) - 1) / 2) * step, rows[metric], mode)
        panel.set_xticks(range(len(scores)), [SCORES.get(s, s) for s in scores])
        panel.set_xlim(-0.6, len(scores) - 0.4)
        panel.set_ylabel(axis_label(chosen, metric))
        share_axis(panel, frame, ["score", "outliers"], metric)
    means = over_seeds(frame, ["score", "outliers"], chosen.metrics)
    caption = (
        f"{listed([METRICS[m] for m in chosen.metrics])} of each detection score, means "
        f"{chosen.over_sets} ({setting_name(chosen.experiment)}). {marks_note(chosen)}"
    )
    alt = "Dot plot of each detection score. " + " ".join(
        f"{SCORES.get(score, score)}, {chosen.measure(metric)}: "
        + ", ".join(
            f"{style.NAMES[row['outliers']]} {in_percent(row[metric], row[f'{metric}_std'])}"
            for _, row in means[means["score"] == score].iterrows()
        )
        + "."
        for score in scores
        for metric in chosen.metrics
    )
    quoted: dict[str, float | Difference] = {"OOD sets": len(chosen.sets)}
    if gap is not None:
        quoted["best score minus MSP"] = gap
    return MadeFigure(figure, means, alt, caption, finding, chosen.runs, quoted)


def _score_finding(
    view: View, frame: pd.DataFrame, modes: Sequence[str], scores: Sequence[str]
) -> tuple[str, Difference | None]:
    """Which score detects best with outliers, and its paired difference from MSP."""
    metric = view.metric
    smaller = metric in SMALLER_IS_BETTER
    treated = next((m for m in ("poe", "oe") if m in modes), modes[0])
    own = by_outliers(frame)[treated]
    means = own.groupby("score", sort=False)[metric].mean()
    best = str(means.idxmin() if smaller else means.idxmax())
    name = SCORES.get(best, best)
    if len(scores) < 2 or best == "msp" or "msp" not in means:
        return (
            f"With {style.NAMES[treated]}, {name} detects best "
            f"({view.measure(metric)} {in_percent(means[best])})"
        ), None
    gap = paired_difference(own[own["score"] == best], own[own["score"] == "msp"], metric)
    return (
        f"With {style.NAMES[treated]}, {name} has the {'smallest' if smaller else 'largest'} "
        f"{view.measure(metric)}, {in_percent(means[best])}, {compared(gap)} "
        f"{'from' if 'different' in compared(gap) else 'than'} that of MSP, "
        f"{in_percent(means['msp'])}"
    ), gap
