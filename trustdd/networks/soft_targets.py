"""The loss of soft targets: what students and matching descend on, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SoftTargets:
    """The loss ``Σ_i w_i · CE(target_i, softmax(logits_i))``.

    Of several networks at once, each with images of its own, there is a dimension of their number
    behind the first.

    Attributes:
        targets: one distribution an image, ``[n, k]``: one-hot for a label, uniform for an
            outlier.
        weights: ``[n, 1]``: 1/n each for a mean, λ/m for weighted outliers.
    """

    targets: Tensor
    weights: Tensor

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
        """
        soft = labels if labels.is_floating_point() else F.one_hot(labels, classes)
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
        """The loss, a scalar; ``[s]`` of several networks."""
        return -(self.weights * self.targets * logits.log_softmax(-1)).sum((0, -1))

    def split(self, size: int) -> list[SoftTargets]:
        """The loss of each piece of a batch; together they are this one."""
        pieces = zip(self.targets.split(size), self.weights.split(size), strict=True)
        return [SoftTargets(targets, weights) for targets, weights in pieces]
