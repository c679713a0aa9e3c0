"""OE draws from a pool split over the class slots; POE corrupts InD images of all classes."""

from __future__ import annotations

import pytest
import torch

from trustdd.data import corruptions
from trustdd.data.initial_set import initial_set
from trustdd.data.inliers import InlierData, load_inliers
from trustdd.data.ood import load_outlier_pool
from trustdd.data.outliers import outlier_source
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream


@pytest.fixture(scope="module")
def digits() -> InlierData:
    return load_inliers(Experiment())


def test_ordinary_distillation_has_no_source(digits: InlierData) -> None:
    assert outlier_source(Experiment(), digits) is None


def test_oe_slots_share_no_image_and_leave_none_out(digits: InlierData) -> None:
    experiment = Experiment(outliers="oe")
    source = outlier_source(experiment, digits)
    assert source.images.dtype == torch.uint8
    together = torch.cat(source.groups)
    assert sorted(together.tolist()) == list(range(len(load_outlier_pool(experiment).images)))


def test_oe_batches_come_from_the_slot_without_repeats(digits: InlierData) -> None:
    source = outlier_source(Experiment(outliers="oe"), digits)
    group = source.groups[3]
    batch = source.batch(3, len(group), stream(0, "a"))
    expected = source.images[group].float() / 255
    assert torch.equal(
        batch.flatten(1).sum(1).sort().values, expected.flatten(1).sum(1).sort().values
    )
    assert len(source.batch(3, len(group) + 5, stream(0, "a"))) == len(group) + 5


@pytest.mark.parametrize("slot", range(6))
def test_poe_corrupts_by_the_slots_kind(digits: InlierData, slot: int) -> None:
    kinds = ("jigsaw", "invert", "mosaic", "speckle")
    experiment = Experiment(outliers="poe", corruptions=kinds)
    source = outlier_source(experiment, digits)
    batch = source.batch(slot, 8, stream(5, "b"))
    assert 0 <= float(batch.min()) <= float(batch.max()) <= 1
    generator = stream(5, "b")
    drawn = torch.randperm(len(digits.train.images), generator=generator)[:8]
    clean = digits.train.images[drawn].float() / 255
    corrupt = corruptions.CORRUPTIONS[kinds[slot % 4]]
    assert torch.equal(batch, corrupt(clean, generator=generator))
    assert len(set(digits.train.labels[drawn].tolist())) > 1, "all classes, not the slot's own"


def test_a_mixed_batch_takes_every_slot_alike(digits: InlierData) -> None:
    source = outlier_source(Experiment(outliers="oe"), digits)
    assert len(source.mixed(23, stream(0, "m"))) == 23
    assert len(source.mixed(3, stream(0, "m"))) == 3


def test_the_initial_set_is_real_sorted_by_class_and_drawn_from_the_seed(
    digits: InlierData,
) -> None:
    experiment = Experiment(outliers="poe", ipc=3, outlier_ipc=2)
    source = outlier_source(experiment, digits)
    start = initial_set(experiment, digits, source)
    assert start.labels.tolist() == [c for c in range(10) for _ in range(3)]
    assert start.outliers.shape == (20, 1, 16, 16)
    real = {tuple(i.flatten().tolist()): int(c) for i, c in zip(*_train(digits), strict=True)}
    back = (start.pictures() * 255).round().byte()
    assert [real[tuple(i.flatten().tolist())] for i in back] == start.labels.tolist()
    other = initial_set(experiment.but(seed=1), digits, source)
    assert not torch.equal(other.images, start.images)
    noise = initial_set(experiment.but(initial="noise"), digits, source)
    assert abs(float(noise.images.mean())) < 0.05
    assert float(noise.images.std()) == pytest.approx(1, abs=0.05)


def test_more_images_than_a_class_has_are_refused(digits: InlierData) -> None:
    with pytest.raises(ValueError, match="ipc 500; class"):
        initial_set(Experiment(ipc=500), digits, None)


def _train(digits: InlierData) -> tuple[torch.Tensor, torch.Tensor]:
    return digits.train.images, digits.train.labels


@pytest.mark.parametrize("kind", corruptions.PAIRED)
def test_a_single_double_exposure_takes_a_second_image(digits: InlierData, kind: str) -> None:
    source = outlier_source(Experiment(outliers="poe", corruptions=(kind,)), digits)
    one = source.batch(0, 1, stream(0, "pair"))
    assert one.shape == (1, 1, 16, 16)
    assert not any(torch.equal(one[0], image.float() / 255) for image in digits.train.images)
    # eleven images over ten slots: shares of one and two
    assert len(source.mixed(11, stream(0, "mixed"))) == 11
