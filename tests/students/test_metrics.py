"""Metrics against the authors' code, counting by hand, and other ways to the same number."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import torch

from trustdd.students.metrics import (
    area_under_risk_coverage,
    expected_calibration_error,
    ood_metrics,
    reliability,
    risk_coverage,
)


@pytest.mark.parametrize("case", ["continuous", "perfect", "ties"])
def test_the_authors_numbers(case: str) -> None:
    vectors, theirs = reference.tensors(), reference.numbers()[f"metrics.{case}"]
    ours = ood_metrics(
        vectors[f"metrics.{case}.confidence_in"], vectors[f"metrics.{case}.confidence_out"]
    )
    assert set(ours) == {"auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in"}
    for name in ("auroc", "aupr_in", "aupr_out"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4)
    # there the recall *nearest* 95% is taken, which with ties can be far below it
    if case != "ties":
        assert ours["fpr95"] == pytest.approx(theirs["fpr95_out_positive"], abs=0.02)
        assert ours["fpr95_in"] == pytest.approx(theirs["fpr95_in_positive"], abs=0.02)


def fpr_by_trying_every_threshold(positive: np.ndarray, negative: np.ndarray) -> float:
    """Smallest false-positive rate among thresholds that recall at least 95% (high = positive)."""
    thresholds = np.unique(np.r_[positive, negative])
    return min(np.mean(negative >= t) for t in thresholds if np.mean(positive >= t) >= 0.95)


@pytest.mark.parametrize("decimals", [8, 1, 0])
@pytest.mark.parametrize("seed", range(4))
def test_counting_pairs_and_trying_thresholds(decimals: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = rng.normal(1, 1, 60 + seed).round(decimals)
    unknown = rng.normal(0, 1, 40).round(decimals)
    ours = ood_metrics(known, unknown)
    wins = (known[:, None] > unknown).mean() + 0.5 * (known[:, None] == unknown).mean()
    assert ours["auroc"] == pytest.approx(wins)
    assert ours["fpr95"] == pytest.approx(fpr_by_trying_every_threshold(-unknown, -known))
    assert ours["fpr95_in"] == pytest.approx(fpr_by_trying_every_threshold(known, unknown))


def test_fpr_with_ties_recalls_at_least_95_percent() -> None:
    # 94% of the InD images are above all OOD images; the rest ties with half of them
    known = np.r_[np.ones(94), np.zeros(6)]
    unknown = np.r_[np.zeros(50), -np.ones(50)]
    assert ood_metrics(known, unknown)["fpr95_in"] == 0.5
    # exactly 95% is enough
    assert ood_metrics(np.r_[np.ones(19), -2.0], unknown)["fpr95_in"] == 0.0


def test_which_class_is_positive() -> None:
    # one very confident OOD image in 30, and nothing else wrong
    known, unknown = np.linspace(1, 2, 100), np.r_[np.linspace(-1, 0, 29), 3.0]
    ours = ood_metrics(known, unknown)
    assert ours["fpr95"] == 0.0  # 29 of 30 OOD images are rejected and no InD image with them
    assert ours["fpr95_in"] == pytest.approx(1 / 30)
    mirrored = ood_metrics(-unknown, -known)
    assert mirrored["auroc"] == pytest.approx(ours["auroc"])
    assert mirrored["aupr_in"] == pytest.approx(ours["aupr_out"])
    assert mirrored["fpr95_in"] == pytest.approx(ours["fpr95"])


def test_only_the_order_of_confidences_matters() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(1, 1, 80), rng.normal(0, 1, 70)
    assert ood_metrics(np.exp(known), np.exp(unknown)) == ood_metrics(known, unknown)


@pytest.mark.parametrize("bad", [[], [0.1, float("nan")], [float("inf")], [[0.1, 0.2]]])
def test_useless_inputs_are_named(bad: list) -> None:
    fine = [0.2, 0.4]
    with pytest.raises(ValueError, match="confidence_in"):
        ood_metrics(bad, fine)
    with pytest.raises(ValueError, match="confidence_out"):
        ood_metrics(fine, torch.tensor(bad))
    for metric in (expected_calibration_error, risk_coverage, area_under_risk_coverage):
        with pytest.raises(ValueError, match="confidence"):
            metric(bad, [True] * len(bad))
        with pytest.raises(ValueError, match="2 confidences and 1 values of correct"):
            metric(fine, [True])
        with pytest.raises(ValueError, match="correct holds other values"):
            metric(fine, [1, 2])


# -- calibration --------------------------------------------------------------------------------


def predictions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.1, 1, count)
    return confidence, rng.random(count) < confidence**2


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_by_a_loop_over_bins(bins: int) -> None:
    confidence, correct = predictions(500, 0)
    confidence[:3] = [0.0, 1.0, 0.25]  # borders: 0 in the first bin, else the upper end belongs
    error = 0.0
    for b in range(bins):
        inside = [
            i for i, c in enumerate(confidence)
            if b / bins < c <= (b + 1) / bins or (b == 0 and c == 0)
        ]  # fmt: skip
        if inside:
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            error += len(inside) / 500 * gap
    ours = expected_calibration_error(torch.tensor(confidence), torch.tensor(correct), bins)
    assert ours == pytest.approx(error)


def test_a_calibrated_classifier_has_no_error_and_a_boasting_one_its_gap() -> None:
    assert expected_calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert expected_calibration_error([1.0] * 4, [True, False, False, False]) == pytest.approx(0.75)


def test_the_bins_of_the_reliability_frame() -> None:
    frame = reliability([0.1, 0.2, 0.5, 0.9], [False, True, True, True], bins=5)
    assert frame["count"].tolist() == [2, 0, 1, 0, 1]
    assert frame["lower"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert frame["upper"].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1])
    assert frame["confidence"].tolist() == pytest.approx(
        [0.15, np.nan, 0.5, np.nan, 0.9], nan_ok=True
    )
    assert frame["accuracy"].tolist() == pytest.approx([0.5, np.nan, 1, np.nan, 1], nan_ok=True)


def test_calibration_needs_probabilities_and_bins() -> None:
    with pytest.raises(ValueError, match=r"from 0.5 to 3; expected \[0, 1\]"):
        reliability([0.5, 3.0], [True, True])
    with pytest.raises(ValueError, match="bins 0; expected an integer ≥ 1"):
        expected_calibration_error([0.5], [True], bins=0)


# -- selective risk -----------------------------------------------------------------------------


def test_risk_by_cutting_off_the_most_confident() -> None:
    confidence, correct = predictions(40, 1)
    frame = risk_coverage(confidence, correct)
    order = sorted(range(40), key=lambda i: -confidence[i])
    for accepted in range(1, 41):
        chosen = order[:accepted]
        row = frame.iloc[accepted - 1]
        assert row["coverage"] == pytest.approx(accepted / 40)
        assert row["risk"] == pytest.approx(np.mean([not correct[i] for i in chosen]))
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(frame["risk"].mean())


def test_ties_are_the_mean_over_all_orders() -> None:
    confidence = [0.9, 0.5, 0.5, 0.5, 0.1]
    correct = [True, True, False, False, True]
    curves = []
    for order in itertools.permutations([1, 2, 3]):
        taken = [correct[i] for i in (0, *order, 4)]
        curves.append([1 - np.mean(taken[: k + 1]) for k in range(5)])
    expected = np.mean(curves, axis=0)
    assert risk_coverage(confidence, correct)["risk"].to_numpy() == pytest.approx(expected)
    assert risk_coverage(confidence[::-1], correct[::-1])["risk"].to_numpy() == pytest.approx(
        expected
    )


def test_the_ends_of_the_scale() -> None:
    correct = np.array([True] * 6 + [False] * 4)
    best = area_under_risk_coverage(np.arange(10, 0, -1), correct)
    worst = area_under_risk_coverage(np.arange(10), correct)
    assert best == pytest.approx(np.mean([0] * 6 + [1 / 7, 2 / 8, 3 / 9, 4 / 10]))
    assert area_under_risk_coverage(np.zeros(10), correct) == pytest.approx(0.4)
    assert best < 0.4 < worst
    assert area_under_risk_coverage(np.arange(10), np.ones(10)) == 0
