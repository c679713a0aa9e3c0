"""Trajectory matching: a student trained on the synthetic set should land where experts did.

Cazenavette et al., *Dataset Distillation by Matching Training Trajectories*, CVPR 2022,
Eq. 2: from an expert's parameters θ_start, `student_steps` SGD steps on the synthetic set
give θ_student; the loss is ``|θ_student − θ_target|² / |θ_start − θ_target|²`` with θ_target
the same expert some epochs later. TrustDD trains experts and student with
``CE(InD) + λ · uniform-CE(outliers)``, so the outliers are distilled by the same loss.
`trustdd.distillation.adjoint` says how its gradient is exact at constant graph memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from trustdd.data import augmentation
from trustdd.distillation.adjoint import (
    Course,
    StudentStep,
    adjoint_loss,
    flatten_parameters,
    unflatten_parameters,
    unrolled_loss,
)
from trustdd.distillation.experts import train_experts
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.store.expert_store import experts_directory
from trustdd.students.training import build_network

MEMORY = {"adjoint": adjoint_loss, "unrolled": unrolled_loss}


def trajectory_loss(
    network: nn.Module,
    start: Sequence[Tensor],
    target: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
    student_lr: Tensor | float,
    student_steps: int,
    outliers: Tensor | None = None,
    outlier_weight: float = 0.5,
    *,
    schedule: Sequence[StudentStep] | None = None,
    memory: str = "adjoint",
) -> Tensor:
    """Distance of the student to the target, in units of the expert's own way.

    Args:
        network: gives the architecture; its own parameters are neither used nor changed. It
            must be deterministic (no dropout, no running statistics).
        start: the expert's parameters where the student sets out, in ``parameters()`` order.
        target: the expert's parameters to arrive at. Start and target are constants.
        images: synthetic images as the network is fed them, ``[n, c, h, w]``.
        labels: their classes, ``int64 [n]``, or distributions over them, ``[n, k]``.
        student_lr: the student's learning rate, a number or a tensor of one element.
        student_steps: SGD steps ≥ 1, without momentum.
        outliers: synthetic outliers ``[m, c, h, w]``, or ``None``.
        outlier_weight: λ ≥ 0 of the outliers' uniform cross-entropy.
        schedule: one `StudentStep` a step (see `draw_schedule`); ``None`` takes the whole set,
            unaugmented, in every step.
        memory: ``"adjoint"`` stores the parameter vectors and re-does each step backwards;
            ``"unrolled"`` keeps every step's graph. Same value, same gradients.

    Returns:
        A scalar ≥ 0; 1 where the student ends as far from the target as it began.
        Differentiable, once, with respect to `images`, `outliers` and `student_lr`.

    Raises:
        ValueError: parameter lists that do not fit the network or equal each other, a schedule
            of another length, fewer than one step, or an unknown `memory`.

    Source: Cazenavette et al. 2022, Eq. 2 and Algorithm 1.
    """
    if memory not in MEMORY:
        raise BadInput(f"memory {memory!r}; expected one of {', '.join(MEMORY)}")
    if student_steps < 1:
        raise BadInput(f"student_steps {student_steps!r}; expected an integer ≥ 1")
    if schedule is None:
        schedule = [StudentStep()] * student_steps
    elif len(schedule) != student_steps:
        raise BadInput(
            f"a schedule of {len(schedule)} steps; expected student_steps = {student_steps}"
        )
    course = Course(
        network,
        outlier_weight,
        flatten_parameters(network, start),
        flatten_parameters(network, target),
        labels,
        schedule,
    )
    if float(course.scale) == 0:
        raise BadInput("start and target are equal; expected an expert that has moved")
    rate = torch.as_tensor(student_lr, dtype=course.start.dtype, device=course.start.device)
    if rate.numel() != 1:
        raise BadInput(f"student_lr of shape {tuple(rate.shape)}; expected one element")
    return MEMORY[memory](course, images, outliers, rate)


def draw_schedule(
    student_steps: int,
    images: Tensor,
    outliers: Tensor | None,
    generator: torch.Generator,
    *,
    batch: int = 0,
    strategy: str | None = None,
) -> list[StudentStep]:
    """Draw what each student step sees: its batch, and its augmentation.

    Batches are the pieces of one random order after another, so every image is seen once
    before any is seen twice. Outliers are cut into as many batches an epoch as the images.

    Args:
        student_steps: how many steps.
        images: the synthetic images ``[n, c, h, w]``; only shape and device are read.
        outliers: the synthetic outliers ``[m, c, h, w]``, or ``None``.
        generator: a CPU generator, for all the draws.
        batch: images a step; 0, or n and more, takes all.
        strategy: the augmentation, its operation drawn per step and its parameters per image;
            ``None`` for none.

    Returns:
        `student_steps` steps.
    """
    pieces = -(-len(images) // batch) if batch else 1
    image_rows = _batches(student_steps, len(images), pieces, generator, images.device)
    outlier_rows = image_rows if outliers is None else _batches(
        student_steps, len(outliers), pieces, generator, outliers.device
    )  # fmt: skip
    steps = []
    for rows, beside in zip(image_rows, outlier_rows, strict=True):
        augment = _augment(images, rows, strategy, generator)
        if outliers is None:
            steps.append(StudentStep(rows, None, augment))
        else:
            outlier_augment = _augment(outliers, beside, strategy, generator)
            steps.append(StudentStep(rows, beside, augment, outlier_augment))
    return steps


def _batches(
    steps: int, size: int, pieces: int, generator: torch.Generator, device: torch.device
) -> list[Tensor | None]:
    if pieces == 1:
        return [None] * steps
    batches: list[Tensor | None] = []
    while len(batches) < steps:
        # a set smaller than the number of batches is gone through again, so that none is empty
        rounds = [torch.randperm(size, generator=generator) for _ in range(-(-pieces // size))]
        batches.extend(torch.cat(rounds).to(device).tensor_split(pieces))
    return batches[:steps]


def _augment(
    images: Tensor, rows: Tensor | None, strategy: str | None, generator: torch.Generator
) -> partial[Tensor] | None:
    if strategy is None:
        return None
    channels, height, width = (int(n) for n in images.shape[1:])
    count = len(images) if rows is None else len(rows)
    drawn = augmentation.draw(strategy, count, (channels, height, width), generator, False)
    return partial(augmentation.apply, draw=drawn)


class SegmentSource(Protocol):
    """Expert trajectories that segments can be cut from, such as `trustdd.store.Experts`."""

    def __len__(self) -> int:
        """How many experts there are."""

    def segment(self, expert: int, start_epoch: int, epochs: int) -> tuple[Tensor, Tensor]:
        """Parameters ``[p]`` of an expert after `start_epoch` and `epochs` epochs later."""


def trajectory_step(
    experiment: Experiment,
    network: nn.Module,
    experts: SegmentSource,
    images: Tensor,
    labels: Tensor,
    student_lr: Tensor,
    iteration: int,
    outliers: Tensor | None = None,
    memory: str = "adjoint",
) -> Tensor:
    """The loss of one distillation iteration: a random expert segment, a student on it.

    The experts take turns, in an order that is drawn anew each time all of them have been taken, as
    in MTT's published code. Expert, start epoch, batches and augmentation are drawn for this
    iteration from the experiment's seed, so a resumed run draws what an uninterrupted one would.

    Args:
        experiment: the settings (`max_start_epoch`, `expert_epochs`, `student_steps`,
            `synthetic_batch`, `augmentation`, `outlier_weight`).
        network: the architecture, on the device that computes.
        experts: where segments are cut from; two parameter vectors are read.
        images: synthetic images ``[n, c, h, w]``, normalised or whitened.
        labels: ``int64 [n]``, or ``[n, k]``.
        student_lr: the learned learning rate, one element.
        iteration: names the draws.
        outliers: synthetic outliers, or ``None``.
        memory: see `trajectory_loss`.

    Returns:
        The loss, a scalar to differentiate with respect to images, outliers and student_lr.

    Raises:
        FloatingPointError: the student diverged; the message says where and at which rate.
    """
    expert = _whose_turn(experiment, min(experiment.experts, len(experts)), iteration)
    generator = stream(experiment.seed, "trajectory", iteration)
    start_epoch = int(torch.randint(experiment.max_start_epoch, (), generator=generator))
    segment = experts.segment(expert, start_epoch, experiment.expert_epochs)
    start, target = (unflatten_parameters(network, v.to(images.device)) for v in segment)
    student_steps = experiment.student_steps
    schedule = draw_schedule(
        student_steps, images, outliers, stream(experiment.seed, "student steps", iteration),
        batch=experiment.synthetic_batch, strategy=experiment.augmentation,
    )  # fmt: skip
    loss = trajectory_loss(
        network, start, target, images, labels, student_lr, student_steps, outliers,
        experiment.outlier_weight, schedule=schedule, memory=memory,
    )  # fmt: skip
    if not bool(torch.isfinite(loss)):
        rates = "lr_images" if outliers is None else "lr_images, lr_outliers"
        raise FloatingPointError(
            f"{experiment.key}: the student diverged at iteration {iteration} (loss "
            f"{float(loss.detach()):g}, expert {expert} from epoch {start_epoch}, student_lr "
            f"{float(student_lr.detach()):.3g}); try a smaller {rates} or lr_student_lr"
        )
    return loss


def _whose_turn(experiment: Experiment, count: int, iteration: int) -> int:
    """Return the expert of an iteration: each of `count` once before any comes again."""
    generator = stream(experiment.seed, "order of the experts", iteration // count)
    return int(torch.randperm(count, generator=generator)[iteration % count])


class TrajectoryMatching:
    """One iteration of MTT: a segment of an expert, a student on the set, a step on the set.

    Images, outliers and the student's learning rate descend on one loss; a given set's images and
    learning rate stay. Experts are trained first, unless they are stored.

    Source: Cazenavette et al. 2022, Algorithm 1; Ma et al. (TrustDD) for the outliers.
    """

    LEARNS_STUDENT_LR: ClassVar[bool] = True

    def __init__(self, materials: Materials) -> None:
        """Train the experts that are missing; see `trustdd.distillation.objective`."""
        experiment, data = materials.experiment, materials.data
        self.experiment = experiment
        self.network = build_network(
            experiment, data.channels, len(data.classes), "architecture"
        ).to(materials.device)
        self.experts = train_experts(
            experiment, experts_directory(experiment, materials.shared), materials.progress,
            data=data, source=materials.source,
        )  # fmt: skip
        self.labels = materials.labels
        self.lr_student_lr = 0.0 if materials.fixed_student_lr else experiment.lr_student_lr

    @staticmethod
    def apart(experiment: Experiment) -> bool:
        """Never: a student trains on both."""
        return False

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
            "student_lr": self.lr_student_lr,
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
