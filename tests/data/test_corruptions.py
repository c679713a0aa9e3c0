"""Corruptions, held against the authors' code, Pillow and properties."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from PIL import Image

from trustdd.data import corruptions
from trustdd.data.corruptions import CORRUPTIONS
from trustdd.settings.experiment import CORRUPTION_NAMES

NOISY = ("speckle", "uniform_speckle", "arithmetic_mean", "geometric_mean")


def originals() -> torch.Tensor:
    return reference.tensors()["corruption.input_uint8"].float() / 255


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["jigsaw", "invert", "rgb_ghost"])
def test_equal_to_the_authors_code(name: str) -> None:
    assert torch.equal(CORRUPTIONS[name](originals()), reference.tensors()[f"corruption.{name}"])


def test_mosaic_is_the_authors_up_to_their_rounding() -> None:
    expected = reference.tensors()["corruption.mosaic"]
    assert (corruptions.mosaic(originals()) - expected).abs().max() <= 1 / 255 + 1e-6


def test_speckle_is_the_authors_for_their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = reference.tensors()["corruption.speckle_noise"]
    monkeypatch.setattr(corruptions, "_noise", lambda draw, images, generator: noise)
    expected = reference.tensors()["corruption.speckle"]
    assert torch.equal(corruptions.speckle(originals()), expected)


@pytest.mark.parametrize(
    "height, width",
    [(2, 2), (4, 6), (8, 8), (16, 16), (22, 22), (28, 28), (64, 64), (102, 142), (128, 128)],
)
def test_mosaic_is_pillows_box_resize_at_any_size(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    tiles = max(1, int(0.2 * width)), max(1, int(0.2 * height))
    box = Image.Resampling.BOX
    expected = np.asarray(Image.fromarray(pixels).resize(tiles, box).resize((width, height), box))
    ours = corruptions.mosaic(torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255)
    ours = ours[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(ours - expected).max() <= 1 + 1e-3


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (3, 1, 30, 20), (1, 1, 2, 2)])
def test_jigsaw_moves_every_pixel_and_changes_none(shape: tuple[int, ...]) -> None:
    batch = images(*shape)
    moved = corruptions.jigsaw(batch)
    assert torch.equal(moved.flatten(2).sort().values, batch.flatten(2).sort().values)
    assert not torch.equal(moved, batch)


def test_jigsaw_of_a_small_image_piece_by_piece() -> None:
    # 4x4: quadrants of 2x2; each letter below is a pixel
    grid = torch.arange(16.0).view(1, 1, 4, 4) / 16
    expected = torch.tensor(
        [
            [4, 5, 8, 9],  # lower half of the top left, then the bottom left
            [0, 1, 12, 13],
            [10, 11, 3, 2],  # bottom right, then the top right with its columns swapped
            [14, 15, 7, 6],
        ]
    )
    assert torch.equal(corruptions.jigsaw(grid)[0, 0] * 16, expected)


def test_one_channel() -> None:
    batch = images(2, 1, 8, 8)
    assert torch.equal(corruptions.invert(batch), 1 - batch)
    assert torch.equal(corruptions.rgb_ghost(batch), batch.flip(3))


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_shape_type_and_range_and_the_input_untouched(name: str, channels: int) -> None:
    batch = images(6, channels, 10, 14).double()
    before = batch.clone()
    corrupted = CORRUPTIONS[name](batch, generator=torch.Generator().manual_seed(1))
    assert corrupted.shape == batch.shape and corrupted.dtype == torch.float64
    assert float(corrupted.min()) >= 0 and float(corrupted.max()) <= 1
    assert torch.equal(batch, before)
    assert not torch.allclose(corrupted, batch)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_only_the_given_generator_is_used(name: str) -> None:
    batch, state = images(8, 3, 8, 8), torch.get_rng_state()
    results = [
        CORRUPTIONS[name](batch, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2]) == (name not in NOISY)
    assert torch.equal(CORRUPTIONS[name](batch), CORRUPTIONS[name](batch))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_noise_of_speckles() -> None:
    # dark enough that nothing is clamped: x · (1 + noise) shows the noise itself
    batch = torch.full((50, 1, 32, 32), 0.1)
    generator = torch.Generator().manual_seed(0)
    factor = corruptions.uniform_speckle(batch, generator) / 0.1 - 1
    assert float(factor.min()) >= 0 and float(factor.max()) <= 1
    assert float(factor.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(factor.std()) == pytest.approx(12**-0.5, abs=0.01)
    factor = corruptions.speckle(batch, generator) / 0.1 - 1
    assert float(factor.median()) == pytest.approx(0, abs=0.02)
    assert float((factor > 1).float().mean()) == pytest.approx(0.1587, abs=0.01)
    assert float((factor <= -1).float().mean()) == pytest.approx(0.1587, abs=0.01)


@pytest.mark.parametrize("count", [2, 3, 17])
def test_means_pair_every_image_with_another_one_once(count: int) -> None:
    # image i is the constant 2^-i, so that a mean tells which two it is of
    level = 0.5 ** torch.arange(count, dtype=torch.float64)
    batch = level.view(-1, 1, 1, 1).expand(count, 1, 2, 2)
    generator = torch.Generator().manual_seed(count)
    mean = corruptions.arithmetic_mean(batch, generator)[:, 0, 0, 0]
    partner = 2 * mean - level
    assert sorted(partner.tolist()) == sorted(level.tolist())
    assert (partner != level).all()
    generator.manual_seed(count)
    product = corruptions.geometric_mean(batch, generator)[:, 0, 0, 0].square()
    assert torch.allclose(product, level * partner)


def test_the_names_an_experiment_accepts() -> None:
    assert tuple(CORRUPTIONS) == CORRUPTION_NAMES


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(
    "batch, message",
    [
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\); expected \[n, c, h, w\]"),
        (torch.zeros(2, 2, 8, 8), "c = 1 or 3"),
        (torch.zeros(2, 3, 8, 7), "8x7 px; expected an even height and width"),
        (torch.zeros(2, 3, 0, 8), "expected an even height and width"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "torch.uint8; expected floating point"),
        (torch.full((2, 3, 8, 8), 1.5), r"from 1.5 to 1.5; expected \[0, 1\]"),
        (torch.full((2, 3, 8, 8), -0.1), r"expected \[0, 1\]"),
        (torch.full((2, 3, 8, 8), torch.nan), r"expected \[0, 1\]"),
    ],
)
def test_wrong_images_are_named(name: str, batch: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CORRUPTIONS[name](batch)


@pytest.mark.parametrize("name", ["arithmetic_mean", "geometric_mean"])
def test_a_single_image_has_no_partner(name: str) -> None:
    with pytest.raises(ValueError, match="batch of 1; expected at least 2"):
        CORRUPTIONS[name](torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"arithmetic_mean", "geometric_mean"}))
def test_an_empty_batch_stays_empty(name: str) -> None:
    assert CORRUPTIONS[name](torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)
