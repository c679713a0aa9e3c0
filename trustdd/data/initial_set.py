"""The set that distillation starts from, and the sets of the same storage it is compared with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from trustdd.data.coresets import herding, kmeans_centroids
from trustdd.data.distilled_set import DistilledSet
from trustdd.data.feeding import as_fed
from trustdd.data.given import read_given
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import derive_seed, stream


def initial_set(
    experiment: Experiment, data: InlierData, source: OutlierSource | None
) -> DistilledSet:
    """The set that distillation starts from; without distillation, the baseline or coreset itself.

    Images: `ipc` real ones of every class, drawn without replacement; or, as `selection` says, the
    centroids of k-means, those that herding chooses, or a given set's. Outliers: `outlier_ipc` per
    class slot, drawn from the source. With ``initial="noise"``, what is to be distilled starts
    as standard normal noise (in normalised units) instead.

    Raises:
        ValueError: a class has fewer than `ipc` images; or the given set is not there or does not
            fit, see `trustdd.data.given.read_given`.
    """
    outliers = _outliers(experiment, data, source)
    if experiment.selection == "given":
        given = read_given(experiment)
        if experiment.outlier_selection != "given":
            given = replace(given, outliers=None, whitened=None)
        given = as_fed(given, experiment)
        if experiment.outlier_selection == "given":
            outliers = given.outliers
        return DistilledSet(
            given.images, given.labels, outliers, given.student_lr, experiment, data.mean, data.std
        ).with_pictures(data)
    images = [_of_class(experiment, data, label) for label in range(len(data.classes))]
    return DistilledSet(
        images=torch.cat(images).float(),
        labels=torch.arange(len(data.classes)).repeat_interleave(experiment.ipc),
        outliers=outliers,
        student_lr=None,
        experiment=experiment,
        mean=tuple(data.mean),
        std=tuple(data.std),
    ).with_pictures(data)


def _of_class(experiment: Experiment, data: InlierData, label: int) -> Tensor:
    """A class's images ``[ipc, c, h, w]``, normalised."""
    generator = stream(experiment.seed, "initial images", label)
    if experiment.initial == "noise" and experiment.selection == "distilled":
        shape = (data.channels, data.image_size, data.image_size)
        return torch.randn(experiment.ipc, *shape, generator=generator)
    assert data.train.labels is not None
    members = (data.train.labels == label).nonzero().flatten()
    if len(members) < experiment.ipc:
        raise BadInput(
            f"ipc {experiment.ipc}; class '{data.classes[label]}' of {data.name} has "
            f"{len(members)} training images, expected at most that many"
        )
    if experiment.selection == "kmeans":
        seed = derive_seed(experiment.seed, "k-means", label) % 2**32
        return kmeans_centroids(data.normalise(data.train.images[members]), experiment.ipc, seed)
    if experiment.selection == "herding":
        own = data.normalise(data.train.images[members])
        return own[herding(own, experiment.ipc)]
    drawn = members[torch.randperm(len(members), generator=generator)[: experiment.ipc]]
    return data.normalise(data.train.images[drawn])


def _outliers(
    experiment: Experiment, data: InlierData, source: OutlierSource | None
) -> Tensor | None:
    """`outlier_ipc` outliers for each class slot, normalised, or ``None``."""
    if source is None:
        return None
    shape = (data.channels, data.image_size, data.image_size)
    noise = experiment.initial == "noise" and experiment.outlier_selection == "distilled"
    slots = []
    for slot in range(len(data.classes)):
        generator = stream(experiment.seed, "initial outliers", slot)
        count = experiment.outlier_ipc
        if noise:
            slots.append(torch.randn(count, *shape, generator=generator))
        else:
            slots.append(data.normalise(source.batch(slot, count, generator).cpu()))
    return torch.cat(slots).float()
