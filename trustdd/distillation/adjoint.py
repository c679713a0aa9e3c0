"""Differentiating through a student's SGD steps, exactly, without keeping their graphs.

A student goes from θ_0 by ``θ_{t+1} = θ_t − η g_t``, with ``g_t = ∇_θ L(θ_t, x)`` the
gradient of its training loss on the synthetic images x; what is asked for is how
``|θ_T − θ_target|² / |θ_0 − θ_target|²`` changes with x and η. Let λ be the gradient of that
ratio with respect to the parameters after a step. Going back one step,

    ∂η −= λ·g_t,    ∂x −= η ∇_x(λ·g_t),    λ ← λ − η ∇_θ(λ·g_t),

so each step needs one vector-Jacobian product of its own gradient, whose graph is built from
the stored θ_t and dropped again. The graph memory is that of one step, whatever their
number; what grows with it is one parameter vector a step. This is reverse-mode
differentiation of the unrolled computation with its graph re-made, no approximation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from trustdd.networks.losses import training_loss
from trustdd.networks.passes import Passes, SoftTargets
from trustdd.settings.errors import BadInput

Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StudentStep:
    """What one student step sees of the synthetic set.

    Attributes:
        rows: which images, ``int64 [b]``; ``None`` takes all.
        outlier_rows: which outliers, ``int64 [b']``; ``None`` takes all.
        augment: a pure function of the drawn images ``[b, c, h, w]``: its random draws were made
            beforehand, since it is called again on the way back. ``None`` changes nothing.
        augment_outliers: the same for the drawn outliers.
    """

    rows: Tensor | None = None
    outlier_rows: Tensor | None = None
    augment: Augment | None = None
    augment_outliers: Augment | None = None


@dataclass(frozen=True)
class Course:
    """All of a student's course but what is differentiated: images, outliers, learning rate.

    Attributes:
        network: gives the architecture; its own parameters are not touched.
        outlier_weight: λ of the student's training loss, ``CE(InD) + λ · uniform-CE(outliers)``.
        start: θ_0, ``[p]``, a constant.
        target: θ_target, ``[p]``, a constant.
        labels: classes of the synthetic images, ``int64 [n]``, or distributions ``[n, k]``.
        steps: what each step sees.
    """

    network: nn.Module
    outlier_weight: float
    start: Tensor
    target: Tensor
    labels: Tensor
    steps: Sequence[StudentStep]

    @property
    def scale(self) -> Tensor:
        """``|θ_0 − θ_target|²``."""
        return (self.start - self.target).square().sum()

    def gradient(
        self,
        step: StudentStep,
        parameters: Tensor,
        images: Tensor,
        outliers: Tensor | None,
        create_graph: bool,
    ) -> Tensor:
        """Gradient ``[p]`` of the training loss at `parameters`, on the step's drawn images."""
        batch, labels = self._batch(step, images, outliers)
        names = [name for name, _ in self.network.named_parameters()]
        values = dict(zip(names, self._cut(parameters), strict=True))
        logits = functional_call(self.network, values, (batch,))
        known = len(labels)
        beside = logits[known:] if len(batch) > known else None
        loss = training_loss(logits[:known], labels, beside, self.outlier_weight)
        return torch.autograd.grad(loss, parameters, create_graph=create_graph)[0]

    def slope(
        self, step: StudentStep, parameters: Tensor, images: Tensor, outliers: Tensor | None
    ) -> Tensor:
        """The same as a constant."""
        if self._passes is None:
            with torch.enable_grad():
                here = parameters.detach().requires_grad_()
                return self.gradient(step, here, images, outliers, create_graph=False)
        with torch.no_grad():
            batch, labels = self._batch(step, images, outliers)
        loss = self._targets(labels, batch)
        return _joined(self._passes.gradients(self._cut(parameters), batch, loss)[1])

    def product(
        self,
        step: StudentStep,
        parameters: Tensor,
        images: Tensor,
        outliers: Tensor | None,
        adjoint: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """``adjoint · gradient``, a constant, and how it changes.

        Returns:
            The product; and its gradients with respect to the parameters, the drawn images, and
            the drawn outliers where there are some.
        """
        # leaves of their own: a view would make autograd fill a whole set's gradient every step
        drawn = [t.detach().requires_grad_() for t in (images, outliers) if t is not None]
        beside = drawn[1] if len(drawn) > 1 else None
        if self._passes is None:
            here = parameters.detach().requires_grad_()
            with torch.enable_grad():
                gradient = self.gradient(step, here, drawn[0], beside, create_graph=True)
                product = torch.dot(gradient, adjoint)
            return product.detach(), torch.autograd.grad(product, [here, *drawn])
        with torch.enable_grad():
            batch, labels = self._batch(step, drawn[0], beside)
        gradients, by_batch, by_parameters = self._passes.products(
            self._cut(parameters), batch.detach(), self._targets(labels, batch), self._cut(adjoint)
        )
        by_drawn = torch.autograd.grad(batch, drawn, by_batch)
        return torch.dot(_joined(gradients), adjoint), (_joined(by_parameters), *by_drawn)

    def _batch(
        self, step: StudentStep, images: Tensor, outliers: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What the network sees in a step, InD images first, and the labels of those."""
        if step.augment is not None:
            images = step.augment(images)
        if step.augment_outliers is not None and outliers is not None:
            outliers = step.augment_outliers(outliers)
        labels = self.labels if step.rows is None else self.labels[step.rows]
        batch = torch.cat([images] if outliers is None else [images, outliers])
        return batch, labels

    def _targets(self, labels: Tensor, batch: Tensor) -> SoftTargets:
        classes = int(self._shapes[-1][0])
        beside = len(batch) - len(labels)
        return SoftTargets.of(labels, classes, beside, self.outlier_weight, batch.dtype)

    @functools.cached_property
    def _passes(self) -> Passes | None:
        return Passes(self.network) if Passes.supports(self.network) else None

    @functools.cached_property
    def _shapes(self) -> list[torch.Size]:
        return [p.shape for p in self.network.parameters()]

    def _cut(self, vector: Tensor) -> list[Tensor]:
        return _cut(vector, self._shapes)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _cut(vector: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = vector.split([shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def flatten_parameters(network: nn.Module, parameters: Sequence[Tensor]) -> Tensor:
    """Join a parameter list into one constant vector ``[p]``.

    Raises:
        ValueError: the shapes are not those of the network's parameters.
    """
    expected = [tuple(p.shape) for p in network.parameters()]
    given = [tuple(p.shape) for p in parameters]
    if given != expected:
        raise BadInput(f"parameters of shapes {given}; expected the network's {expected}")
    return _joined(parameters).detach()


def unflatten_parameters(network: nn.Module, vector: Tensor) -> list[Tensor]:
    """Cut a vector ``[p]`` into views of the network's parameter shapes, in their order.

    Raises:
        ValueError: the vector's length is not the network's number of parameters.
    """
    shapes = [p.shape for p in network.parameters()]
    size = sum(shape.numel() for shape in shapes)
    if vector.shape != (size,):
        raise BadInput(f"a parameter vector of shape {tuple(vector.shape)}; expected ({size},)")
    return _cut(vector, shapes)


def unrolled_loss(course: Course, images: Tensor, outliers: Tensor | None, rate: Tensor) -> Tensor:
    """The plain computation: every step's graph stays until the loss was differentiated."""
    learned = [t for t in (images, outliers, rate) if t is not None]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in learned)
    parameters = course.start
    for step in course.steps:
        with torch.enable_grad():
            here = parameters if parameters.requires_grad else parameters.clone().requires_grad_()
            drawn = _drawn(images, step.rows)
            beside = None if outliers is None else _drawn(outliers, step.outlier_rows)
            gradient = course.gradient(step, here, drawn, beside, create_graph=keep)
            parameters = here - rate.reshape(()) * gradient
        if not keep:
            parameters = parameters.detach()
    return (parameters - course.target).square().sum() / course.scale


def adjoint_loss(course: Course, images: Tensor, outliers: Tensor | None, rate: Tensor) -> Tensor:
    """The same value with the same gradients, in the memory of one step's graph.

    Args:
        course: the constants.
        images: ``[n, c, h, w]``.
        outliers: ``[m, c, h, w]`` or ``None``.
        rate: the student's learning rate, one element.

    Returns:
        A scalar, differentiable once with respect to `images`, `outliers` and `rate`.
    """
    return _AdjointLoss.apply(images, outliers, rate, course, torch.is_grad_enabled())


class _AdjointLoss(torch.autograd.Function):
    """The loss with its gradients, made in one sweep forwards and one backwards.

    The loss is a scalar, so its gradients are made at once, while the parameter vectors are at
    hand, and ``backward`` only scales them: nothing else outlives the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        outliers: Tensor | None,
        rate: Tensor,
        course: Course,
        grad_enabled: bool,
    ) -> Tensor:
        images, rate = images.detach(), rate.detach()
        outliers = None if outliers is None else outliers.detach()
        wanted = grad_enabled and any(ctx.needs_input_grad)
        passed = _walk(course, images, outliers, rate, keep=wanted)
        difference = passed[-1] - course.target
        scale = course.scale
        if wanted:
            adjoint = difference * (2 / scale)
            ctx.save_for_backward(*_sweep(course, passed, adjoint, images, outliers, rate))
        return difference.square().sum() / scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (outer,) = grad_outputs
        return (*(None if g is None else g * outer for g in ctx.saved_tensors), None, None)


def _walk(
    course: Course, images: Tensor, outliers: Tensor | None, rate: Tensor, keep: bool
) -> list[Tensor]:
    """Take the student's steps; return all parameter vectors, or only the last one."""
    passed = [course.start]
    for step in course.steps:
        drawn = _drawn(images, step.rows)
        beside = None if outliers is None else _drawn(outliers, step.outlier_rows)
        gradient = course.slope(step, passed[-1], drawn, beside)
        after = torch.addcmul(passed[-1], gradient, rate.reshape(()), value=-1)
        if not keep:
            passed.clear()
        passed.append(after)
    return passed


def _sweep(
    course: Course,
    passed: list[Tensor],
    adjoint: Tensor,
    images: Tensor,
    outliers: Tensor | None,
    rate: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Go back over the steps; return the gradients of images, outliers and rate."""
    eta = rate.reshape(())
    by_images = torch.zeros_like(images)
    by_outliers = None if outliers is None else torch.zeros_like(outliers)
    by_rate = torch.zeros_like(eta)
    for step in reversed(course.steps):
        passed.pop()
        drawn = _drawn(images, step.rows)
        beside = None if outliers is None else _drawn(outliers, step.outlier_rows)
        product, parts = course.product(step, passed[-1], drawn, beside, adjoint)
        by_rate -= product
        adjoint = torch.addcmul(adjoint, parts[0], eta, value=-1)
        _accumulate(by_images, step.rows, parts[1] * -eta)
        if by_outliers is not None:
            _accumulate(by_outliers, step.outlier_rows, parts[2] * -eta)
    return by_images, by_outliers, by_rate.reshape(rate.shape)


def _drawn(images: Tensor, rows: Tensor | None) -> Tensor:
    return images if rows is None else images[rows]


def _accumulate(total: Tensor, rows: Tensor | None, part: Tensor) -> None:
    if rows is None:
        total += part
    else:
        total.index_add_(0, rows, part)
