"""Where a student puts images: its penultimate features, reduced to what is looked at.

Whole features are half a megabyte for every thousand images; of each image two coordinates and one
distance are kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def feature_space(features: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """Reduce features to two coordinates and to the distance to the nearest class mean.

    Args:
        features: ``"in"`` and OOD set → penultimate features ``[n, d]``; of ``"in"`` at least two.
        labels: classes of the ``"in"`` images, ``[n]``.

    Returns:
        Named tensors: ``in`` and ``ood.SET``, ``float32 [n, 2]``, coordinates on the two main
        directions of the InD features, their mean at the origin (a direction points to where its
        largest entry is positive); ``in_share``, ``float64 [2]``, of the InD features' variance in
        either; ``in_distance`` and ``distance.SET``, ``float32 [n]``, Euclidean distance to the
        nearest mean of a class's InD features, in the full space. The means are those of every
        other InD image, the first one included, and ``in_distance`` holds the images in between,
        ``[n // 2]``: none is measured against a mean that it is part of.
    """
    inside = features["in"].double()
    centre = inside.mean(0)
    main, share = _main_directions(inside - centre)
    known, known_labels = inside[0::2], labels[0::2]
    means = torch.stack([known[known_labels == c].mean(0) for c in known_labels.unique()])
    found = {"in_share": share}
    for name, part in features.items():
        own, near = (name, "in_distance") if name == "in" else (f"ood.{name}", f"distance.{name}")
        found[own] = ((part.double() - centre) @ main.T).float()
        measured = part[1::2] if name == "in" else part
        found[near] = torch.cdist(measured.double(), means).amin(1).float()
    return found


def _main_directions(centred: Tensor) -> tuple[Tensor, Tensor]:
    """The two main directions ``[2, d]`` of points ``[n, d]``, and their shares of the variance."""
    wide = centred.shape[0] < centred.shape[1]
    # of the two products, which have the same eigenvalues, the smaller one
    values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    top = vectors[:, -2:].flip(1)
    directions = torch.nn.functional.normalize((centred.T @ top if wide else top).T, dim=1)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return directions * largest.sign(), values[-2:].flip(0) / values.sum()
