"""What a distillation did, in a sentence, and the settings that it did it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from trustdd.report.show.display import table
from trustdd.settings.defaults import METHODS
from trustdd.settings.experiment import Experiment

if TYPE_CHECKING:
    from trustdd.store.run import Run

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
#: the same of expert training, and of trajectory matching
EXPERT_SETTINGS = {
    "experts": "experts a seed",
    "max_start_epoch": "segments start before this epoch",
    "expert_epochs": "epochs of an expert that a segment spans",
    "expert_lr": "step size of the experts",
    "expert_batch": "real images a step of an expert",
    "expert_augmentation": "augmentation of the experts",
    "outlier_weight": "λ, weight of the outliers' loss in training",
    "zca": "images are whitened",
    "width": "channels of a block of the network",
    "depth": "blocks of the network",
}
TRAJECTORY_SETTINGS = {
    "iterations": "iterations, each with one segment",
    "experts": "experts",
    "max_start_epoch": "segments start before this epoch",
    "expert_epochs": "epochs of an expert that a segment spans",
    "student_steps": "steps of the student on the synthetic set",
    "synthetic_batch": "synthetic images a student step; 0 takes all",
    "student_lr": "the student's learning rate to begin with",
    "lr_student_lr": "step size of that learning rate",
    "lr_images": "step size of the images",
    "outlier_ipc": "outliers a class slot",
    "outlier_weight": "λ, weight of the outliers' loss in training",
    "augmentation": "augmentation of the student's images",
    "training_epochs": "epochs of a student that is tested",
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
    named = {
        "loss_in": f"their {METHODS[experiment.method].matched} and that of the whole class",
        "loss_out": f"the synthetic and the real outliers' ({experiment.outliers.upper()})",
    }
    changes = [
        f"between {name} **{_change(frame[column])}**"
        for column, name in named.items()
        if frame[column].notna().any()
    ]
    if not changes:
        return f"`{experiment.key}` was drawn at random; nothing was distilled."
    return (
        f"{experiment.iterations:,} iterations{spent} change {experiment.ipc} real images a class "
        f"into synthetic ones: the distance {', that '.join(changes)}."
    )


def _change(losses: pd.Series) -> str:
    """How the mean of the last tenth compares with that of the first."""
    tenth = max(1, len(losses) // 10)
    ratio = losses.iloc[-tenth:].mean() / losses.iloc[:tenth].mean()
    return f"{'falls' if ratio < 1 else 'rises'} by {abs(1 - ratio):.0%}"


def settings(experiment: Experiment, experts: bool = False) -> None:
    """Display the settings of a distillation beside the published ones of its dataset.

    Args:
        experiment: of any method.
        experts: those of expert training instead.
    """
    shown = TRAJECTORY_SETTINGS if experiment.method == "mtt" else MATCHING_SETTINGS
    shown = EXPERT_SETTINGS if experts else shown
    named: dict[str, Any] = {
        name: getattr(experiment, name)
        for name in ("dataset", "data_root", "method", "outliers", "ipc", "seed")
    }
    published = Experiment(**named)
    rows = []
    for name, meaning in shown.items():
        here, there = getattr(experiment, name), getattr(published, name)
        if experiment.outliers == "none" and name.startswith("outlier"):
            continue
        rows.append(
            [f"`{name}`", meaning, _shown(here), "the same" if here == there else _shown(there)]
        )
    frame = pd.DataFrame(rows, columns=["setting", "meaning", "here", "published"])
    what = "expert training" if experts else "distillation"
    table(frame, f"Settings of this {what}, and the published ones.")


def _shown(value: Any) -> str:
    return "none" if value is None else str(value).replace("_", ", ")
