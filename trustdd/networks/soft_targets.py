"""The loss of soft targets: what students and matching descend on, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trustdd.settings.errors import BadInput
from trustdd.settings.validation import check_integer


@dataclass(frozen=True)
class SoftTargets:
    """The loss ``Σ_i w_i · CE(target_i, softmax(logits_i))``.

    Of several networks at once, each with images of its own, there is a dimension of their number
    behind the first.

    Attributes:
        targets: one distribution an image, ``[n, k]``: one-hot for a label, uniform for an
            outlier.
        weights: ``[n, 1]``: 1/n each for a mean, λ/m for weighted outliers.

    Raises:
        ValueError: weights that are not one a distribution.
    """

    targets: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        """Refuse weights that are not one a distribution."""
        both = self.targets, self.weights
        if not all(isinstance(t, Tensor) for t in both):
            kinds = " and ".join(type(t).__name__ for t in both)
            raise BadInput(f"targets and weights of type {kinds}; expected tensors")
        targets, weights = (tuple(t.shape) for t in both)
        # several networks may share an image's weight
        together = targets[1:-1], (1,) * len(targets[1:-1])
        if len(targets) < 2 or weights not in [(*targets[:1], *t, 1) for t in together]:
            raise BadInput(
                f"targets of shape {targets} and weights of shape {weights}; expected [n, k] and "
                "[n, 1]"
            )

    @classmethod
    def of(
        cls,
        labels: Tensor,
        classes: int,
        outliers: int = 0,
        outlier_weight: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> SoftTargets:
        """Mean cross-entropy to labels, plus λ times the uniform one over the outliers behind.

        Args:
            labels: ``int64 [n]``, or ``[n, s]`` of s networks; or distributions over classes,
                ``[n, k]`` or ``[n, s, k]``.
            classes: k.
            outliers: how many there are behind the images.
            outlier_weight: λ.
            dtype: of the distributions.

        Raises:
            ValueError: labels of another shape or kind, or, on a CPU, classes not in [0, k); a
                number of outliers or classes that cannot be.
        """
        check_integer("classes", classes, 1)
        check_integer("outliers", outliers, 0)
        soft = _distributions(labels, classes)
        known, others = len(soft), soft.shape[1:-1]
        targets = torch.full(
            (known + outliers, *others, classes), 1 / classes, dtype=dtype, device=labels.device
        )
        targets[:known] = soft.to(dtype)
        shape = (known + outliers, *[1] * len(others), 1)
        weights = torch.empty(shape, dtype=dtype, device=labels.device)
        weights[:known] = 1 / max(known, 1)
        weights[known:] = outlier_weight / max(outliers, 1)
        return cls(targets, weights)

    def loss(self, logits: Tensor) -> Tensor:
        """The loss, a scalar; ``[s]`` of several networks.

        Raises:
            ValueError: logits of another shape than the targets'.
        """
        if logits.shape != self.targets.shape:
            raise BadInput(
                f"logits of shape {tuple(logits.shape)}; expected the targets', "
                f"{tuple(self.targets.shape)}"
            )
        return -(self.weights * self.targets * logits.log_softmax(-1)).sum((0, -1))

    def split(self, size: int) -> list[SoftTargets]:
        """The loss of each piece of a batch; together they are this one."""
        pieces = zip(self.targets.split(size), self.weights.split(size), strict=True)
        return [SoftTargets(targets, weights) for targets, weights in pieces]


def _distributions(labels: Tensor, classes: int) -> Tensor:
    """Labels as distributions, ``[n, k]`` or ``[n, s, k]``."""
    kind, shape = str(labels.dtype).removeprefix("torch."), tuple(labels.shape)
    if labels.is_floating_point():
        if len(shape) not in (2, 3) or shape[-1] != classes:
            raise BadInput(f"labels of {kind} and shape {shape}; expected [n, {classes}]")
        return labels
    if labels.dtype != torch.int64 or len(shape) not in (1, 2):
        raise BadInput(f"labels of {kind} and shape {shape}; expected int64 [n]")
    try:
        return F.one_hot(labels, classes)
    except RuntimeError as error:
        least, largest = int(labels.min()), int(labels.max())
        raise BadInput(f"labels from {least} to {largest}; expected 0 to {classes - 1}") from error
