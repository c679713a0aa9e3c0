"""The InD data as an experiment's networks are fed it: normalised per channel, or ZCA-whitened."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trustdd.settings.defaults import TRAJECTORY_STATISTICS, dataset_defaults
from trustdd.settings.experiment import Experiment
from trustdd.data.inliers import InlierData, load_inliers
from trustdd.store.files import cache_root
from trustdd.data.whitening import Whitening, check_whitening, fit_whitening, load_whitening

#: mean and std of pixels in [0, 1], a number a channel
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class WhitenedData(InlierData):
    """InD data that networks are fed ZCA-whitened instead of normalised per channel.

    Attributes:
        whitening: fitted on the training images.
    """

    whitening: Whitening

    def normalise(self, images: Tensor) -> Tensor:
        """Whiten a batch: ``[n, c, h, w]`` uint8 or floats in [0, 1] → ``float32``, same shape."""
        return _on(self.whitening, str(images.device)).apply(images)

    def pictures(self, normalised: Tensor) -> Tensor:
        """Undo `normalise`: ``float32 [n, c, h, w]``, clamped to [0, 1]."""
        return _on(self.whitening, str(normalised.device)).pictures(normalised).clamp(0, 1)


def whitens(experiment: Experiment) -> bool:
    """Tell whether an experiment's networks are fed ZCA-whitened images.

    They are where trajectory matching or a given set asks for it.
    """
    return experiment.zca and (experiment.method == "mtt" or experiment.selection == "given")


def load_inputs(experiment: Experiment) -> InlierData:
    """Load an experiment's InD data, normalised or whitened as its method is published.

    Trajectory matching asks for ZCA whitening on some sets and budgets, and elsewhere for the
    statistics of its own code (`settings.defaults.TRAJECTORY_STATISTICS`).

    The whitening is fitted once per training set and kept under `trustdd.store.run.cache_root`.

    Raises:
        ValueError: the data is not there, or its images are too large to be whitened.
    """
    data = load_inliers(experiment)
    if whitens(experiment):
        return whitened_data(data)
    if experiment.method != "mtt":
        return data
    mean, std = TRAJECTORY_STATISTICS.get(experiment.dataset, (data.mean, data.std))
    return replace(data, mean=mean, std=std)


def input_statistics(experiment: Experiment) -> Statistics:
    """Mean and std per channel that `load_inputs` normalises an experiment's images by.

    Those of the named datasets are published; a folder's are measured, once a process.

    Raises:
        ValueError: the folder is not there.
    """
    facts = dataset_defaults(experiment.dataset)
    if not facts.mean:
        return _measured(experiment.dataset, experiment.data_root, experiment.image_size)
    published = (facts.mean, facts.std)
    of_trajectories = experiment.method == "mtt" and not experiment.zca
    return TRAJECTORY_STATISTICS.get(experiment.dataset, published) if of_trajectories else published


@functools.lru_cache(maxsize=8)
def _measured(dataset: str, data_root: str | None, image_size: int) -> Statistics:
    data = load_inliers(Experiment(dataset=dataset, data_root=data_root, image_size=image_size))
    return data.mean, data.std


def whitened_data(data: InlierData) -> WhitenedData:
    """Return InD data with the whitening of its training images, fitted or from the cache.

    Raises:
        ValueError: its images are too large to be whitened.
    """
    check_whitening((data.channels, data.image_size, data.image_size))
    return WhitenedData(data.name, data.train, data.test, data.mean, data.std, _whitening(data))


@torch.inference_mode(False)
def _whitening(data: InlierData) -> Whitening:
    images = data.train.images
    digest = hashlib.blake2b(digest_size=10)
    for piece in images.split(4096):
        digest.update(piece.contiguous().numpy().tobytes())
    path = cache_root() / f"whitening-{digest.hexdigest()}.safetensors"
    if not path.is_file():
        fit_whitening(images).save(path)
    return load_whitening(path)


@functools.lru_cache(maxsize=4)
@torch.inference_mode(False)
def _on(whitening: Whitening, device: str) -> Whitening:
    return whitening.to(torch.device(device))
