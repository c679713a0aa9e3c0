"""Calibration and selective risk of stored students: can their confidence be believed?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report.confidence import confidence_of
from trustdd.report.results import arrays, facts
from trustdd.report.view import View
from trustdd.store.run import Run

#: bins of equal width of the reliability diagram and of ECE
BINS = 15
#: shares of inputs accepted at which a risk curve is drawn
COVERAGES = np.linspace(0.02, 1.0, 50)


def inlier_confidence(run: Run, student: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """MSP of a student on the InD test images, and whether it classifies each rightly, ``[n]``."""
    logits = arrays(run, "logits.safetensors", student)
    return confidence_of(logits["in"]), logits["in"].argmax(axis=1) == logits["in_labels"]


def reliability_curve(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy by confidence, runs pooled: `confidence`, `accuracy`, `count` per filled bin."""
    from trustdd.students.metrics import reliability

    each = [inlier_confidence(run, i) for run in runs for i in range(run.experiment.students)]
    pooled = [np.concatenate(part) for part in zip(*each, strict=True)]
    frame = reliability(pooled[0], pooled[1], BINS)
    return frame[frame["count"] > 0]


def trust_measures(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run: the experiment's columns and means over its students of

    - `ece`: expected calibration error on InD test images, of the MSP;
    - `aurc_in`: mean selective risk over all coverages, InD test images alone;
    - `aurc`: the same with OOD inputs, which are wrong whenever accepted; together they weigh as
      much as the InD images, and each OOD set as much as the others.

    Args:
        runs: or a `View`, whose score decides what is accepted, and whose OOD sets come in.
    """
    from trustdd.students.metrics import area_under_risk_coverage, expected_calibration_error

    view = View.around(runs)
    rows = []
    for run in view:
        each = []
        for student in range(run.experiment.students):
            confidence, correct = inlier_confidence(run, student)
            inside = view.confidences(run, student)["in"]
            each.append(
                (
                    expected_calibration_error(confidence, correct, BINS),
                    area_under_risk_coverage(inside, correct),
                    _mean_risk(*_together(view, run, student)),
                )
            )
        values = dict(zip(("ece", "aurc_in", "aurc"), np.mean(each, axis=0), strict=True))
        rows.append({**facts(run), **values})
    return pd.DataFrame(rows)


def risk_curve(view: View, run: Run) -> np.ndarray:
    """Selective risk at `COVERAGES`, InD and OOD inputs together, mean over students, ``[50]``."""
    curves = []
    for student in range(run.experiment.students):
        covered, risk = _weighted_risk(*_together(view, run, student))
        curves.append(np.interp(COVERAGES, covered, risk))
    return np.asarray(np.mean(curves, axis=0))


def _together(view: View, run: Run, student: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The score, whether accepting is right, and weight, of InD and OOD inputs."""
    _, correct = inlier_confidence(run, student)
    scores = view.confidences(run, student)
    inside = scores.pop("in")
    weights = [np.full(len(inside), 0.5 / len(inside))]
    weights += [np.full(len(part), 0.5 / len(scores) / len(part)) for part in scores.values()]
    right = np.r_[correct, np.zeros(sum(map(len, scores.values())), dtype=bool)]
    return np.r_[inside, *scores.values()], right, np.concatenate(weights)


def _weighted_risk(
    confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage and risk at every distinct confidence, from the most confident on."""
    _, group = np.unique(-confidence, return_inverse=True)
    size = np.bincount(group, weights)
    wrong = np.bincount(group, weights * ~correct)
    covered = np.cumsum(size)
    return covered / covered[-1], np.cumsum(wrong) / covered


def _mean_risk(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray) -> float:
    covered, risk = _weighted_risk(confidence, correct, weights)
    return float(np.sum(risk * np.diff(covered, prepend=0.0)))
