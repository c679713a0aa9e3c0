"""What a set is compared with at equal storage: random images, or its own under other labels.

Each is a set of its own, stored in a file, so that it is trained on and tested as any given set is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.inliers import InlierData
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.store.files import sha256

#: images ``[n, c, h, w]``, as networks are fed them, → distributions ``[n, k]``
Teacher = Callable[[Tensor], Tensor]


def random_companion(
    distilled: DistilledSet,
    data: InlierData,
    experiment: Experiment,
    teacher: Teacher | None = None,
) -> DistilledSet:
    """As many real images of every class as a set has, drawn at random, at its learning rate.

    Args:
        distilled: the set.
        data: the InD data, as the experiment's networks are fed it.
        experiment: of random images; its seed is that of the draw.
        teacher: labels the images, where the set's labels are distributions; by default they have
            the classes that they are of.

    Raises:
        ValueError: a class has fewer training images than the set has of it.
    """
    assert data.train.labels is not None
    seed = experiment.seed
    counts = distilled.hard_labels.bincount(minlength=len(data.classes)).tolist()
    places = []
    for label, count in enumerate(counts):
        members = (data.train.labels == label).nonzero().flatten()
        if len(members) < count:
            raise BadInput(
                f"{count} images of class '{data.classes[label]}' in the set; expected at most the "
                f"{len(members)} training images of {data.name}"
            )
        drawn = torch.randperm(len(members), generator=stream(seed, "initial images", label))
        places.append(members[drawn[:count]])
    chosen = torch.cat(places)
    images = data.normalise(data.train.images[chosen]).float()
    labels = data.train.labels[chosen] if teacher is None else teacher(images)
    whose = "their own classes" if teacher is None else "a network trained on all images"
    return DistilledSet(
        images, labels, None, distilled.student_lr, experiment, data.mean, data.std,
        origin={"name": "random images", "labels": f"of {whose}", "seed": seed},
    ).with_pictures(data)  # fmt: skip


def hard_companion(distilled: DistilledSet) -> DistilledSet:
    """A set with the likeliest class of each image for its label, and without outliers.

    Raises:
        ValueError: a class is no image's likeliest.
    """
    return replace(
        distilled,
        labels=distilled.hard_labels,
        outliers=None,
        whitened=None if distilled.whitened is None else distilled.whitened[:1],
        origin={"name": "hard labels", "of": (distilled.origin or {}).get("name", "")},
    )


def keep(companion: DistilledSet, folder: Path, name: str) -> Path:
    """Store a set in a folder under a name and its content's hash, and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    written = companion.save(folder / f".{name}-{os.getpid()}.safetensors")
    path = folder / f"{name}-{sha256(written)[:12]}.safetensors"
    written.replace(path)
    return path

