"""Losses: cross-entropy for InD images, cross-entropy to the uniform distribution for outliers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from trustdd.settings.errors import BadInput


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    r"""Cross-entropy between the uniform distribution and the softmax, averaged over the batch.

    .. math:: \frac1n \sum_i \Bigl( \log\sum_k e^{z_{ik}} - \frac1K \sum_k z_{ik} \Bigr)

    Args:
        logits: ``[n, k]``, n ≥ 1.

    Returns:
        A scalar ≥ log k, which it is where all logits of an image are equal.

    Raises:
        ValueError: logits of another shape, or of no image.

    Source: Hendrycks et al. 2019 (Outlier Exposure), Sec. 3.
    """
    if logits.ndim != 2 or 0 in logits.shape:
        raise BadInput(f"logits of shape {tuple(logits.shape)}; expected [n, k], both at least 1")
    return (logits.logsumexp(1) - logits.mean(1)).mean()


def training_loss(
    logits_in: Tensor, labels: Tensor, logits_out: Tensor | None, outlier_weight: float
) -> Tensor:
    """Loss of a network trained on InD images and outliers: ``CE + λ · uniform CE``.

    Args:
        logits_in: of the InD images, ``[n, k]``.
        labels: their classes, ``int64 [n]``, or distributions over classes, ``[n, k]``.
        logits_out: of the outliers, ``[m, k]`` with m ≥ 1, or ``None`` without outliers.
        outlier_weight: λ ≥ 0; 0.5 in Outlier Exposure and in TrustDD.

    Returns:
        A scalar ≥ 0.

    Raises:
        ValueError: see `uniform_cross_entropy`.
    """
    loss = F.cross_entropy(logits_in, labels)
    if logits_out is None:
        return loss
    return loss + outlier_weight * uniform_cross_entropy(logits_out)
