"""Expert trajectories: how good the experts become, and how far they travel (fig21)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import in_percent
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import band, lines_note, share_axis
from trustdd.report.naming import counted, listed
from trustdd.report.results import MissingArtefacts, experts_of
from trustdd.report.view import View
from trustdd.store.run import Run

#: what each panel shows: its label
_PANELS = {
    "test_accuracy": "InD accuracy (%)",
    "distance": "distance from the start",
    "step": "distance of each epoch",
}


def fig21(view: View, width: float) -> MadeFigure:
    """Test accuracy, distance from the start and length of each epoch, per mode."""
    from matplotlib.ticker import MaxNLocator

    of_experts = view.of([run for run in view if run.experiment.method == "mtt"])
    if not of_experts:
        raise MissingArtefacts("none of the runs is by trajectory matching", (), "")
    chosen = of_experts.one_setting()
    modes = list(chosen.by_mode())
    curves = expert_curves(chosen)
    experiment = chosen.experiment
    epochs, starts = int(curves["epoch"].max()), experiment.max_start_epoch
    ends = curves[curves["epoch"] == epochs].groupby("outliers")[["test_accuracy", "distance"]]
    reached = ends.mean()
    opening = curves[curves["epoch"] == 1]["step"].sum() / curves["step"].sum()
    finding = (
        f"After {counted(epochs, 'epoch')}, experts classify "
        + listed(
            [f"{in_percent(reached.loc[m, 'test_accuracy'])} ({style.NAMES[m]})" for m in modes]
        )
        + f" of the test images; {in_percent(opening, digits=0)} of their way lies in the first "
        "epoch"
    )
    handles = [style.mode_handle(mode) for mode in modes]
    columns = style.columns_that_fit(width, len(_PANELS), 2.0)
    figure = style.canvas(
        width, {3: 1.9, 2: 3.6, 1: 5.2}[columns], finding, handles
    )  # fmt: skip
    axes = style.panels(figure, len(_PANELS), columns)
    for panel, (column, label) in zip(axes, _PANELS.items(), strict=True):
        shown = curves.dropna(subset=[column])
        panel.axvspan(0, starts - 1, color=style.GRID, alpha=0.5, linewidth=0, zorder=0)
        for mode in modes:
            wide = shown[shown["outliers"] == mode].pivot_table(
                index="seed", columns="epoch", values=column
            )
            band(panel, wide.columns.to_numpy(dtype=float), wide.to_numpy(), mode)
        panel.set_ylabel(label)
        panel.set_xlabel("epoch of the expert")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(axis="y")
        if column == "test_accuracy":
            per_seed = shown.groupby(["outliers", "seed", "epoch"], as_index=False)[column].mean()
            share_axis(panel, per_seed, ["outliers", "epoch"], column)
        else:
            panel.set_ylim(bottom=0)
    caption = (
        f"{counted(experiment.experts, 'expert')} a seed, trained on all of {experiment.dataset} "
        "(ordinary DD) or with outliers beside it (OE, POE). Distances are Euclidean, "
        "over all parameters: from the expert's first parameters, and from those of the epoch "
        "before. Trajectory matching draws its starting points from the shaded epochs and reads "
        f"the parameters {counted(experiment.expert_epochs, 'epoch')} later. Experts of a seed "
        "count as their mean. " + lines_note(chosen)
    )
    alt = "Line plots of accuracy and distances against the epochs of experts. " + " ".join(
        f"{style.NAMES[m]}: {in_percent(reached.loc[m, 'test_accuracy'])} accuracy at a distance "
        f"of {reached.loc[m, 'distance']:.2f} in the end."
        for m in modes
    )
    quoted: dict[str, float] = {"share of the way in the first epoch": opening, "epochs": epochs}
    for mode in modes:
        for name, unit in (("test_accuracy", "test accuracy"), ("distance", "distance")):
            quoted[f"{unit} in the end, {style.NAMES[mode]}"] = reached.loc[mode, name]
    return MadeFigure(figure, curves, alt, caption, finding, chosen.runs, quoted)


def expert_curves(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the epochs that trajectory matching reads: a row per mode, seed, expert and epoch.

    Raises:
        MissingArtefacts: experts of a run are not stored.
    """
    parts = []
    for run in runs:
        experiment = run.experiment
        frame = experts_of(run).curves()
        frame = frame[frame["epoch"] <= experiment.expert_length]
        parts.append(frame.assign(outliers=experiment.outliers, seed=experiment.seed))
    joined = pd.concat(parts, ignore_index=True)
    front = ["outliers", "seed"]
    return joined[[*front, *(c for c in joined.columns if c not in front)]]
