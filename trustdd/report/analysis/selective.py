"""Calibration and selective risk of stored students: can their confidence be believed?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report.analysis.confidence import confidence_of
from trustdd.report.results import arrays, facts
from trustdd.store.run import Run

#: bins of equal width of the reliability diagram and of ECE
BINS = 15
#: shares of inputs accepted at which a risk curve is drawn
COVERAGES = np.linspace(0.02, 1.0, 50)


def inlier_confidence(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """MSP of the InD test images, and whether each is classified rightly, ``[n]`` each."""
    logits = arrays(run, "logits.safetensors")
    return confidence_of(logits["in"]), logits["in"].argmax(axis=1) == logits["in_labels"]


def reliability_curve(runs: Sequence[Run]) -> pd.DataFrame:
    """Accuracy by confidence, runs pooled: `confidence`, `accuracy`, `count` per filled bin."""
    from trustdd.students.metrics import reliability

    pooled = [np.concatenate(part) for part in zip(*map(inlier_confidence, runs), strict=True)]
    frame = reliability(pooled[0], pooled[1], BINS)
    return frame[frame["count"] > 0]


def trust_measures(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run: the experiment's columns and

    - `ece`: expected calibration error on InD test images;
    - `aurc_in`: mean selective risk over all coverages, InD test images alone;
    - `aurc`: the same with OOD inputs, which are wrong whenever accepted; together they weigh as
      much as the InD images, and each OOD set as much as the others.
    """
    from trustdd.students.metrics import area_under_risk_coverage, expected_calibration_error

    rows = []
    for run in runs:
        confidence, correct = inlier_confidence(run)
        values = {
            "ece": expected_calibration_error(confidence, correct, BINS),
            "aurc_in": area_under_risk_coverage(confidence, correct),
            "aurc": _mean_risk(*_together(run)),
        }
        rows.append({**facts(run), **values})
    return pd.DataFrame(rows)


def risk_curve(run: Run) -> np.ndarray:
    """Selective risk at `COVERAGES`, InD and OOD inputs together, ``[50]``."""
    covered, risk = _weighted_risk(*_together(run))
    return np.interp(COVERAGES, covered, risk)


def _together(run: Run) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, whether accepting is right, and weight, of InD and OOD inputs."""
    confidence, correct = inlier_confidence(run)
    logits = arrays(run, "logits.safetensors")
    sets = [confidence_of(logits[name]) for name in logits if name.startswith("ood.")]
    weights = [np.full(len(confidence), 0.5 / len(confidence))]
    weights += [np.full(len(part), 0.5 / len(sets) / len(part)) for part in sets]
    right = np.r_[correct, np.zeros(sum(map(len, sets)), dtype=bool)]
    return np.r_[confidence, *sets], right, np.concatenate(weights)


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
