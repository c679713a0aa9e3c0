"""What a distillation did, in a sentence, and the settings that it did it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from trustdd.experiment import Experiment
from trustdd.show.display import table

if TYPE_CHECKING:
    from trustdd.store import Run

#: settings of gradient matching worth a line on a page, and what they mean
MATCHING_SETTINGS = {
    "iterations": "iterations, each with a new network",
    "outer_loops": "matching steps an iteration",
    "inner_loops": "epochs of training between two of them",
    "real_batch": "real images a class and step",
    "lr_images": "step size of the images",
    "outlier_ipc": "outliers a class slot",
    "outlier_weight": "λ, weight of the outliers' loss in training",
    "augmentation": "Siamese augmentation",
    "width": "channels of a block of the network",
    "depth": "blocks of the network",
    "training_epochs": "epochs of a student",
}


def distillation_finding(run: Run) -> str:
    """Say by how much the matching losses of a run fell, as a sentence in Markdown.

    The first and the last tenth of the iterations are compared, since a single iteration
    depends on its random network.
    """
    frame = run.read_frame("curves.csv")
    experiment = run.experiment
    seconds = run.manifest().get("distill", {}).get("seconds")
    spent = "" if seconds is None else f", which took {seconds:.0f} seconds,"
    changes = []
    for column, name in (("loss_in", "images"), ("loss_out", f"outliers ({experiment.outliers})")):
        if frame[column].notna().any():
            changes.append(f"that of the {name} **{_change(frame[column])}**")
    if not changes:
        return f"`{experiment.key}` was drawn at random; nothing was distilled."
    return (
        f"{experiment.iterations:,} iterations{spent} turn {experiment.ipc} real images a class "
        "into synthetic ones whose gradient is closer to that of the whole class: of the matching "
        f"losses, {' and '.join(changes)}."
    )


def _change(losses: pd.Series) -> str:
    """How the mean of the last tenth compares with that of the first."""
    tenth = max(1, len(losses) // 10)
    ratio = losses.iloc[-tenth:].mean() / losses.iloc[:tenth].mean()
    return f"{'falls' if ratio < 1 else 'rises'} by {abs(1 - ratio):.0%}"


def settings(experiment: Experiment) -> None:
    """Display the settings of a distillation beside the published ones of its dataset."""
    named: dict[str, Any] = {
        name: getattr(experiment, name)
        for name in ("dataset", "data_root", "method", "outliers", "ipc", "seed")
    }
    published = Experiment(**named)
    rows = []
    for name, meaning in MATCHING_SETTINGS.items():
        here, there = getattr(experiment, name), getattr(published, name)
        if experiment.outliers == "none" and name.startswith("outlier"):
            continue
        rows.append(
            [f"`{name}`", meaning, _shown(here), "the same" if here == there else _shown(there)]
        )
    frame = pd.DataFrame(rows, columns=["setting", "meaning", "here", "published"])
    table(frame, "Settings of this distillation, and the published ones.")


def _shown(value: Any) -> str:
    return "none" if value is None else str(value).replace("_", ", ")
