"""Trajectory matching as a step of the outer loop (MTT, with TrustDD's outliers)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.experts import train_experts
from trustdd.distillation.state import State
from trustdd.distillation.trajectory_matching import trajectory_step
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import experts_directory
from trustdd.students.training import build_network


class TrajectoryMatching:
    """One iteration: a segment of an expert, a student on the synthetic set, a step on the set.

    Images, outliers and the student's learning rate descend on one loss. Experts are trained
    first, unless they are stored.

    Source: Cazenavette et al. 2022, Algorithm 1; Ma et al. (TrustDD) for the outliers.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: InlierData,
        source: OutlierSource | None,
        device: torch.device,
        results: Path,
        progress: bool = True,
    ) -> None:
        """Train the experts that are missing.

        Args:
            experiment: the settings.
            data: the InD data.
            source: the outliers that the experts train beside, or ``None``.
            device: computes.
            results: the profile's folder of results; experts are kept in its ``experts/``.
            progress: show a bar while experts train.
        """
        self.experiment = experiment
        self.network = build_network(
            experiment, data.channels, len(data.classes), "architecture"
        ).to(device)
        self.experts = train_experts(
            experiment, experts_directory(experiment, results), progress, data=data, source=source
        )
        classes = torch.arange(len(data.classes), device=device)
        self.labels = classes.repeat_interleave(experiment.ipc)

    def step(self, state: State, iteration: int) -> tuple[float, float]:
        """One iteration; returns the loss, which InD images and outliers share, and NaN."""
        experiment = self.experiment
        assert state.student_lr is not None
        moving: dict[str, Tensor] = {"student_lr": state.student_lr.detach().requires_grad_()}
        images, outliers = state.images.detach(), state.outliers
        if experiment.selection == "distilled":
            images = moving["images"] = images.requires_grad_()
        if outliers is not None:
            outliers = outliers.detach()
            if experiment.outlier_selection == "distilled":
                outliers = moving["outliers"] = outliers.requires_grad_()
        loss = trajectory_step(
            experiment,
            self.network,
            self.experts,
            images,
            self.labels,
            moving["student_lr"],
            iteration,
            outliers,
        )
        rates = {
            "images": experiment.lr_images,
            "outliers": experiment.lr_outliers,
            "student_lr": experiment.lr_student_lr,
        }
        for name, gradient in zip(
            moving, torch.autograd.grad(loss, list(moving.values())), strict=True
        ):
            state.descend(name, gradient, rates[name], experiment.momentum_images)
        if float(state.student_lr) <= 0:
            raise FloatingPointError(
                f"{experiment.key}: the student learning rate fell to "
                f"{float(state.student_lr):.3g} at iteration {iteration}; try a smaller "
                "lr_student_lr"
            )
        return float(loss.detach()), math.nan
