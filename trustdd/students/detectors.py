"""Further detectors, by pytorch-ood: what a finished student gives when it is asked otherwise.

MSP, MaxLogit and Energy read logits alone and are in every report (`trustdd.students.scores`). The
detectors here also look at gradients or penultimate features. KNN, ViM and ReAct are fitted on real
training images, which whoever is handed only the distilled set does not have: their numbers say
what the student's features hold, not what the distilled set alone can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import torch
from pytorch_ood.detector import KNN, ODIN, ReAct, ViM
from torch import Tensor, nn
from tqdm import tqdm

from trustdd.data.inliers import InlierData
from trustdd.data.inputs import WhitenedData, load_inputs
from trustdd.data.ood import load_ood_suite
from trustdd.networks.convnet import Network
from trustdd.networks.process import prepare_process
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.students.detection import BATCH, report_row

#: real training images that a detector is fitted on, at most
FIT_LIMIT = 5000
#: of ODIN: step in units of a pixel's [0, 1], and temperature (Liang et al. 2018)
ODIN_STEP, ODIN_TEMPERATURE = 0.0014, 1000.0
#: of KNN: which neighbour's distance counts (Sun et al. 2022, CIFAR-10)
NEIGHBOUR = 50
#: of ReAct: share of activations that are not clipped (Sun et al. 2021)
KEPT = 0.9

#: images as the network is fed them, and their features → outlier scores, larger = more outlying
Detector = Callable[[Tensor, Tensor], Tensor]


def detector_report(
    student: nn.Module, experiment: Experiment, progress: bool = False
) -> pd.DataFrame:
    """Score the experiment's OOD suite with ODIN, KNN, ViM and ReAct.

    Args:
        student: a `Network` in eval mode.
        experiment: names the dataset and the suite.
        progress: show a bar.

    Returns:
        The columns of ``trustdd.students.detection.report``, a row per (`ood`, `score`); `score` is
        ``odin``, ``knn``, ``vim`` or ``react``.

    Raises:
        ValueError: the data or an OOD set is not there.
        TypeError: the student is no `Network`.

    Source: Liang et al. 2018 (ODIN), Sun et al. 2022 (KNN), Wang et al. 2022 (ViM), Sun et al. 2021
    (ReAct), as implemented by pytorch-ood (Kirchheim et al. 2022).
    """
    if not isinstance(student, Network):
        raise TypeError(f"student of type {type(student).__name__}; expected a trustdd network")
    prepare_process()
    data = load_inputs(experiment)
    suite = load_ood_suite(experiment)
    assert data.test.labels is not None
    detectors = fitted_detectors(student, data)
    sets = {"in": data.test.images, **{name: s.images for name, s in suite.items()}}
    scores: dict[str, dict[str, Tensor]] = {}
    accuracy = 0.0
    for name, images in tqdm(sets.items(), desc="detectors", disable=not progress):
        parts: dict[str, list[Tensor]] = {score: [] for score in detectors}
        right = 0
        labels = data.test.labels.split(BATCH)
        for i, (inputs, features) in enumerate(_features(student, images, data)):
            with torch.no_grad():
                for score, detector in detectors.items():
                    parts[score].append(detector(inputs, features).double().cpu())
                if name == "in":
                    predicted = student.classifier(features).argmax(1).cpu()
                    right += int((predicted == labels[i]).sum())
        if name == "in":
            accuracy = right / len(images)
        scores[name] = {score: torch.cat(values) for score, values in parts.items()}
    rows = []
    for name in suite:
        for score in detectors:
            known, unknown = -scores["in"][score].numpy(), -scores[name][score].numpy()
            rows.append(report_row(name, score, known, unknown, accuracy))
    return pd.DataFrame(rows)


def fitted_detectors(student: Network, data: InlierData) -> dict[str, Detector]:
    """Make the detectors by name, fitted on at most `FIT_LIMIT` real training images.

    Args:
        student: in eval mode.
        data: its InD data.

    Returns:
        Name → a function of normalised images ``[n, c, h, w]`` and their penultimate features
        ``[n, d]`` that returns outlier scores ``[n]``.
    """
    draw = stream(0, "detectors", "fit")
    chosen = torch.randperm(len(data.train.images), generator=draw)[:FIT_LIMIT]
    known = torch.cat([f for _, f in _features(student, data.train.images[chosen], data)])
    assert data.train.labels is not None
    labels = data.train.labels[chosen].to(known.device)
    # a whitened image has no deviation per channel to divide by
    deviations = None if isinstance(data, WhitenedData) else list(data.std)
    odin = ODIN(student, eps=ODIN_STEP, temperature=ODIN_TEMPERATURE, norm_std=deviations)
    knn = KNN(None, k=min(NEIGHBOUR, len(known)))
    knn.fit_features(known.cpu(), labels.cpu())
    head = student.classifier
    vim = ViM(None, vim_dimension(known.shape[1], len(head.bias)), head.weight, head.bias)
    vim.fit_features(known, labels)
    react = ReAct(nn.Identity(), head, percentile=KEPT)
    react.fit_feature_maps(known, labels)
    return {
        "odin": lambda inputs, features: odin.predict(inputs),
        "knn": lambda inputs, features: knn.predict_features(features.cpu()),
        "vim": lambda inputs, features: vim.predict_features(features),
        "react": lambda inputs, features: react.predict_feature_maps(features),
    }


def vim_dimension(features: int, classes: int) -> int:
    """Dimension of ViM's principal space.

    As published: 1000 of 2048 features and more, 512 of 768 and more, half of fewer; never below
    the number of classes where there is room for it.
    """
    if features >= 2048:
        return 1000
    return 512 if features >= 768 else max(features // 2, min(classes, features - 1))


@torch.no_grad()
def _features(
    student: Network, images: Tensor, data: InlierData
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of normalised images and their penultimate features."""
    device = next(student.parameters()).device
    for piece in images.split(BATCH):
        inputs = data.normalise(piece.to(device))
        yield inputs, student.embed(inputs)
