"""Along distillation: accuracy and AUROC (fig09), the matching losses (fig10)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import Difference, by_outliers, paired_difference, signed
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import axis_label, band, lines_note, share_axis
from trustdd.report.naming import listed, opened, setting_name
from trustdd.report.view import View
from trustdd.settings.defaults import METHODS

_PARTS = {"loss_in": "InD images", "loss_out": "outliers"}
#: trajectory matching has one loss for both
_JOINT = {"loss_in": "images and outliers together"}


def fig09(view: View, width: float) -> MadeFigure:
    """Accuracy and detection of students of the set on its way, per mode."""
    chosen = view.one_setting()
    early = chosen.per_run(["iteration"], "snapshots.csv")
    final = chosen.summary()
    ends = {r.experiment.key: int(r.experiment.iterations or 0) for r in chosen}
    frame = pd.concat([early, final.assign(iteration=final["key"].map(ends))], ignore_index=True)
    first = early[early["iteration"] == early["iteration"].min()]
    started = by_outliers(first)
    gains = {
        mode: paired_difference(rows, started[mode], chosen.metric)
        for mode, rows in by_outliers(final).items()
    }
    measure = chosen.measure(chosen.metric)
    finding = f"Distilling changes {measure} by " + listed(
        [f"{signed(100 * g.mean)} ({style.NAMES[m]})" for m, g in gains.items()]
    )
    finding += " points"
    handles = [style.mode_handle(mode) for mode in gains]
    count = len(chosen.metrics)
    columns = style.columns_that_fit(width, count, 2.4)
    figure = style.canvas(width, 0.3 + 1.6 * -(-count // columns), finding, handles)
    axes = style.panels(figure, count, columns, sharex=True)
    for panel, metric in zip(axes, chosen.metrics, strict=True):
        for mode, rows in by_outliers(frame).items():
            x, values = _by_iteration(rows, metric)
            band(panel, x, values, mode)
        panel.set_ylabel(axis_label(chosen, metric))
        share_axis(panel, frame, ["outliers", "iteration"], metric)
    for panel in axes[-columns:]:
        panel.set_xlabel("iteration of distillation")
    changes = "; ".join(f"{style.NAMES[m]} {g.text}" for m, g in gains.items())
    caption = (
        "Students trained on the synthetic set as it was at each iteration "
        f"({setting_name(chosen.experiment)}); score: {chosen.score_name}, means "
        f"{chosen.over_sets}. {lines_note(chosen)} {opened(measure)} of the distilled minus the "
        f"initial set, paired by seed: {changes}."
    )
    alt = (
        f"Line plots of {listed([chosen.measure(m) for m in chosen.metrics])} against iterations. "
        + " ".join(
            f"{style.NAMES[m]}: {measure} {g.text} from the first to the last."
            for m, g in gains.items()
        )
    )
    kept = ["outliers", "seed", "iteration", *chosen.metrics]
    quoted: dict[str, float | Difference] = {
        f"distilled minus initial, {measure}, {style.NAMES[m]}": g for m, g in gains.items()
    }
    quoted["OOD sets"] = len(chosen.sets)
    return MadeFigure(figure, frame[kept], alt, caption, finding, chosen.runs, quoted)


def _by_iteration(frame: pd.DataFrame, metric: str) -> tuple[np.ndarray, np.ndarray]:
    wide = frame.pivot(index="seed", columns="iteration", values=metric).sort_index(axis=1)
    return wide.columns.to_numpy(), wide.to_numpy()


def fig10(view: View, width: float) -> MadeFigure:
    """The matching loss of the InD part and of the outlier part, per mode."""
    chosen = view.one_setting()
    frames = [
        run.read_frame("curves.csv").assign(
            outliers=run.experiment.outliers, seed=run.experiment.seed
        )
        for run in chosen
    ]
    data = pd.concat(frames, ignore_index=True)
    joint = chosen.experiment.method == "mtt"
    names = _JOINT if joint else _PARTS
    falls = [
        (mode, part, *_ends(own, part))
        for mode, own in by_outliers(data).items()
        for part in names
        if own[part].notna().any()
    ]
    changes = {
        part: {mode: late / early - 1 for mode, p, early, late in falls if p == part}
        for part in names
    }
    finding = _loss_finding(changes, joint)
    handles = [style.mode_handle(mode, marker="") for mode in chosen.by_mode()]
    shown = {part: name for part, name in names.items() if data[part].notna().any()}
    columns = style.columns_that_fit(width, len(shown), 2.4)
    figure = style.canvas(width, 1.9 if columns == len(shown) else 3.2, finding, handles)
    axes = style.panels(figure, len(shown), columns, sharex=True)
    for panel, (part, name) in zip(axes, shown.items(), strict=True):
        for mode, rows in by_outliers(data).items():
            own = rows.dropna(subset=[part])
            if not own.empty:
                x, values = _by_iteration(own, part)
                band(panel, x, values, mode, marks=False)
        panel.set_title(name)
        panel.set_ylim(bottom=0)
        panel.grid(axis="y")
        panel.set_ylabel(_loss_name(chosen.experiment.method))
    for panel in axes[-columns:]:
        panel.set_xlabel("iteration of distillation")
    of = "images and outliers at once" if joint else "the InD images and for the outliers"
    caption = (
        f"The loss that distillation minimises, for {of} ({setting_name(chosen.experiment)}; it "
        f"has no unit). {lines_note(chosen)} Changes are from the mean over the first to that over "
        "the last tenth of the iterations."
    )
    alt = "Line plots of the matching loss against iterations. " + " ".join(
        f"{style.NAMES[m]}, {names[part]}: {a:.3g} in the first tenth, {b:.3g} in the last."
        for m, part, a, b in falls
    )
    quoted = {
        f"change of the matching loss of the {names[part]}, {style.NAMES[mode]}": change
        for part, of_modes in changes.items()
        for mode, change in of_modes.items()
    }
    for mode, part, early, late in falls:
        quoted |= {
            f"matching loss of the {names[part]} in the first tenth, {style.NAMES[mode]}": early,
            f"matching loss of the {names[part]} in the last tenth, {style.NAMES[mode]}": late,
        }
    return MadeFigure(figure, data, alt, caption, finding, chosen.runs, quoted)


def _ends(frame: pd.DataFrame, part: str) -> tuple[float, float]:
    """Mean loss over the first and over the last tenth of the iterations."""
    last = int(frame["iteration"].max())
    tenth = max(1, last // 10)
    early = frame[frame["iteration"] <= tenth][part].mean()
    late = frame[frame["iteration"] > last - tenth][part].mean()
    return float(early), float(late)


def _loss_finding(changes: dict[str, dict[str, float]], joint: bool) -> str:
    """Whether matching got anywhere: ``Matching losses fall: by 12 to 15% for the images, …``."""
    every = [change for of in changes.values() for change in of.values()]
    verb = "fall" if max(every) < 0 else "rise" if min(every) > 0 else "do not all fall"
    parts = [_range(list(changes["loss_in"].values())) + ("" if joint else " (InD images)")]
    if changes.get("loss_out"):
        parts.append(f"{_range(list(changes['loss_out'].values()))} (outliers)")
    return f"Matching losses {verb} along distillation: {listed(parts)}"


def _range(changes: Sequence[float]) -> str:
    low, high = signed(100 * min(changes), 0), signed(100 * max(changes), 0)
    return f"{low}%" if low == high else f"{low} to {high}%"


def _loss_name(method: str) -> str:
    if method == "mtt":
        return "relative distance of parameters"
    return f"distance of {METHODS[method].matched}s"
