"""The set that distillation starts from, and the random set it is compared with."""

from __future__ import annotations

import torch

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream


def initial_set(
    experiment: Experiment, data: InlierData, source: OutlierSource | None
) -> DistilledSet:
    """The set that distillation starts from, which is also the random baseline.

    Real images: `ipc` of every class, drawn without replacement; outliers: `outlier_ipc` per
    class slot, drawn from the source. With ``initial="noise"``, what is to be distilled starts
    as standard normal noise (in normalised units) instead.

    Raises:
        ValueError: a class has fewer than `ipc` images.
    """
    shape = (data.channels, data.image_size, data.image_size)
    classes = len(data.classes)
    assert data.train.labels is not None
    noise = experiment.initial == "noise" and experiment.selection == "distilled"
    images, outliers = [], []
    for label in range(classes):
        generator = stream(experiment.seed, "initial images", label)
        if noise:
            images.append(torch.randn(experiment.ipc, *shape, generator=generator))
            continue
        members = (data.train.labels == label).nonzero().flatten()
        if len(members) < experiment.ipc:
            raise BadInput(
                f"ipc {experiment.ipc}; class '{data.classes[label]}' of {data.name} has "
                f"{len(members)} training images, expected at most that many"
            )
        drawn = members[torch.randperm(len(members), generator=generator)[: experiment.ipc]]
        images.append(data.normalise(data.train.images[drawn]))
    for slot in range(classes if source is not None else 0):
        generator = stream(experiment.seed, "initial outliers", slot)
        count = experiment.outlier_ipc
        if experiment.initial == "noise" and experiment.outlier_selection == "distilled":
            outliers.append(torch.randn(count, *shape, generator=generator))
        elif source is not None:
            outliers.append(data.normalise(source.batch(slot, count, generator).cpu()))
    return DistilledSet(
        images=torch.cat(images).float(),
        labels=torch.arange(classes).repeat_interleave(experiment.ipc),
        outliers=torch.cat(outliers).float() if outliers else None,
        student_lr=None,
        experiment=experiment,
        mean=tuple(data.mean),
        std=tuple(data.std),
    ).with_pictures(data)
