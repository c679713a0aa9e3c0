"""One setting varied: λ (fig11), IPC (fig12), outlier budget (fig13), corruptions (fig14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.analysis.ablations import budget_note, corruption_variants, varied
from trustdd.report.comparison import by_outliers, over_seeds, paired_difference, percent, with_std
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import METRIC_NAMES, share_axis
from trustdd.report.naming import listed, ood_name, setting_name
from trustdd.report.results import MissingArtefacts, summary
from trustdd.store.run import Run


@dataclass(frozen=True)
class Sweep:
    """What a sweep varies.

    Attributes:
        id: the figure.
        column: on the x axis.
        label: of the x axis.
        word: the setting in a sentence, before its value.
        free: columns that vary with it.
        what: the setting in the caption.
    """

    id: str
    column: str
    label: str
    word: str
    what: str
    free: tuple[str, ...] = ()


def fig11(runs: Sequence[Run], width: float) -> MadeFigure:
    """Mean AUROC and accuracy against the outlier weight λ."""
    sweep = Sweep("fig11", "outlier_weight", "outlier weight λ", "λ =", "the outlier weight λ")
    return _sweep(sweep, runs, varied(summary(runs), "outlier_weight"), width)


def fig12(runs: Sequence[Run], width: float) -> MadeFigure:
    """Mean AUROC and accuracy against images per class."""
    sweep = Sweep("fig12", "ipc", "images per class (IPC)", "IPC", "images per class")
    frame = varied(summary(runs), "ipc", ["outlier_ipc"])
    return _sweep(sweep, runs, frame, width)


def fig13(runs: Sequence[Run], width: float) -> MadeFigure:
    """Mean AUROC and accuracy against the number of outliers per InD image."""
    sweep = Sweep(
        "fig13", "ratio", "outliers per InD image", "a ratio of", "the size of the outlier set"
    )
    frame = varied(summary(runs), "outlier_ipc")
    return _sweep(sweep, runs, frame.assign(ratio=frame["outlier_ipc"] / frame["ipc"]), width)


def _sweep(sweep: Sweep, runs: Sequence[Run], frame: pd.DataFrame, width: float) -> MadeFigure:
    modes = list(by_outliers(frame))
    # without outliers neither λ nor their number means anything: one level, drawn across
    flat = [m for m in modes if m == "none" and sweep.column != "ipc"]
    swept = frame[~frame["outliers"].isin(flat)]
    values = sorted(swept[sweep.column].unique())
    if len(values) < 2:
        raise MissingArtefacts(
            f"{sweep.id}: all runs have {sweep.word} {values[0] if values else '–'}; it needs runs "
            "at two values at least", (), "",
        )  # fmt: skip
    means = over_seeds(frame, ["outliers", sweep.column], ["auroc", "accuracy"])
    finding, differences = _sweep_finding(sweep, swept)
    handles = [
        style.mode_handle(mode, marker="" if mode in flat else style.MARKERS[mode])
        for mode in modes
    ]
    columns = style.columns_that_fit(width, 2, 2.4)
    figure = style.canvas(width, 1.95 if columns == 2 else 3.5, finding, handles)
    axes = style.panels(figure, 2, columns, sharex=True)
    for panel, metric in zip(axes, ("auroc", "accuracy"), strict=True):
        for mode in modes:
            rows = means[means["outliers"] == mode].sort_values(sweep.column)
            colour = style.COLOURS[mode]
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
        panel.set_ylabel(METRIC_NAMES[metric])
        share_axis(panel, frame, ["outliers", sweep.column], metric)
    for panel in axes[-columns:]:
        panel.set_xlabel(sweep.label)
    caption = (
        f"{finding}. Mean AUROC over the OOD suite and InD accuracy against {sweep.what} "
        f"({setting_name(runs[0].experiment)}; {budget_note(frame, runs)}). Means over seeds, bars "
        f"one standard deviation. {differences}"
    )
    alt = f"Line plots of mean AUROC and InD accuracy (%) against {sweep.label}. " + "; ".join(
        f"{style.NAMES[row['outliers']]} at {row[sweep.column]:g}: AUROC "
        f"{with_std(row['auroc'], row['auroc_std'])}, accuracy "
        f"{with_std(row['accuracy'], row['accuracy_std'])}"
        for _, row in means.iterrows()
    )  # fmt: skip
    return MadeFigure(figure, means, alt + ".", caption, finding)


def _sweep_finding(sweep: Sweep, frame: pd.DataFrame) -> tuple[str, str]:
    """The finding, and the paired differences between the first and the best value."""
    tops: dict[float, list[str]] = {}
    differences = []
    for mode, rows in frame.groupby("outliers", sort=False):
        name = style.NAMES[str(mode)]
        level = rows.groupby(sweep.column)["auroc"].mean()
        best, least = level.idxmax(), level.index.min()
        tops.setdefault(float(best), []).append(f"{name} ({percent(level[best])})")
        if best != least:
            gap = paired_difference(
                rows[rows[sweep.column] == best], rows[rows[sweep.column] == least], "auroc"
            )
            differences.append(f"{name} at {best:g} minus at {least:g}: {gap.text}")
    finding = "Mean AUROC is largest at " + listed(
        [f"{sweep.word} {best:g} for {listed(names)}" for best, names in tops.items()]
    )
    return finding, f"Mean AUROC, paired by seed: {'; '.join(differences)}." if differences else ""


# -- corruptions --------------------------------------------------------------------------------


def fig14(runs: Sequence[Run], width: float) -> MadeFigure:
    """AUROC per OOD set for each corruption alone and for all but one."""
    frame, variants = corruption_variants(runs)
    sets = list(dict.fromkeys(frame["ood"]))
    cells = frame.pivot_table(index="variant", columns="ood", values="auroc", sort=False)
    shown = cells.loc[variants, sets].assign(mean=lambda table: table.mean(axis=1))
    finding = _corruption_finding(shown["mean"])
    figure = style.canvas(width, 0.23 * len(variants) + 0.75, finding)
    axes = figure.subplots()
    values = shown.to_numpy()
    image = axes.imshow(values, cmap="cividis", aspect="auto", interpolation="nearest")
    low, high = float(values.min()), float(values.max())
    middle = (low + high) / 2
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] < middle
        axes.text(
            column, row, percent(values[row, column]), ha="center", va="center", fontsize=6.3,
            color=style.ON_DARK if dark else style.ON_LIGHT,
            fontweight="bold" if column == len(sets) else "normal",
        )  # fmt: skip
    heads = [*(ood_name(s) for s in sets), "mean"]
    narrow = width < 5
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
    bar.set_label("AUROC (%)")
    bar.outline.set_visible(False)
    style.percent_axis(bar.ax.yaxis)
    caption = (
        f"{finding}. AUROC of POE students per OOD set, by the corruptions that their outliers "
        f"were distilled from ({setting_name(runs[0].experiment)}; {budget_note(frame, runs)}). "
        "Means over seeds."
    )
    alt = "Heat map of AUROC (%), corruptions by OOD sets. Means over the sets: " + "; ".join(
        f"{variant} {percent(value)}" for variant, value in shown["mean"].items()
    )  # fmt: skip
    means = over_seeds(frame, ["variant", "ood"], ["auroc"])
    return MadeFigure(figure, means, alt + ".", caption, finding)


def _corruption_finding(means: pd.Series) -> str:
    alone = means[[v for v in means.index if v.startswith("only ")]]
    without = means[[v for v in means.index if v.startswith("without ")]]
    parts = []
    if len(alone):
        best = str(alone.idxmax())
        parts.append(f"alone, {best.removeprefix('only ')} has the largest mean AUROC "
                     f"({percent(alone[best])})")  # fmt: skip
    if len(without):
        worst = str(without.idxmin())
        parts.append(
            f"{worst} it is smallest ({percent(without[worst])})"
            if parts
            else f"{worst}, mean AUROC is smallest ({percent(without[worst])})"
        )
    if "all" in means.index:
        parts.append(f"with all {percent(means['all'])}")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]
