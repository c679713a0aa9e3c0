"""Stored logits as confidences, without torch: the scores of ``trustdd.students.scores``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trustdd.settings.errors import BadInput


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return class probabilities in double precision, ``[n, k] → [n, k]``; rows sum to 1."""
    exact = logits.astype(np.float64)
    shifted = np.exp(exact - exact.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _logsumexp(logits: np.ndarray) -> np.ndarray:
    exact = logits.astype(np.float64)
    highest = exact.max(axis=1)
    return highest + np.log(np.exp(exact - highest[:, None]).sum(axis=1))


#: scores that need nothing but logits; those of ``trustdd.students.scores.SCORES``
FROM_LOGITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "msp": lambda logits: softmax(logits).max(axis=1),
    "maxlogit": lambda logits: logits.astype(np.float64).max(axis=1),
    "energy": _logsumexp,
}


def confidence_of(logits: np.ndarray, score: str = "msp") -> np.ndarray:
    """Return a score of logits, ``[n, k] → [n]``; larger means more in-distribution.

    Args:
        logits: of ``logits.safetensors``.
        score: ``msp`` in (0, 1]; ``maxlogit`` and ``energy``, any real number.

    Raises:
        ValueError: the score needs more than logits.
    """
    if score not in FROM_LOGITS:
        raise BadInput(f"score '{score}' is not read off logits; "
                       f"expected one of {', '.join(FROM_LOGITS)}")  # fmt: skip
    return FROM_LOGITS[score](logits)


def threshold_of(confidence_in: np.ndarray, kept: float = 0.95) -> float:
    """Return the largest threshold at which a share of the InD images is accepted.

    An image is accepted where its confidence is at least the threshold, as in ``fpr95_in``.

    Args:
        confidence_in: of InD images, ``[n]``.
        kept: the share, in (0, 1].

    Raises:
        ValueError: no image, or a share outside (0, 1].
    """
    if len(confidence_in) == 0 or not 0 < kept <= 1:
        raise BadInput(
            f"{len(confidence_in)} images, kept {kept}; expected images, and 0 < kept ≤ 1"
        )
    least = math.ceil(kept * len(confidence_in) - 1e-9)
    return float(np.sort(confidence_in)[::-1][least - 1])
