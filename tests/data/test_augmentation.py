"""Siamese augmentation: every operation against another implementation of it, and its draws."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from trustdd.data import augmentation
from trustdd.data.augmentation import OPERATIONS, Draw
from trustdd.settings.defaults import DSA_STRATEGY
from trustdd.settings.experiment import AUGMENTATIONS

SHAPE = (3, 12, 16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=generator(seed), dtype=torch.float64)


def drawn(operation: str, count: int = 4000, siamese: bool = False, seed: int = 0) -> Draw:
    return augmentation.draw(operation, count, SHAPE, generator(seed), siamese)


# -- each operation against an oracle ---------------------------------------------------------


def test_color_is_brightness_then_saturation_then_contrast() -> None:
    images, draw = batch(), drawn("color", 5)
    ours = augmentation.apply(images, draw)
    b, s, c = (draw.values[k].double().numpy() for k in ("brightness", "saturation", "contrast"))
    for i, image in enumerate(images.numpy()):
        bright = image + b[i]
        grey = bright.mean(axis=0)
        saturated = grey + s[i] * (bright - grey)
        contrasted = saturated.mean() + c[i] * (saturated - saturated.mean())
        assert np.allclose(ours[i].numpy(), contrasted)


def test_crop_is_zero_padding_and_a_cut() -> None:
    images, draw = batch(40), drawn("crop", 40)
    ours = augmentation.apply(images, draw).numpy()
    for i, image in enumerate(images.numpy()):
        row, column = (int(draw.values[k][i]) for k in ("rows", "columns"))
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))  # an eighth of 12 is 1.5, rounded to 2
        assert np.array_equal(ours[i], padded[:, 2 + row : 14 + row, 2 + column : 18 + column])


def test_cutout_zeroes_half_of_each_side() -> None:
    images, draw = batch(40), drawn("cutout", 40)
    ours = augmentation.apply(images, draw).numpy()
    for i, image in enumerate(images.numpy()):
        top, left = (int(draw.values[k][i]) for k in ("top", "left"))
        expected = image.copy()
        expected[:, max(top, 0) : top + 6, max(left, 0) : left + 8] = 0
        assert np.array_equal(ours[i], expected)


def test_flip_mirrors_the_drawn_images() -> None:
    images, draw = batch(40), drawn("flip", 40)
    ours = augmentation.apply(images, draw)
    mirrored = draw.values["mirrored"]
    assert 0 < int(mirrored.sum()) < 40
    for image, mine, flag in zip(images, ours, mirrored, strict=True):
        assert torch.equal(mine, TF.hflip(image) if flag else image)


def test_rotate_is_torchvisions() -> None:
    images = torch.randn(6, 3, 16, 16, generator=generator(), dtype=torch.float64)
    draw = augmentation.draw("rotate", 6, (3, 16, 16), generator(1), False)
    ours = augmentation.apply(images, draw)
    matrix = draw.values["map"]
    for i in range(6):
        degrees = math.degrees(math.atan2(float(matrix[i, 1, 0]), float(matrix[i, 0, 0])))
        expected = TF.rotate(images[i], degrees, InterpolationMode.BILINEAR)
        # a bilinear sample moves with the rounding of torchvision's float32 angles
        assert torch.allclose(ours[i], expected, atol=1e-4)


def test_scale_is_an_affine_resampling_about_the_centre() -> None:
    images, draw = batch(6), drawn("scale", 6)
    ours = augmentation.apply(images, draw).numpy()
    for i, image in enumerate(images.numpy()):
        y, x = float(draw.values["map"][i, 1, 1]), float(draw.values["map"][i, 0, 0])
        middle = np.array([5.5, 7.5])
        offset = middle - np.array([y, x]) * middle
        for channel in range(3):
            expected = ndimage.affine_transform(
                image[channel], np.diag([y, x]), offset, order=1, mode="grid-constant", cval=0.0
            )
            assert np.allclose(ours[i, channel], expected, atol=1e-5)


# -- what is drawn ------------------------------------------------------------------------------


def check_uniform(values: torch.Tensor, low: float, high: float) -> None:
    width = high - low
    assert low <= float(values.min()) < low + 0.01 * width
    assert high - 0.01 * width < float(values.max()) <= high
    assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.03 * width)
    assert float(values.std()) == pytest.approx(width / 12**0.5, abs=0.03 * width)


def test_ranges_of_the_continuous_parameters() -> None:
    color = drawn("color").values
    check_uniform(color["brightness"], -0.5, 0.5)
    check_uniform(color["saturation"], 0, 2)
    check_uniform(color["contrast"], 0.5, 1.5)
    scale = drawn("scale").values["map"]
    for axis in range(2):
        check_uniform(scale[:, axis, axis], 1 / 1.2, 1.2)
    # the axes are drawn apart
    assert abs(float(torch.corrcoef(torch.stack([scale[:, 0, 0], scale[:, 1, 1]]))[0, 1])) < 0.05
    rotation = drawn("rotate").values["map"]
    angle = torch.atan2(rotation[:, 1, 0], rotation[:, 0, 0])
    check_uniform(angle.rad2deg(), -15, 15)
    assert torch.allclose(torch.linalg.det(rotation[:, :, :2]), torch.ones(4000), atol=1e-6)
    assert float(drawn("flip").values["mirrored"].float().mean()) == pytest.approx(0.5, abs=0.03)


def test_every_shift_and_every_place_of_the_cutout_is_as_likely() -> None:
    crop, cutout = drawn("crop").values, drawn("cutout").values
    for values, allowed in (
        (crop["rows"], range(-2, 3)),
        (crop["columns"], range(-2, 3)),
        (cutout["top"], range(-3, 10)),  # a cut of 6 rows, its centre on any of 0…12
        (cutout["left"], range(-4, 13)),
    ):
        counts = Counter(values.tolist())
        assert sorted(counts) == list(allowed)
        share = 1 / len(allowed)
        for count in counts.values():
            assert count / 4000 == pytest.approx(share, abs=4 * (share / 4000) ** 0.5)


def test_an_odd_cut_has_its_centre_on_a_pixel() -> None:
    values = augmentation.draw("cutout", 2000, (1, 10, 10), generator(), False).values
    assert sorted(set(values["top"].tolist())) == list(range(-2, 8))  # 5 rows, centre on 0…9


def test_every_operation_of_a_strategy_is_as_likely() -> None:
    stream = generator()
    names = Counter(
        augmentation.draw(DSA_STRATEGY, 1, SHAPE, stream, True).operation for _ in range(1800)
    )
    assert set(names) == set(OPERATIONS) == set(AUGMENTATIONS)
    assert all(count == pytest.approx(300, abs=65) for count in names.values())


# -- Siamese ------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_siamese_is_one_transformation_for_every_image_and_both_batches(
    operation: str, seed: int
) -> None:
    draw = drawn(operation, 99, siamese=True, seed=seed)
    assert draw.count == 1
    real, synthetic = batch(7, 1), batch(2, 2)
    together = augmentation.apply(torch.cat([real, synthetic]), draw)
    apart = [augmentation.apply(images, draw) for images in (real, synthetic)]
    assert torch.equal(together, torch.cat(apart))
    alone = torch.cat([augmentation.apply(image[None], draw) for image in real])
    assert torch.allclose(alone, apart[0])
    # a shared draw is what a draw an image would be with these parameters for each of them
    repeated = Draw(
        operation, SHAPE, {k: v.expand(7, *v.shape[1:]) for k, v in draw.values.items()}
    )
    assert torch.allclose(augmentation.apply(real, repeated), apart[0])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_otherwise_every_image_has_its_own(operation: str) -> None:
    same = batch(1).expand(12, -1, -1, -1)
    results = augmentation.apply(same, drawn(operation, 12))
    assert len({image.numpy().tobytes() for image in results}) > 1


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("siamese", [True, False])
def test_gradients_are_those_of_the_operation(operation: str, siamese: bool) -> None:
    images = batch(3)[:, :, :6, :6].contiguous().requires_grad_()
    draw = augmentation.draw(operation, 3, (3, 6, 6), generator(3), siamese)
    assert torch.autograd.gradcheck(lambda x: augmentation.apply(x, draw), images)
    (gradient,) = torch.autograd.grad(augmentation.apply(images, draw).square().sum(), images)
    assert float(gradient.abs().sum()) > 0


@pytest.mark.parametrize("siamese", [True, False])
def test_the_same_seed_the_same_images_and_no_global_draws(siamese: bool) -> None:
    images, state = batch().float(), torch.get_rng_state()
    for seed in range(12):
        one, two = (
            augmentation.augment(images, DSA_STRATEGY, generator(seed), siamese) for _ in range(2)
        )
        assert torch.equal(one, two) and one.dtype == images.dtype
    assert torch.equal(torch.get_rng_state(), state)


def test_no_strategy_changes_and_draws_nothing() -> None:
    images, stream = batch(), generator()
    assert augmentation.augment(images, None, stream) is images
    assert torch.equal(stream.get_state(), generator().get_state())


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'blur' in strategy 'flip_blur'; expected names of color"):
        drawn("flip_blur")
    with pytest.raises(ValueError, match="expected names of"):
        drawn("")
    with pytest.raises(ValueError, match=r"\(5, 3, 12, 16\); this draw is for \[4, 3, 12, 16\]"):
        augmentation.apply(batch(5), drawn("crop", 4))
    with pytest.raises(ValueError, match=r"this draw is for \[n, 3, 12, 16\]"):
        augmentation.apply(batch(5)[:, :, :8], drawn("crop", 4, siamese=True))
    with pytest.raises(ValueError, match=r"torch.uint8; expected floating point"):
        augmentation.apply(torch.zeros(4, *SHAPE, dtype=torch.uint8), drawn("crop", 4))


@pytest.mark.parametrize("operation", ["scale", "rotate"])
@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_resampling_by_a_matrix_is_resampling(operation: str, size: tuple[int, int]) -> None:
    """What a GPU does for synthetic images, so that their gradients repeat to the bit."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(4, 3, *size, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.randn(images.shape, generator=generator, dtype=torch.float64)
    drawn = augmentation.draw(operation, 1, (3, *size), generator, True)
    by_grid = augmentation.apply(images, drawn)
    by_matrix = augmentation._resample_by_matrix(images, drawn.values["map"].double())
    torch.testing.assert_close(by_matrix, by_grid)
    expected, found = (
        torch.autograd.grad((own * weights).sum(), images)[0] for own in (by_grid, by_matrix)
    )
    torch.testing.assert_close(found, expected)
