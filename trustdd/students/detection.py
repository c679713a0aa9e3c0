"""Detection: a student's scores on InD and OOD images, and how well they tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from trustdd.data.inliers import InlierData
from trustdd.data.inputs import load_inputs
from trustdd.data.ood import load_ood_suite
from trustdd.networks.passes import logits_and_features
from trustdd.networks.process import prepare_process
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.students.feature_space import feature_space
from trustdd.students.metrics import ood_metrics
from trustdd.students.scores import SCORES

#: images an evaluation step: few enough to stay in a CPU's cache
BATCH = 64
#: at most so many images of a set keep their penultimate features
FEATURE_LIMIT = 1000
#: how many of a set's images the student is less sure of than of the one that is kept
SAMPLE_SHARE = 0.9


@dataclass(frozen=True)
class Evaluation:
    """What a student says of the InD test set and of every OOD set.

    Attributes:
        logits: InD test logits, ``float32 [n, k]``.
        labels: InD test labels, ``int64 [n]``.
        ood: OOD set name → its logits, ``float32 [m, k]``, in the suite's order.
        features: penultimate features of a seeded subset, ``"in"`` and OOD names →
            ``float32 [≤1000, d]``.
        feature_labels: the labels of ``features["in"]``.
        samples: OOD set name → one of its images, ``uint8 [c, h, w]``: the one that the student is
            surer of (by MSP) than of `SAMPLE_SHARE` of the others.
        sample_places: the places of these images in their sets.
    """

    logits: Tensor
    labels: Tensor
    ood: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    feature_labels: Tensor
    samples: Mapping[str, Tensor]
    sample_places: Mapping[str, int]

    @property
    def accuracy(self) -> float:
        """InD test accuracy in [0, 1]."""
        return float((self.logits.argmax(1) == self.labels).double().mean())

    def tensors(self) -> dict[str, Tensor]:
        """All of it as named tensors, for the store: ``in``, ``in_labels``, ``ood.NAME``."""
        return {
            "in": self.logits,
            "in_labels": self.labels,
            **{f"ood.{name}": logits for name, logits in self.ood.items()},
        }

    def sample_tensors(self) -> dict[str, Tensor]:
        """The kept images as named tensors: ``ood.NAME``, and ``place.NAME``."""
        images = {f"ood.{name}": image for name, image in self.samples.items()}
        return images | {f"place.{n}": torch.tensor(p) for n, p in self.sample_places.items()}

    def feature_tensors(self) -> dict[str, Tensor]:
        """What is kept of the features, see `trustdd.students.feature_space`."""
        return feature_space(self.features, self.feature_labels)


@torch.inference_mode()
def network_outputs(
    network: nn.Module, images: Tensor, data: InlierData, keep: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits of uint8 images, and the penultimate features of some of them.

    Args:
        network: in eval mode.
        images: ``uint8 [n, c, h, w]``.
        data: the InD data, for its normalisation.
        keep: ``bool [n]``, whose features to keep.

    Returns:
        ``float32 [n, k]`` and ``float32 [keep.sum(), d]``, on the CPU.
    """
    device = next(network.parameters()).device
    logits, features = [], []
    for piece, kept in zip(images.split(BATCH), keep.split(BATCH), strict=True):
        found, embedded = logits_and_features(network, data.normalise(piece.to(device)))
        logits.append(found.float().cpu())
        if bool(kept.any()):
            features.append(embedded[kept.to(device)].float().cpu())
    return torch.cat(logits), torch.cat(features) if features else torch.zeros(0, 0)


def evaluate(student: nn.Module, experiment: Experiment) -> Evaluation:
    """Run a student over the InD test set and the experiment's OOD suite.

    Args:
        student: a `trustdd.networks.Network`, in eval mode.
        experiment: names the dataset and the suite.

    Returns:
        Logits of every image and features of a subset.

    Raises:
        ValueError: the data or an OOD set is not there, or the student tells another number of
            classes apart than the data has.
    """
    prepare_process()
    data = load_inputs(experiment)
    suite = load_ood_suite(experiment)
    student.eval()
    features = {}
    chosen = _subset("in", len(data.test.images))
    logits, features["in"] = network_outputs(student, data.test.images, data, chosen)
    if logits.shape[1] != len(data.classes):
        raise BadInput(
            f"a student of {logits.shape[1]} classes; expected {len(data.classes)}, as "
            f"{data.name} has them"
        )
    assert data.test.labels is not None
    ood, samples, places = {}, {}, {}
    for name, images in suite.items():
        keep = _subset(name, len(images.images))
        ood[name], features[name] = network_outputs(student, images.images, data, keep)
        places[name] = sample_place(ood[name])
        samples[name] = images.images[places[name]].clone()
    return Evaluation(
        logits, data.test.labels, ood, features, data.test.labels[chosen], samples, places,
    )  # fmt: skip


def sample_place(logits: Tensor) -> int:
    """Place of the image that is kept of an OOD set, from the set's logits ``[m, k]``."""
    order = SCORES["msp"](logits.double()).argsort(stable=True)
    return int(order[int(SAMPLE_SHARE * (len(order) - 1))])


def _subset(name: str, size: int) -> Tensor:
    """Which images keep their features: the same for every student."""
    keep = torch.zeros(size, dtype=torch.bool)
    keep[torch.randperm(size, generator=stream(0, "features", name))[:FEATURE_LIMIT]] = True
    return keep


def report(evaluation: Evaluation) -> pd.DataFrame:
    """Score every OOD set with every score.

    Returns:
        A row per (`ood`, `score`): `n_in`, `n_out` (the whole sets: AUPR depends on their
        ratio), `auroc`, `aupr_in`, `aupr_out`, `fpr95` (OOD positive), `fpr95_in` (InD
        positive), and the student's `accuracy`, all in [0, 1].
    """
    rows = []
    for name, logits in evaluation.ood.items():
        for score, function in SCORES.items():
            # in double precision: float32 confidences near 1 would tie
            confidence_in = function(evaluation.logits.double()).numpy()
            confidence_out = function(logits.double()).numpy()
            rows.append(report_row(name, score, confidence_in, confidence_out, evaluation.accuracy))
    return pd.DataFrame(rows)


def report_row(
    ood: str, score: str, confidence_in: np.ndarray, confidence_out: np.ndarray, accuracy: float
) -> dict[str, Any]:
    """One row of a `report`: an OOD set under a score, confidences ``[n]`` and ``[m]``."""
    return {
        "ood": ood,
        "score": score,
        "n_in": len(confidence_in),
        "n_out": len(confidence_out),
        **ood_metrics(confidence_in, confidence_out),
        "accuracy": accuracy,
    }


def detect(student: nn.Module, experiment: Experiment) -> pd.DataFrame:
    """Test a student: InD accuracy, and OOD detection on every set of the suite.

    See `report` for the columns and `evaluate` for the errors.
    """
    return report(evaluate(student, experiment))
