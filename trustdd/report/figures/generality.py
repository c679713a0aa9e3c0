"""Beyond the student that was distilled for: other architectures (fig17), features (fig18)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import in_percent, over_seeds
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, dots, marks_note, share_axis
from trustdd.report.naming import NETWORKS, listed, ood_name, opened, setting_name
from trustdd.report.results import SMALLER_IS_BETTER, arrays
from trustdd.report.view import View
from trustdd.store.run import Run

#: shares of a set's images at which its intervals of distances end
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def fig17(view: View, width: float) -> MadeFigure:
    """Detection and accuracy of students of other architectures."""
    chosen = view.one_setting()
    modes = list(chosen.by_mode())
    frame = chosen.per_run(["network"], "transfer.csv")
    networks = list(dict.fromkeys(frame["network"]))
    means = over_seeds(frame, ["network", "outliers"], chosen.metrics)
    finding, quoted = _transfer_finding(chosen, means, modes, networks)
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    count = len(chosen.metrics)
    columns = style.columns_that_fit(width, count, 2.9)
    figure = style.canvas(width, 0.3 + 1.7 * -(-count // columns), finding, handles)
    axes = style.panels(figure, count, columns, sharex=True)
    step = 0.75 / len(modes)
    for panel, metric in zip(axes, chosen.metrics, strict=True):
        for place, network in enumerate(networks):
            for index, mode in enumerate(modes):
                rows = frame[(frame["network"] == network) & (frame["outliers"] == mode)]
                dots(panel, place + (index - (len(modes) - 1) / 2) * step, rows[metric], mode)
        panel.set_xticks(range(len(networks)), [NETWORKS.get(n, n) for n in networks])
        panel.set_xlim(-0.6, len(networks) - 0.4)
        panel.set_ylabel(axis_label(chosen, metric))
        share_axis(panel, frame, ["network", "outliers"], metric)
    caption = (
        "Students of other architectures trained on the sets that were distilled with a ConvNet "
        f"({setting_name(chosen.experiment)}); score: {chosen.score_name}, means "
        f"{chosen.over_sets}. {marks_note(chosen)}"
    )
    alt = "Dot plots per architecture. " + "; ".join(
        f"{NETWORKS.get(row['network'], row['network'])}, {style.NAMES[row['outliers']]}: "
        + ", ".join(
            f"{chosen.measure(m)} {in_percent(row[m], row[f'{m}_std'])}" for m in chosen.metrics
        )
        for _, row in means.iterrows()
    )
    quoted["OOD sets"] = len(chosen.sets)
    return MadeFigure(figure, means, alt + ".", caption, finding, chosen.runs, quoted)


def _transfer_finding(
    view: View, means: pd.DataFrame, modes: Sequence[str], networks: Sequence[str]
) -> tuple[str, dict[str, float]]:
    metric = view.metric
    measure = view.measure(metric)
    treated = next((m for m in ("poe", "oe") if m in modes), modes[0])
    level = means.set_index(["network", "outliers"])[metric]
    others = [n for n in networks if n != "convnet"] or list(networks)
    if treated == "none" or "none" not in modes:
        values = [level[n, treated] for n in others]
        low, high = min(values), max(values)
        return (
            f"{opened(measure)} of other architectures with {style.NAMES[treated]}: "
            f"{in_percent(low)} to {in_percent(high)}"
        ), {"smallest": low, "largest": high}
    smaller = metric in SMALLER_IS_BETTER
    better = [n for n in others if (level[n, treated] > level[n, "none"]) != smaller]
    return (
        f"{style.NAMES[treated]} has a {'smaller' if smaller else 'larger'} {measure} than "
        f"ordinary DD on {len(better)} of {len(others)} other architectures"
    ), {"architectures with a better mean": len(better), "other architectures": len(others)}


def fig18(view: View, width: float) -> MadeFigure:
    """How far the penultimate features of each set lie from the InD classes, per mode.

    Class means are those of one half of the InD test images, every other one; distances are those
    of the other half and of the OOD images.
    """
    chosen = view.one_setting()
    modes = chosen.by_mode()
    table: list[tuple[object, ...]] = []
    aurocs: list[tuple[object, ...]] = []
    for mode, members in modes.items():
        for run in members:
            distances = class_distances(run, chosen.sets)
            seed = run.experiment.seed
            for name, values in distances.items():
                table.append((mode, seed, name, *np.quantile(values, QUANTILES)))
                if name != "in":
                    aurocs.append((mode, seed, name, _auroc(distances["in"], values)))
    columns = ["outliers", "seed", "images", *(f"q{round(100 * q):02d}" for q in QUANTILES)]
    data = pd.DataFrame(table, columns=columns)
    separation = pd.DataFrame(aurocs, columns=["outliers", "seed", "images", "auroc"])
    data = data.merge(separation, on=["outliers", "seed", "images"], how="left")
    means = separation.groupby(["outliers", "seed"], sort=False)["auroc"].mean().reset_index()
    level = means.groupby("outliers", sort=False)["auroc"].mean()
    finding = "Distance to the nearest class mean tells OOD features apart: AUROC " + listed(
        [f"{in_percent(level[m])} ({style.NAMES[m]})" for m in modes]
    )
    count = style.columns_that_fit(width, len(modes), 1.7)
    rows = -(-len(modes) // count)
    names = ["in", *chosen.sets]
    figure = style.canvas(width, (0.22 * len(names) + 0.55) * rows, finding)
    axes = style.panels(figure, len(modes), count, sharex=True, sharey=True)
    for panel, mode in zip(axes, modes, strict=True):
        own = data[data["outliers"] == mode].groupby("images", sort=False)
        average = own[[*columns[3:], "auroc"]].mean().loc[names]
        _intervals(panel, average, mode)
        panel.set_title(style.NAMES[mode], color=style.text_colour(mode))
        panel.set_yticks(range(len(names)), ["InD", *(ood_name(name) for name in chosen.sets)])
        panel.invert_yaxis()
    for panel in axes[-count:]:
        panel.set_xlabel("distance / InD median")
    caption = (
        "Distance of penultimate features to the nearest class mean, in units of the InD images' "
        "median distance: median (mark), quartiles (thick) and 5% to 95% (thin) of each set; at "
        f"the right its AUROC against InD, in percent ({setting_name(chosen.experiment)}; means "
        f"over {chosen.seeds_text}). Class means are those of one half of the InD test images, "
        f"distances those of the other half. The AUROC in the title is a mean {chosen.over_sets}."
    )
    overall = data.groupby(["outliers", "images"], sort=False)[["q50", "auroc"]].mean()
    alt = (
        "Intervals of distances for InD and each OOD set, one panel per outlier mode. "
        + " ".join(
            f"{style.NAMES[mode]}: "
            + ", ".join(
                f"{ood_name(name)} at {overall.loc[(mode, name), 'q50']:.2f} of the InD median "
                f"distance, AUROC {in_percent(overall.loc[(mode, name), 'auroc'])}"
                for name in chosen.sets
            )
            + "."
            for mode in modes
        )
    )  # fmt: skip
    quoted: dict[str, float] = {f"mean AUROC, {style.NAMES[m]}": level[m] for m in modes}
    for (mode, name), row in overall.iterrows():
        if name != "in":
            quoted[f"median distance, {ood_name(name)}, {style.NAMES[mode]}"] = row["q50"]
            quoted[f"AUROC, {ood_name(name)}, {style.NAMES[mode]}"] = row["auroc"]
    quoted["OOD sets"] = len(chosen.sets)
    return MadeFigure(figure, data, alt, caption, finding, chosen.runs, quoted)


def _intervals(panel: object, rows: pd.DataFrame, mode: str) -> None:
    """Draw each set's quantiles as a thin and a thick line with a mark, and write its AUROC."""
    from matplotlib.axes import Axes

    assert isinstance(panel, Axes)
    for place, (name, row) in enumerate(rows.iterrows()):
        ink = style.INK if name == "in" else style.colour(mode)
        low, first, middle, third, high = (row[f"q{round(100 * q):02d}"] for q in QUANTILES)
        panel.plot([low, high], [place, place], color=ink, linewidth=0.8, solid_capstyle="butt")
        panel.plot([first, third], [place, place], color=ink, linewidth=3.2, solid_capstyle="butt")
        panel.plot(
            [middle], [place], color=ink, marker=style.MARKERS[mode], markersize=4.5,
            markerfacecolor=style.CARD, markeredgewidth=1.0,
        )  # fmt: skip
        if name != "in":
            panel.annotate(
                f"{100 * row['auroc']:.0f}", (1.0, place), xycoords=("axes fraction", "data"),
                xytext=(-1, 0), textcoords="offset points", ha="right", va="center",
                fontsize=style.points(6.3),
            )  # fmt: skip
    panel.axvline(1.0, color=style.GRID, linewidth=0.8, zorder=0)
    # room for the numbers
    panel.set_xlim(0, float(rows["q95"].max()) * 1.25)


def class_distances(run: Run, sets: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the distance of features to the nearest class mean, over the InD images' median.

    Args:
        run: holds ``features.safetensors``.
        sets: OOD sets.

    Returns:
        ``"in"``, the InD images that entered no class mean, and each set → ``[n]``.
    """
    stored = arrays(run, "features.safetensors")
    inside = stored["in_distance"].astype(np.float64)
    unit = float(np.median(inside))
    outside = {name: stored[f"distance.{name}"].astype(np.float64) / unit for name in sets}
    return {"in": inside / unit, **outside}


def _auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """AUROC of distances; OOD the larger one."""
    from sklearn.metrics import roc_auc_score

    truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
    return float(roc_auc_score(truth, np.r_[inside, outside]))
