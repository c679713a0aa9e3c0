"""Accuracy class by class: what one number hides where classes are unequal, or treated so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trustdd.report.results import arrays
from trustdd.store.run import Run


def class_accuracies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of each class's test images that are recognised, ``[k]``; NaN of a class without any.

    Args:
        logits: ``[n, k]``.
        labels: ``int [n]``.
    """
    classes = logits.shape[1]
    right = np.bincount(labels, logits.argmax(1) == labels, minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        return right / counts


def balanced_accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the classes' accuracies: every class counts alike, however many images it has."""
    return float(np.nanmean(class_accuracies(logits, labels)))


def majority_share(labels: np.ndarray) -> float:
    """Accuracy of always naming the class with most test images."""
    return float(np.bincount(labels).max() / len(labels))


def per_class(run: Run, students: Sequence[int] | None = None) -> pd.DataFrame:
    """Return a row per student and class: `student`, `label`, `n`, `accuracy` of the class.

    Args:
        run: a finished run.
        students: which; by default all of the experiment's.
    """
    rows = []
    for student in range(run.experiment.students) if students is None else students:
        stored = arrays(run, "logits.safetensors", student)
        labels = stored["in_labels"]
        counts = np.bincount(labels, minlength=stored["in"].shape[1])
        for label, accuracy in enumerate(class_accuracies(stored["in"], labels)):
            rows.append((student, label, int(counts[label]), float(accuracy)))
    return pd.DataFrame(rows, columns=["student", "label", "n", "accuracy"])
