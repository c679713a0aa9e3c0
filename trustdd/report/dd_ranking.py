"""DD-Ranking's scores: how much of the accuracy is the set's own, and not its labels' or the like.

Accuracies are shares in [0, 1]. Scores put what is compared, in [−1, 1], on a scale of 0 to 100.

Source: Li et al. 2025, *DD-Ranking: Rethinking the Evaluation of Dataset Distillation*,
arXiv 2505.13300.
"""

from __future__ import annotations

import math

from trustdd.settings.errors import BadInput

#: how much the improvement over random counts against hard-label recovery, and with augmentation
#: against without, on the published leaderboard
WEIGHT = 0.5


def hard_label_recovery(real: float, hard: float) -> float:
    """HLR: what is lost against the whole training set where labels are classes; less is better.

    Args:
        real: accuracy of a network trained on the training set.
        hard: of one trained on the set with hard labels.
    """
    return _share(real) - _share(hard)


def improvement_over_random(own: float, random: float) -> float:
    """IOR: what a set gains over as many random images under the same labels and augmentation.

    Args:
        own: accuracy of a network trained on the set, with its own labels and augmentation.
        random: of one trained on random images, labelled and augmented likewise.
    """
    return _share(own) - _share(random)


def label_robust_score(ior: float, hlr: float, weight: float = WEIGHT) -> float:
    """LRS: ``100 (e^α − e^−1) / (e − e^−1)`` with ``α = w · IOR − (1 − w) · HLR``.

    Args:
        ior: see `improvement_over_random`.
        hlr: see `hard_label_recovery`.
        weight: w in [0, 1].

    Returns:
        0 to 100; 26.9 where α is 0.
    """
    return scaled(_weighted(ior, -hlr, weight))


def augmentation_robust_score(augmented: float, plain: float, weight: float = WEIGHT) -> float:
    """ARS: the same of ``w · IOR with augmentation + (1 − w) · IOR without``.

    Args:
        augmented: improvement over random where both are augmented.
        plain: where neither is.
        weight: w in [0, 1].
    """
    return scaled(_weighted(augmented, plain, weight))


def scaled(alpha: float) -> float:
    """Put a difference α in [−1, 1] on the scale of the scores, 0 to 100."""
    return 100 * (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))


def _weighted(first: float, second: float, weight: float) -> float:
    if not 0 <= weight <= 1:
        raise BadInput(f"weight {weight!r}; expected a number from 0 to 1")
    return weight * first + (1 - weight) * second


def _share(accuracy: float) -> float:
    if not 0 <= accuracy <= 1:
        raise BadInput(f"accuracy {accuracy!r}; expected a share from 0 to 1")
    return accuracy
