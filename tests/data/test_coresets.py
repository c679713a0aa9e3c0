"""Classic coresets, against what they are defined by."""

from __future__ import annotations

import itertools

import pytest
import torch

from trustdd.data.coresets import herding, kmeans_centroids
from trustdd.data.initial_set import initial_set
from trustdd.data.inliers import InlierData, load_inliers
from trustdd.settings.experiment import Experiment


@pytest.fixture(scope="module")
def digits() -> InlierData:
    return load_inliers(Experiment())


def blobs() -> torch.Tensor:
    """Three tight groups of 8, 5 and 2 images around known centres."""
    centres = torch.tensor([-4.0, 0.0, 6.0])
    noise = 0.01 * torch.randn(15, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return centres.repeat_interleave(torch.tensor([8, 5, 2])).view(-1, 1, 1, 1) + noise


def test_centroids_are_the_groups_means_the_largest_first() -> None:
    images = blobs()
    found = kmeans_centroids(images, 3, seed=0)
    assert found.shape == (3, 1, 4, 4)
    expected = torch.stack([part.mean(0) for part in images.split([8, 5, 2])])
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(kmeans_centroids(images, 1, 3)[0], images.mean(0), atol=1e-5)


def test_herding_takes_what_brings_the_mean_nearest_and_nothing_twice() -> None:
    images = torch.randn(7, 1, 2, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    chosen = herding(images, 7).tolist()
    assert sorted(chosen) == list(range(7))
    mean = images.mean(0)
    for step in range(1, 8):
        before, rest = chosen[: step - 1], set(range(7)) - set(chosen[: step - 1])
        away = {i: float((images[[*before, i]].mean(0) - mean).norm()) for i in rest}
        assert chosen[step - 1] == min(away, key=away.__getitem__)


def test_herding_follows_the_mean_better_than_chance(digits: InlierData) -> None:
    own = digits.normalise(digits.train.images[digits.train.labels == 3])
    mean = own.mean(0)
    herded = float((own[herding(own, 5)].mean(0) - mean).norm())
    drawn = [
        float((own[torch.randperm(len(own), generator=torch.Generator().manual_seed(s))[:5]]
               .mean(0) - mean).norm())
        for s in range(20)
    ]  # fmt: skip
    assert herded < min(drawn)


@pytest.mark.parametrize("count", [0, 16])
def test_too_few_images_are_refused(count: int) -> None:
    for coreset in (lambda: kmeans_centroids(blobs(), count, 0), lambda: herding(blobs(), count)):
        with pytest.raises(ValueError, match=f"{count} of 15 images; expected 1 to 15"):
            coreset()


def test_coresets_are_selections_of_an_experiment(digits: InlierData) -> None:
    sets = {
        name: initial_set(Experiment(selection=name, ipc=2), digits, None)
        for name in ("random", "kmeans", "herding")
    }
    for one, other in itertools.combinations(sets.values(), 2):
        assert one.images.shape == other.images.shape == (20, 1, 16, 16)
        assert torch.equal(one.labels, other.labels)
        assert not torch.equal(one.images, other.images)
    real = digits.normalise(digits.train.images)
    for name, is_real in (("random", True), ("kmeans", False), ("herding", True)):
        nearest = torch.cdist(sets[name].images.flatten(1), real.flatten(1)).amin(1)
        assert bool((nearest < 0.1).all()) == is_real
    keys = {Experiment(selection=name).key for name in ("distilled", *sets)}
    assert len(keys) == 4
