"""DD-Ranking's scores, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from trustdd.report.analysis.classes import balanced_accuracy, class_accuracies, majority_share
from trustdd.report.dd_ranking import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
    scaled,
)


def test_differences_have_the_papers_signs() -> None:
    assert hard_label_recovery(real=0.85, hard=0.6) == pytest.approx(0.25)
    assert improvement_over_random(own=0.65, random=0.4) == pytest.approx(0.25)


def test_scores_by_hand() -> None:
    alpha = 0.5 * 0.25 - 0.5 * 0.35
    by_hand = 100 * (math.exp(alpha) - math.exp(-1)) / (math.e - math.exp(-1))
    assert label_robust_score(ior=0.25, hlr=0.35) == pytest.approx(by_hand)
    assert label_robust_score(ior=0.25, hlr=0.35, weight=1) == pytest.approx(scaled(0.25))
    beta = 0.5 * 0.25 + 0.5 * -0.1
    assert augmentation_robust_score(0.25, -0.1) == pytest.approx(
        100 * (math.exp(beta) - math.exp(-1)) / (math.e - math.exp(-1))
    )


def test_scores_lie_between_0_and_100_and_rise() -> None:
    assert scaled(-1) == pytest.approx(0)
    assert scaled(1) == pytest.approx(100)
    assert scaled(0) == pytest.approx(26.894, abs=1e-3)
    values = [scaled(a) for a in np.linspace(-1, 1, 21)]
    assert values == sorted(values)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), 85.0])
def test_accuracies_are_shares(wrong: float) -> None:
    with pytest.raises(ValueError, match="expected a share from 0 to 1"):
        improvement_over_random(wrong, 0.5)
    with pytest.raises(ValueError, match="expected a share"):
        hard_label_recovery(0.5, wrong)


def test_weights_are_shares() -> None:
    with pytest.raises(ValueError, match="weight 2"):
        label_robust_score(0.1, 0.1, weight=2)


def test_class_accuracies_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=[0.7, 0.1, 0.15, 0.05])
    logits = rng.normal(size=(300, 4)) + 1.5 * np.eye(4)[labels]
    guessed = logits.argmax(1)
    assert class_accuracies(logits, labels) == pytest.approx(
        recall_score(labels, guessed, average=None)
    )
    assert balanced_accuracy(logits, labels) == pytest.approx(
        balanced_accuracy_score(labels, guessed)
    )
    assert majority_share(labels) == pytest.approx(np.mean(labels == 0))


def test_a_class_without_test_images_counts_for_nothing() -> None:
    logits = np.eye(3)[[0, 1, 1]]
    labels = np.array([0, 1, 0])
    assert class_accuracies(logits, labels)[:2] == pytest.approx([0.5, 1.0])
    assert np.isnan(class_accuracies(logits, labels)[2])
    assert balanced_accuracy(logits, labels) == pytest.approx(0.75)
