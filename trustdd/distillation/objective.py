"""What a way to distil is asked for: one iteration of the outer loop.

A method is one file here and one line in ``trustdd.settings.defaults.METHODS``, which names the
class that does an iteration. It is imported only where that method distils.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.state import State
from trustdd.settings.defaults import METHODS
from trustdd.settings.experiment import Experiment
from trustdd.settings.validation import check_choice
from trustdd.store.files import results_root


@dataclass(frozen=True)
class Materials:
    """What a distillation works with.

    Attributes:
        experiment: the settings.
        data: the InD data.
        source: the outliers, or ``None`` for ordinary distillation.
        device: computes.
        results: the profile's folder of results, where runs share what is costly (experts);
            ``None`` is the folder of runs without a profile.
        progress: show bars.
        images_wait: the images are not to be moved, since they are known from elsewhere.
        start: the set that distillation starts from; without it, `ipc` images of every class, class
            by class.
    """

    experiment: Experiment
    data: InlierData
    source: OutlierSource | None
    device: torch.device
    results: Path | None = None
    progress: bool = False
    images_wait: bool = False
    start: DistilledSet | None = None

    @property
    def labels(self) -> Tensor:
        """Labels of the synthetic images: ``int64 [n]``, or distributions ``float32 [n, k]``."""
        if self.start is not None:
            return self.start.labels.to(self.device)
        classes = torch.arange(len(self.data.classes), device=self.device)
        return classes.repeat_interleave(self.experiment.ipc)

    @property
    def fixed_student_lr(self) -> bool:
        """Whether the learning rate that students train with is the given set's own."""
        return self.start is not None and self.start.student_lr is not None

    @property
    def shared(self) -> Path:
        """The folder of what runs share."""
        return results_root() / "unnamed" if self.results is None else self.results


class Objective(Protocol):
    """What one iteration does to the synthetic set."""

    #: whether the method learns the learning rate that students train with, too
    LEARNS_STUDENT_LR: ClassVar[bool]

    def __init__(self, materials: Materials) -> None:
        """Prepare what all iterations share."""

    @staticmethod
    def apart(experiment: Experiment) -> bool:
        """Tell whether images and outliers are distilled without any effect on each other.

        Then the images are those of ordinary distillation with the same seed, byte for byte.
        """

    def step(self, state: State, iteration: int) -> tuple[float, float]:
        """Change `state` in place; return the losses of the InD and of the outlier part.

        A part that is not there has NaN for a loss. What is drawn at random is drawn for this
        iteration, so that a resumed run draws what an uninterrupted one would have.
        """


def objective_class(method: str) -> type[Objective]:
    """Import the class that does a method's iterations.

    Raises:
        ValueError: unknown method.
    """
    check_choice("method", method, tuple(METHODS))
    chosen = METHODS[method]
    return getattr(importlib.import_module(chosen.module), chosen.objective.split(":")[1])
