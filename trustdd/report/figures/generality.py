"""Beyond the student that was distilled for: other architectures (fig17), features (fig18)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import over_seeds, percent, with_std
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import (
    MARKS_NOTE,
    METRIC_NAMES,
    dots,
    share_axis,
)
from trustdd.report.naming import NETWORKS, listed, ood_name, setting_name
from trustdd.report.results import arrays, by_mode, one_setting, per_run, reports
from trustdd.store.run import Run

#: shapes of the OOD sets' points
SHAPES = ("^", "s", "D", "v", "P", "X", "*")
#: points drawn of the InD set and of each OOD set
POINTS_IN, POINTS_OUT = 240, 60


def fig17(runs: Sequence[Run], width: float) -> MadeFigure:
    """Mean AUROC and accuracy of students of other architectures."""
    chosen = one_setting(runs)
    modes = list(by_mode(chosen))
    frame = per_run(reports(chosen, "transfer.csv"), ["network"])
    networks = list(dict.fromkeys(frame["network"]))
    means = over_seeds(frame, ["network", "outliers"], ["auroc", "accuracy"])
    finding = _transfer_finding(means, modes, networks)
    handles = [style.mode_handle(mode, linestyle="none") for mode in modes]
    columns = style.columns_that_fit(width, 2, 2.9)
    figure = style.canvas(width, 2.0 if columns == 2 else 3.6, finding, handles)
    axes = style.panels(figure, 2, columns, sharex=True)
    step = 0.75 / len(modes)
    for panel, metric in zip(axes, ("auroc", "accuracy"), strict=True):
        for place, network in enumerate(networks):
            for index, mode in enumerate(modes):
                rows = frame[(frame["network"] == network) & (frame["outliers"] == mode)]
                dots(panel, place + (index - (len(modes) - 1) / 2) * step, rows[metric], mode)
        panel.set_xticks(range(len(networks)), [NETWORKS.get(n, n) for n in networks])
        panel.set_xlim(-0.6, len(networks) - 0.4)
        panel.set_ylabel(METRIC_NAMES[metric])
        share_axis(panel, frame, ["network", "outliers"], metric)
    caption = (
        f"{finding}. Students of other architectures trained on the sets that were distilled with "
        f"a ConvNet ({setting_name(chosen[0].experiment)}). {MARKS_NOTE}"
    )
    alt = "Dot plots of mean AUROC and InD accuracy in percent per architecture. " + "; ".join(
        f"{NETWORKS.get(row.network, row.network)}, {style.NAMES[row.outliers]}: AUROC "
        f"{with_std(row.auroc, row.auroc_std)}, accuracy {with_std(row.accuracy, row.accuracy_std)}"
        for row in means.itertuples()
    )
    return MadeFigure(figure, means, alt + ".", caption, finding)


def _transfer_finding(means: pd.DataFrame, modes: Sequence[str], networks: Sequence[str]) -> str:
    treated = next((m for m in ("poe", "oe") if m in modes), modes[0])
    level = means.set_index(["network", "outliers"])["auroc"]
    others = [n for n in networks if n != "convnet"] or list(networks)
    if treated == "none" or "none" not in modes:
        values = [level[n, treated] for n in others]
        return (
            f"Mean AUROC of other architectures with {style.NAMES[treated]}: "
            f"{percent(min(values))} to {percent(max(values))}"
        )
    higher = [n for n in others if level[n, treated] > level[n, "none"]]
    return (
        f"{style.NAMES[treated]} has a larger mean AUROC than ordinary DD on {len(higher)} of "
        f"{len(others)} other architectures"
    )


def fig18(runs: Sequence[Run], width: float) -> MadeFigure:
    """Penultimate features of InD and OOD images in their two main directions, per mode."""
    chosen = one_setting(runs)
    modes = by_mode(chosen)
    seed = min(run.experiment.seed for run in chosen)
    sets = list(chosen[0].experiment.ood)
    separations = pd.DataFrame(
        [
            (mode, run.experiment.seed, name, value)
            for mode, members in modes.items()
            for run in members
            for name, value in _separation(run, sets).items()
        ],
        columns=["outliers", "seed", "ood", "auroc"],
    )
    means = separations.groupby("outliers", sort=False)["auroc"].mean()
    finding = "Distance to the nearest class mean tells OOD features apart: AUROC " + listed(
        [f"{percent(means[m])} ({style.NAMES[m]})" for m in modes]
    )
    columns = style.columns_that_fit(width, len(modes), 1.9)
    rows = -(-len(modes) // columns)
    handles = _point_handles(sets)
    figure = style.canvas(
        width, (2.0 if columns > 1 else 1.75) * rows, finding, handles,
        columns=len(handles) if width >= 5 else 2,
    )  # fmt: skip
    axes = style.panels(figure, len(modes), columns)
    table = []
    for panel, (mode, members) in zip(axes, modes.items(), strict=True):
        run = next(r for r in members if r.experiment.seed == seed)
        points, share = _principal(run, sets)
        for place, (name, where) in enumerate(points.items()):
            inside = name == "in"
            panel.scatter(
                where[:, 0], where[:, 1], s=6 if inside else 8, linewidths=0,
                color=style.FAINT if inside else style.OTHERS[(place - 1) % len(style.OTHERS)],
                marker="o" if inside else SHAPES[(place - 1) % len(SHAPES)],
                alpha=0.5 if inside else 0.6, zorder=2 if inside else 3, rasterized=True,
            )  # fmt: skip
            table += [(mode, name, float(x), float(y)) for x, y in where]
        panel.set_title(style.NAMES[mode], color=style.COLOURS[mode])
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_xlabel(f"1st component ({100 * share[0]:.0f}% of variance)")
        panel.set_ylabel(f"2nd ({100 * share[1]:.0f}%)")
    caption = (
        f"{finding}. Penultimate features of InD test images and OOD images, projected on the two "
        f"main directions of the InD features of each student (seed {seed}, "
        f"{setting_name(chosen[0].experiment)}; no unit). The AUROC is that of the distance to the "
        "nearest class mean of the same InD images in the full feature space, mean over OOD sets "
        "and seeds."
    )
    alt = (
        "Scatter plots of features in two dimensions, one panel per outlier mode, InD images in "
        "grey dots and each OOD set in its own colour and shape. AUROC of the distance to the "
        "nearest class mean: "
        + "; ".join(f"{style.NAMES[m]} {percent(means[m])}" for m in modes)
        + "."
    )
    data = pd.DataFrame(table, columns=["outliers", "images", "x", "y"])
    return MadeFigure(figure, data, alt, caption, finding)


def _point_handles(sets: Sequence[str]) -> list:
    from matplotlib.lines import Line2D

    looks = [("InD", "o", style.INK)] + [
        (ood_name(name), SHAPES[i % len(SHAPES)], style.OTHERS[i % len(style.OTHERS)])
        for i, name in enumerate(sets)
    ]
    return [
        Line2D([], [], linestyle="none", marker=shape, color=colour, label=name, markersize=4)
        for name, shape, colour in looks
    ]


def _principal(run: Run, sets: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The first images of each set on the two main directions of the InD features."""
    stored = arrays(run, "features.safetensors")
    shown = {"in": stored["in"][:POINTS_IN]}
    shown |= {name: stored[f"ood.{name}"][:POINTS_OUT] for name in sets}
    return shown, stored["in_share"]


def _separation(run: Run, sets: Sequence[str]) -> dict[str, float]:
    """AUROC of the distance to the nearest class mean, per OOD set; InD the smaller distance."""
    from sklearn.metrics import roc_auc_score

    stored = arrays(run, "features.safetensors")
    inside = stored["in_distance"]
    found = {}
    for name in sets:
        outside = stored[f"distance.{name}"]
        truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        found[name] = float(roc_auc_score(truth, np.r_[inside, outside]))
    return found
