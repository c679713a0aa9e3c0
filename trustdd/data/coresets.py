"""Classic coresets: what a class can be reduced to without learning a pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from trustdd.settings.errors import BadInput

#: starts of k-means, of which the best is kept
STARTS = 4


def kmeans_centroids(images: Tensor, count: int, seed: int) -> Tensor:
    """Centroids of a class's images: the means of `count` clusters of them.

    Args:
        images: ``float [n, c, h, w]``, n ≥ `count`.
        count: clusters ≥ 1.
        seed: of the clusters' first centres, an integer in [0, 2**32).

    Returns:
        ``float32 [count, c, h, w]``, the largest cluster first.

    Raises:
        ValueError: fewer images than clusters.

    Source: Lloyd 1982, with the starts of Arthur and Vassilvitskii 2007 (k-means++), by
    scikit-learn.
    """
    # imported when needed: it takes a second
    from sklearn.cluster import KMeans

    _check_enough(images, count)
    flat = images.float().flatten(1).numpy()
    found = KMeans(n_clusters=count, n_init=STARTS, random_state=seed).fit(flat)
    sizes = torch.from_numpy(found.labels_).long().bincount(minlength=count)
    order = sizes.argsort(descending=True, stable=True)
    return torch.from_numpy(found.cluster_centers_).float()[order].reshape(-1, *images.shape[1:])


def herding(images: Tensor, count: int) -> Tensor:
    """Choose real images whose mean follows the mean of all, one after another.

    Each next image is the one, not yet chosen, that brings the mean of those chosen nearest to the
    class's mean; distances are Euclidean, of pixels.

    Args:
        images: ``float [n, c, h, w]``, n ≥ `count`.
        count: images to choose ≥ 1.

    Returns:
        Indices, ``int64 [count]``, in the order of choice.

    Raises:
        ValueError: fewer images than are to be chosen.

    Source: Welling 2009, in the greedy form of Rebuffi et al. 2017 (iCaRL), Algorithm 4.
    """
    _check_enough(images, count)
    flat = images.double().flatten(1)
    mean, total = flat.mean(0), torch.zeros(flat.shape[1], dtype=torch.float64)
    squares = flat.square().sum(1)
    chosen: list[int] = []
    for step in range(1, count + 1):
        # |mean·step − total − x|² = |aim|² − 2 aim·x + |x|², of which |aim|² is the same for all
        aim = mean * step - total
        distance = squares - 2 * flat @ aim
        distance[chosen] = torch.inf
        chosen.append(int(distance.argmin()))
        total += flat[chosen[-1]]
    return torch.tensor(chosen)


def _check_enough(images: Tensor, count: int) -> None:
    if count < 1 or len(images) < count:
        raise BadInput(f"{count} of {len(images)} images; expected 1 to {len(images)}")
