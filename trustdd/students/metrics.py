"""How well a confidence tells InD from OOD, and right from wrong.

Confidences are larger for what is more in-distribution (or more surely right). Inputs are
one-dimensional, finite and not empty, as tensors, arrays or lists; anything else is a
``ValueError``. Everything is computed in float64 on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from trustdd.settings.errors import BadInput

RECALL = 0.95


def ood_metrics(confidence_in: Any, confidence_out: Any) -> dict[str, float]:
    """Detection metrics of one OOD set.

    Args:
        confidence_in: of InD images, ``[n]``, larger = more in-distribution.
        confidence_out: of OOD images, ``[m]``.

    Returns:
        All in [0, 1].

        - ``auroc``: probability that an InD image is more confident than an OOD one, ties half.
        - ``aupr_in``, ``aupr_out``: average precision with InD, or OOD, as the positive class.
          They depend on the ratio n : m.
        - ``fpr95``: *OOD positive*: share of InD images rejected at the first threshold that
          rejects at least 95% of the OOD images (as in Outlier Exposure and OpenOOD v1.5).
        - ``fpr95_in``: *InD positive*: share of OOD images accepted at the first threshold that
          accepts at least 95% of the InD images (as in ODIN).

    Raises:
        ValueError: an empty, non-finite or not one-dimensional input.
    """
    known = _vector("confidence_in", confidence_in)
    unknown = _vector("confidence_out", confidence_out)
    confidence = np.concatenate([known, unknown])
    inside = np.concatenate([np.ones(len(known), bool), np.zeros(len(unknown), bool)])
    return {
        "auroc": float(roc_auc_score(inside, confidence)),
        "aupr_in": float(average_precision_score(inside, confidence)),
        "aupr_out": float(average_precision_score(~inside, -confidence)),
        "fpr95": _false_positives(~inside, -confidence),
        "fpr95_in": _false_positives(inside, confidence),
    }


def _false_positives(positive: np.ndarray, score: np.ndarray) -> float:
    """False-positive rate at the first threshold, from above, whose recall is ≥ 95%."""
    rates, recalls, _ = roc_curve(positive, score, drop_intermediate=False)
    return float(rates[np.argmax(recalls >= RECALL)])


def reliability(confidence: Any, correct: Any, bins: int = 15) -> pd.DataFrame:
    """Accuracy against confidence, in bins of equal width.

    Args:
        confidence: predicted probabilities of the predicted class, ``[n]`` in [0, 1].
        correct: whether each prediction is right, boolean ``[n]``.
        bins: number of bins; each holds ``lower < confidence ≤ upper``, the first also 0.

    Returns:
        A row a bin: `lower`, `upper`, `count`, mean `confidence` and `accuracy` (NaN where no
        prediction falls).

    Raises:
        ValueError: confidences outside [0, 1], inputs of different lengths, bins below 1.

    Source: Guo et al. 2017, Sec. 2.
    """
    confidence, correct = _pair(confidence, correct)
    if confidence.min() < 0 or confidence.max() > 1:
        raise BadInput(
            f"confidence from {confidence.min():g} to {confidence.max():g}; expected [0, 1]"
        )
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise BadInput(f"bins {bins!r}; expected an integer ≥ 1")
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, confidence, bins) / count
        accuracy = np.bincount(place, correct, bins) / count
    return pd.DataFrame(
        {
            "lower": edges[:-1],
            "upper": edges[1:],
            "count": count,
            "confidence": mean_confidence,
            "accuracy": accuracy,
        }
    )


def expected_calibration_error(confidence: Any, correct: Any, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over the bins, weighted by their counts (ECE).

    Args:
        confidence: predicted probabilities of the predicted class, ``[n]`` in [0, 1].
        correct: whether each prediction is right, boolean ``[n]``.
        bins: of equal width, see `reliability`.

    Returns:
        In [0, 1]; 0 for a calibrated classifier.

    Raises:
        ValueError: see `reliability`.

    Source: Guo et al. 2017, Eq. 3.
    """
    frame = reliability(confidence, correct, bins)
    gap = (frame["confidence"] - frame["accuracy"]).abs()
    return float((gap * frame["count"]).sum() / frame["count"].sum())


def risk_coverage(confidence: Any, correct: Any) -> pd.DataFrame:
    """Selective risk: the error rate among the most confident predictions, for every share.

    For InD errors and OOD inputs together, append the OOD confidences with `correct` False.
    Predictions of equal confidence are taken in random order: the curve is the mean over all
    orders, and does not depend on the order of the inputs.

    Args:
        confidence: ``[n]``, any finite numbers, larger = more surely right.
        correct: whether each prediction is right, boolean ``[n]``.

    Returns:
        n rows: `coverage` (1/n … 1), the share of predictions that are accepted; `risk`, the
        share of those that are wrong.

    Raises:
        ValueError: empty, non-finite or differently long inputs.

    Source: Geifman and El-Yaniv 2017, Sec. 2.
    """
    confidence, correct = _pair(confidence, correct)
    _, group, size = np.unique(-confidence, return_inverse=True, return_counts=True)
    share_wrong = np.bincount(group, 1 - correct) / size
    accepted = np.arange(1, len(confidence) + 1)
    wrong = np.cumsum(np.repeat(share_wrong, size))
    return pd.DataFrame({"coverage": accepted / len(confidence), "risk": wrong / accepted})


def area_under_risk_coverage(confidence: Any, correct: Any) -> float:
    """Mean selective risk over all coverages (AURC); smaller is better.

    Args:
        confidence: ``[n]``, larger = more surely right.
        correct: whether each prediction is right, boolean ``[n]``.

    Returns:
        In [0, 1]: 0 if nothing is wrong; the error rate for a confidence that tells nothing.

    Raises:
        ValueError: see `risk_coverage`.

    Source: Geifman et al. 2019, Sec. 3.
    """
    return float(risk_coverage(confidence, correct)["risk"].mean())


def _vector(name: str, values: Any) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not len(vector):
        raise BadInput(f"{name} of shape {vector.shape}; expected [n] with n ≥ 1")
    if not np.isfinite(vector).all():
        raise BadInput(f"{name} holds NaN or infinite values; expected finite numbers")
    return vector


def _pair(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, right = _vector("confidence", confidence), _vector("correct", correct)
    if len(scores) != len(right):
        raise BadInput(f"{len(scores)} confidences and {len(right)} values of correct")
    if not np.isin(right, (0, 1)).all():
        raise BadInput("correct holds other values than true and false")
    return scores, right
