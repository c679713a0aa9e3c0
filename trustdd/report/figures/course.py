"""Along distillation: accuracy and AUROC (fig09), the matching losses (fig10)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import paired_difference, signed
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import METRIC_NAMES, band, share_axis
from trustdd.report.naming import listed, setting_name
from trustdd.report.results import by_mode, one_setting, per_run, reports, summary
from trustdd.settings.defaults import METHODS
from trustdd.store.run import Run

_PARTS = {"loss_in": "InD images", "loss_out": "outliers"}
#: trajectory matching has one loss for both
_JOINT = {"loss_in": "images and outliers together"}


def fig09(runs: Sequence[Run], width: float) -> MadeFigure:
    """Accuracy and mean AUROC of students of the set on its way, per mode."""
    chosen = one_setting(runs)
    modes = list(by_mode(chosen))
    early = per_run(reports(chosen, "snapshots.csv"), ["iteration"])
    last = summary(chosen)
    ends = {r.experiment.key: r.experiment.iterations for r in chosen}
    frame = pd.concat([early, last.assign(iteration=last["key"].map(ends))], ignore_index=True)
    final, first = last, early[early["iteration"] == early["iteration"].min()]
    gains = {
        mode: paired_difference(
            final[final["outliers"] == mode], first[first["outliers"] == mode], "auroc"
        )
        for mode in modes
    }
    finding = "Points of mean AUROC gained by distilling: " + listed(
        [f"{signed(100 * g.mean)} ({style.NAMES[m]})" for m, g in gains.items()]
    )
    handles = [style.mode_handle(mode) for mode in modes]
    columns = style.columns_that_fit(width, 2, 2.4)
    figure = style.canvas(width, 1.9 if columns == 2 else 3.4, finding, handles)
    axes = style.panels(figure, 2, columns, sharex=True)
    for panel, metric in zip(axes, ("auroc", "accuracy"), strict=True):
        for mode in modes:
            x, values = _by_iteration(frame[frame["outliers"] == mode], metric)
            band(panel, x, values, mode)
        panel.set_ylabel(METRIC_NAMES[metric])
        share_axis(panel, frame, ["outliers", "iteration"], metric)
    for panel in axes[-columns:]:
        panel.set_xlabel("iteration of distillation")
    caption = (
        f"{finding}. Students trained on the synthetic set as it was at each iteration "
        f"({setting_name(chosen[0].experiment)}). Lines are means over seeds, bands one standard "
        "deviation. Change of mean AUROC from the initial to the distilled set, paired by seed: "
        + "; ".join(f"{style.NAMES[m]} {g.text}" for m, g in gains.items())
        + "."
    )
    alt = "Line plots of mean AUROC and InD accuracy against iterations. " + " ".join(
        f"{style.NAMES[m]}: mean AUROC {g.text} from the first to the last."
        for m, g in gains.items()
    )
    columns_kept = ["outliers", "seed", "iteration", "auroc", "accuracy"]
    return MadeFigure(figure, frame[columns_kept], alt, caption, finding)


def _by_iteration(frame: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    wide = frame.pivot(index="seed", columns="iteration", values=metric).sort_index(axis=1)
    return wide.columns.to_numpy(), wide.to_numpy()


def fig10(runs: Sequence[Run], width: float) -> MadeFigure:
    """The matching loss of the InD part and of the outlier part, per mode."""
    chosen = one_setting(runs)
    modes = by_mode(chosen)
    frames = [
        run.read_frame("curves.csv").assign(
            outliers=run.experiment.outliers, seed=run.experiment.seed
        )
        for run in chosen
    ]
    data = pd.concat(frames, ignore_index=True)
    joint = chosen[0].experiment.method == "mtt"
    names = _JOINT if joint else _PARTS
    falls = []
    for mode in modes:
        for part in names:
            own = data[data["outliers"] == mode]
            if own[part].notna().any():
                falls.append((mode, part, *_ends(own, part)))
    changes = {part: [b / a - 1 for _, p, a, b in falls if p == part] for part in names}
    of = "" if joint else " of the InD images"
    finding = f"The matching loss{of} changes by {_range(changes['loss_in'])}"
    if changes.get("loss_out"):
        finding += f", that of the outliers by {_range(changes['loss_out'])}"
    handles = [style.mode_handle(mode, marker="") for mode in modes]
    shown = {part: name for part, name in names.items() if data[part].notna().any()}
    columns = style.columns_that_fit(width, len(shown), 2.4)
    figure = style.canvas(width, 1.9 if columns == len(shown) else 3.2, finding, handles)
    axes = style.panels(figure, len(shown), columns, sharex=True)
    for panel, (part, name) in zip(axes, shown.items(), strict=True):
        for mode in modes:
            own = data[data["outliers"] == mode].dropna(subset=[part])
            if not own.empty:
                x, values = _by_iteration(own, part)
                band(panel, x, values, mode, marks=False)
        panel.set_title(name)
        panel.set_ylim(bottom=0)
        panel.grid(axis="y")
        panel.set_ylabel(_loss_name(chosen[0].experiment.method))
    for panel in axes[-columns:]:
        panel.set_xlabel("iteration of distillation")
    caption = (
        f"{finding}, from the first to the last tenth of the iterations. The loss that "
        "distillation minimises, "
        f"{'one for images and outliers' if joint else 'for the InD images and for the outliers'}"
        f" ({setting_name(chosen[0].experiment)}; it has no unit). "
        "Lines are means over seeds, bands one standard deviation."
    )
    alt = "Line plots of the matching loss against iterations. " + " ".join(
        f"{style.NAMES[m]}, {names[part]}: {a:.3g} in the first tenth, {b:.3g} in the last."
        for m, part, a, b in falls
    )
    return MadeFigure(figure, data, alt, caption, finding)


def _ends(frame: pd.DataFrame, part: str) -> tuple[float, float]:
    """Mean loss over the first and over the last tenth of the iterations."""
    last = int(frame["iteration"].max())
    tenth = max(1, last // 10)
    early = frame[frame["iteration"] <= tenth][part].mean()
    late = frame[frame["iteration"] > last - tenth][part].mean()
    return float(early), float(late)


def _range(changes: Sequence[float]) -> str:
    low, high = signed(100 * min(changes), 0), signed(100 * max(changes), 0)
    return f"{low}%" if low == high else f"{low} to {high}%"


def _loss_name(method: str) -> str:
    if method == "mtt":
        return "relative distance of parameters"
    return f"distance of {METHODS[method].matched}s"
