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
    logits_in: Tensor,
    labels: Tensor,
    logits_out: Tensor | None,
    outlier_weight: float,
    temperature: float = 1.0,
) -> Tensor:
    """Loss of a network trained on InD images and outliers: ``CE + λ · uniform CE``.

    At a temperature T, distributions and logits are both softened by it, and the cross-entropy is
    multiplied by T², so that its gradient stays of one size (Hinton et al. 2015); outliers are not.

    Args:
        logits_in: of the InD images, ``[n, k]``.
        labels: their classes, ``int64 [n]``, or distributions over classes, ``[n, k]``.
        logits_out: of the outliers, ``[m, k]`` with m ≥ 1, or ``None`` without outliers.
        outlier_weight: λ ≥ 0; 0.5 in Outlier Exposure and in TrustDD.
        temperature: T > 0.

    Returns:
        A scalar ≥ 0.

    Raises:
        ValueError: see `uniform_cross_entropy`.
    """
    soft = softened(labels, temperature)
    target = soft.to(logits_in.dtype) if soft.is_floating_point() else soft
    loss = temperature**2 * F.cross_entropy(logits_in / temperature, target)
    if logits_out is None:
        return loss
    return loss + outlier_weight * uniform_cross_entropy(logits_out)


def softened(labels: Tensor, temperature: float) -> Tensor:
    """Soften distributions ``[…, k]`` by a temperature T: ``p^(1/T)``, made to sum to 1.

    Classes, ``int64 [n]``, stay as they are, as does everything at T = 1.
    """
    if temperature == 1 or not labels.is_floating_point():
        return labels
    return (labels.log() / temperature).softmax(-1)
