"""One setting varied: λ (fig11), IPC (fig12), outlier budget (fig13), corruptions (fig14)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.analysis.ablations import (
    budget_note,
    corruption_finding,
    corruption_variants,
    varied,
)
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    in_percent,
    over_seeds,
    paired_difference,
    percent,
)
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, share_axis
from trustdd.report.naming import METRICS, listed, ood_name, opened, setting_name
from trustdd.report.results import SMALLER_IS_BETTER, MissingArtefacts
from trustdd.report.view import View


@dataclass(frozen=True)
class Sweep:
    """What a sweep varies.

    Attributes:
        id: the figure.
        column: on the x axis.
        label: of the x axis.
        word: the setting in a sentence, before its value.
        what: the setting in the caption.
    """

    id: str
    column: str
    label: str
    word: str
    what: str


def fig11(view: View, width: float) -> MadeFigure:
    """Detection and accuracy against the outlier weight λ."""
    sweep = Sweep("fig11", "outlier_weight", "outlier weight λ", "λ =", "the outlier weight λ")
    return _sweep(sweep, view, varied(view.summary(), "outlier_weight"), width)


def fig12(view: View, width: float) -> MadeFigure:
    """Detection and accuracy against images per class."""
    sweep = Sweep("fig12", "ipc", "images per class (IPC)", "IPC", "images per class")
    return _sweep(sweep, view, varied(view.summary(), "ipc", ["outlier_ipc"]), width)


def fig13(view: View, width: float) -> MadeFigure:
    """Detection and accuracy against the number of outliers per InD image."""
    sweep = Sweep(
        "fig13", "ratio", "outliers per InD image", "a ratio of", "the size of the outlier set"
    )
    frame = varied(view.summary(), "outlier_ipc")
    return _sweep(sweep, view, frame.assign(ratio=frame["outlier_ipc"] / frame["ipc"]), width)


def _sweep(sweep: Sweep, view: View, frame: pd.DataFrame, width: float) -> MadeFigure:
    parts = by_outliers(frame)
    # without outliers neither λ nor their number means anything: one level, drawn across
    flat = [m for m in parts if m == "none" and sweep.column != "ipc"]
    swept = frame[~frame["outliers"].isin(flat)]
    values = sorted(swept[sweep.column].unique())
    if len(values) < 2:
        raise MissingArtefacts(
            f"{sweep.id}: all runs have {sweep.word} {values[0] if values else '–'}; it needs runs "
            "at two values at least", (), "",
        )  # fmt: skip
    shown = view.with_keys(frame["key"])
    means = over_seeds(frame, ["outliers", sweep.column], view.metrics)
    finding, gaps = _sweep_finding(sweep, view, swept)
    handles = [
        style.mode_handle(mode, marker="" if mode in flat else style.MARKERS[mode])
        for mode in parts
    ]
    count = len(view.metrics)
    columns = style.columns_that_fit(width, count, 2.4)
    figure = style.canvas(width, 0.3 + 1.65 * -(-count // columns), finding, handles)
    axes = style.panels(figure, count, columns, sharex=True)
    for panel, metric in zip(axes, view.metrics, strict=True):
        for mode, rows in by_outliers(means).items():
            rows = rows.sort_values(sweep.column)
            colour = style.colour(mode)
            if mode in flat:
                level, std = rows[metric].iloc[0], rows[f"{metric}_std"].fillna(0).iloc[0]
                panel.axhline(level, color=colour, linestyle=style.LINES[mode])
                panel.axhspan(level - std, level + std, color=colour, alpha=0.15, linewidth=0)
                continue
            panel.errorbar(
                rows[sweep.column], rows[metric], yerr=rows[f"{metric}_std"].fillna(0),
                color=colour, linestyle=style.LINES[mode], marker=style.MARKERS[mode], capsize=2,
                elinewidth=1.0,
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xticks(values, [f"{v:g}" for v in values])
        panel.set_xticks([], minor=True)
        panel.set_ylabel(axis_label(view, metric))
        share_axis(panel, frame, ["outliers", sweep.column], metric)
    for panel in axes[-columns:]:
        panel.set_xlabel(sweep.label)
    spread = f"Markers are means over {shown.seeds_text}"
    spread += ", bars one standard deviation over seeds." if len(shown.seeds) > 1 else "."
    measured = listed([view.measure(metric) for metric in view.metrics])
    gap_words = "; ".join(f"{name}: {gap.text}" for name, gap in gaps.items())
    setting = setting_name(shown.experiment)
    if sweep.column == "ipc":
        setting = setting.rpartition(", IPC")[0]
    caption = (
        f"{opened(measured)} against {sweep.what} ({setting}; "
        f"{budget_note(frame, view)}); score: {view.score_name}, means {view.over_sets}. {spread}"
    )
    if gaps:
        caption += f" {opened(view.measure(view.metric))}, paired by seed: {gap_words}."
    alt = f"Line plots against {sweep.label}. " + "; ".join(
        f"{style.NAMES[row['outliers']]} at {row[sweep.column]:g}: "
        + ", ".join(
            f"{view.measure(m)} {in_percent(row[m], row[f'{m}_std'])}" for m in view.metrics
        )
        for _, row in means.iterrows()
    )
    quoted: dict[str, float | Difference] = {"OOD sets": len(view.sets), **gaps}
    return MadeFigure(figure, means, alt + ".", caption, finding, shown.runs, quoted)


def _sweep_finding(
    sweep: Sweep, view: View, frame: pd.DataFrame
) -> tuple[str, dict[str, Difference]]:
    """The finding, and the paired differences between the first and the best value."""
    metric = view.metric
    smaller = metric in SMALLER_IS_BETTER
    tops: dict[float, list[str]] = {}
    gaps = {}
    for mode, rows in by_outliers(frame).items():
        name = style.NAMES[mode]
        level = rows.groupby(sweep.column)[metric].mean()
        best, least = level.idxmin() if smaller else level.idxmax(), level.index.min()
        if len(level) < 2:
            continue
        tops.setdefault(float(best), []).append(f"{name} ({in_percent(level[best])})")
        if best != least:
            gaps[f"{name} at {best:g} minus at {least:g}"] = paired_difference(
                rows[rows[sweep.column] == best], rows[rows[sweep.column] == least], metric
            )
    finding = f"{opened(view.measure(metric))} is {'smallest' if smaller else 'largest'} at "
    finding += listed(
        [f"{sweep.word} {best:g} for {listed(names)}" for best, names in tops.items()]
    )
    return finding, gaps


# -- corruptions --------------------------------------------------------------------------------


def fig14(view: View, width: float) -> MadeFigure:
    """A measure per OOD set for each corruption alone and for all but one."""
    frame, variants = corruption_variants(view)
    metric = view.metric
    shown = view.with_keys(frame["key"])
    sets = list(dict.fromkeys(frame["ood"]))
    cells = frame.pivot_table(index="variant", columns="ood", values=metric, sort=False)
    table = cells.loc[variants, sets].assign(mean=lambda rows: rows.mean(axis=1))
    finding, quoted = corruption_finding(view, frame, variants)
    figure = style.canvas(width, 0.23 * len(variants) + 0.75, finding)
    axes = figure.subplots()
    values = table.to_numpy()
    smaller = metric in SMALLER_IS_BETTER
    image = axes.imshow(
        values, cmap="cividis_r" if smaller else "cividis", aspect="auto", interpolation="nearest"
    )
    middle = (float(values.min()) + float(values.max())) / 2
    for row, column in np.ndindex(values.shape):
        dark = (values[row, column] < middle) != smaller
        axes.text(
            column, row, percent(values[row, column]), ha="center", va="center",
            fontsize=style.points(6.3), color=style.ON_DARK if dark else style.ON_LIGHT,
            fontweight="bold" if column == len(sets) else "normal",
        )  # fmt: skip
    heads = [*(ood_name(s) for s in sets), "mean"]
    narrow = not style.wide(width)
    axes.set_xticks(
        range(len(heads)), heads, rotation=30 if narrow else 0, ha="right" if narrow else "center"
    )
    axes.set_yticks(range(len(variants)), variants)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row, variant in enumerate(variants[1:], start=1):
        if variant.split()[0] != variants[row - 1].split()[0]:
            axes.axhline(row - 0.5, color=style.CARD, linewidth=2.5)
    axes.axvline(len(sets) - 0.5, color=style.CARD, linewidth=2.5)
    bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.04, aspect=18)
    bar.set_label(f"{METRICS[metric]}, in %" if narrow else f"{METRICS[metric]} (%)")
    bar.outline.set_visible(False)
    style.percent_axis(bar.ax.yaxis)
    caption = (
        f"{METRICS[metric]} of POE students per OOD set and its mean {view.over_sets}, by the "
        f"corruptions that their outliers were distilled from ({setting_name(shown.experiment)}; "
        f"score: {view.score_name}; {budget_note(frame, view)}). Means over {shown.seeds_text}."
    )
    alt = f"Heat map of {METRICS[metric]}, corruptions by OOD sets. Means over the sets: "
    alt += "; ".join(f"{variant} {in_percent(value)}" for variant, value in table["mean"].items())
    means = over_seeds(frame, ["variant", "ood"], [metric])
    quoted |= {f"mean over the sets, {variant}": value for variant, value in table["mean"].items()}
    quoted["OOD sets"] = len(sets)
    return MadeFigure(figure, means, alt + ".", caption, finding, shown.runs, quoted)
