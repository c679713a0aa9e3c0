"""A distilled set as an experiment's networks are fed it, whatever statistics it came with."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.inliers import load_inliers
from trustdd.data.inputs import Statistics, input_statistics, whitened_data, whitens
from trustdd.data.set_checks import check_images, check_weighted
from trustdd.settings.experiment import Experiment


def as_fed(distilled: DistilledSet, experiment: Experiment) -> DistilledSet:
    """Turn a set into what an experiment's networks are fed.

    Its test images are normalised by the statistics of the experiment's data, or ZCA-whitened; a
    set that was normalised otherwise is turned back into pixels (not clamped) by its own mean and
    std, or by the whitening of the data, and normalised as they are.

    Args:
        distilled: the set.
        experiment: names the data, and whether it is whitened.

    Returns:
        The set whose images and outliers fit; the very same one where nothing has to be done.

    Raises:
        ValueError: images of another shape than the experiment's, outliers that it gives no weight,
            or statistics are needed of data that is not there.
    """
    check_images("images", distilled.images, experiment)
    check_weighted(distilled.outliers, experiment)
    own, wanted = whitens(distilled.experiment), whitens(experiment)
    if own and wanted:
        return distilled
    if not own and not wanted:
        target = input_statistics(experiment)
        if (distilled.mean, distilled.std) == target:
            return distilled

        def turned(images: Tensor) -> Tensor:
            return restated(images, (distilled.mean, distilled.std), target)
    else:
        target = input_statistics(experiment)
        whitening = whitened_data(load_inliers(experiment)).whitening

        def turned(images: Tensor) -> Tensor:
            images = images.cpu()
            if own:
                return _scaled(whitening.pictures(images), target)
            return whitening.apply(_unscaled(images, (distilled.mean, distilled.std)))

    outliers = None if distilled.outliers is None else turned(distilled.outliers)
    return replace(
        distilled,
        images=turned(distilled.images),
        outliers=outliers,
        mean=target[0],
        std=target[1],
        experiment=experiment,
        whitened=None,
    )


def restated(images: Tensor, own: Statistics, target: Statistics) -> Tensor:
    """Normalise images anew by other statistics; the very tensor where they are the same.

    Args:
        images: ``[n, c, h, w]``, normalised by `own`.
        own: mean and std that they are normalised by.
        target: mean and std that they are to be normalised by.
    """
    return images if own == target else _scaled(_unscaled(images, own), target)


def _unscaled(images: Tensor, statistics: Statistics) -> Tensor:
    mean, std = (torch.tensor(v, device=images.device).view(-1, 1, 1) for v in statistics)
    return images * std + mean


def _scaled(pixels: Tensor, statistics: Statistics) -> Tensor:
    mean, std = (torch.tensor(v, device=pixels.device).view(-1, 1, 1) for v in statistics)
    return (pixels - mean) / std
