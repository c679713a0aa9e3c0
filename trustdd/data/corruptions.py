"""Corruptions that turn InD images into pseudo-outliers (Pseudo-Outlier Exposure).

Every function takes a batch ``float [n, c, h, w]`` in [0, 1], with one or three channels and an
even height and width, and returns a new batch of the same shape, type and device in [0, 1]. The
whole batch is corrupted at once. All of them raise ``ValueError`` for images of another shape,
type or range (on a GPU: shape or type).

Source: Hendrycks et al. 2019 (Outlier Exposure), App. A, for the kinds; Ma et al. (TrustDD) for
their use as outliers. Published for 32 px colour images and generalised here to any even size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch
from torch import Generator, Tensor

from trustdd.networks.memory import move
from trustdd.settings.randomness import stream
from trustdd.settings.errors import BadInput

#: side of the mosaic's small image, as a share of the whole
MOSAIC_SHARE = 0.2


class Corruption(Protocol):
    """What a corruption looks like to its caller."""

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        """Corrupt a batch ``[n, c, h, w]`` in [0, 1]."""


def jigsaw(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Move the quadrants about, and cut two of them in halves.

    The top-left one stays and has its upper and lower half swapped; bottom-left goes to the top
    right, bottom-right to the bottom left; top-right goes to the bottom right and has its left
    and right half swapped. Local texture survives, the object does not.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: not used; every corruption is called alike.

    Returns:
        The same pixels in other places.
    """
    _check(images)
    height, width = images.shape[-2:]
    upper, left = height // 2, width // 2
    top_left, top_right = images[:, :, :upper, :left], images[:, :, :upper, left:]
    bottom_left, bottom_right = images[:, :, upper:, :left], images[:, :, upper:, left:]
    row, column = height // 4, width // 4
    return torch.cat(
        [
            torch.cat([_swap(top_left, row, 2), bottom_left], 3),
            torch.cat([bottom_right, _swap(top_right, column, 3)], 3),
        ],
        2,
    )


def invert(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Replace green and blue by ``1 − x`` and leave red; a single channel is inverted itself.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: not used.

    Returns:
        Images of false colours (one channel: the negative).
    """
    _check(images)
    if images.shape[1] == 1:
        return 1 - images
    return torch.cat([images[:, :1], 1 - images[:, 1:]], 1)


def mosaic(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Coarsen to ``int(0.2 · h) × int(0.2 · w)`` tiles (at least one), each of one colour.

    A box resize down and back up, where a pixel belongs to the tile that holds its centre, as in
    Pillow, but in floating point: Pillow rounds to 8 bits between. Also known as
    pixelation.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: not used.

    Returns:
        Tiled images.
    """
    _check(images)
    height, width = images.shape[-2:]
    rows, columns = (
        move(_tiling(side).to(images.dtype), images.device) for side in (height, width)
    )
    return (rows @ images @ columns.T).clamp(0, 1)


def speckle(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Multiplicative Gaussian noise: ``clamp(x + x · N(0, 1), 0, 1)``, one draw per value.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: of the noise, drawn on the generator's device. ``None`` gives one fixed noise
            per shape; the global generator is never used.

    Returns:
        Noisy images; black stays black.
    """
    _check(images)
    return _speckled(images, _noise(torch.randn, images, generator))


def uniform_speckle(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Multiplicative uniform noise: ``clamp(x + x · U(0, 1), 0, 1)``; only ever brighter.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: see `speckle`.

    Returns:
        Noisy images, nowhere below the given ones.
    """
    _check(images)
    return _speckled(images, _noise(torch.rand, images, generator))


def rgb_ghost(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Pass the channels on, one of them mirrored: red ← mirrored green, green ← blue, blue ← red.

    A single channel is mirrored left to right, which leaves symmetrical images as they are.

    Args:
        images: ``[n, c, h, w]`` in [0, 1].
        generator: not used.

    Returns:
        Images with a mirrored ghost in red.
    """
    _check(images)
    if images.shape[1] == 1:
        return images.flip(3)
    red, green, blue = images.split(1, 1)
    return torch.cat([green.flip(3), blue, red], 1)


def arithmetic_mean(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Average every image with another one of the batch: ``(a + b) / 2``.

    Args:
        images: ``[n, c, h, w]`` in [0, 1], n ≥ 2.
        generator: of the pairs; every image is first in one pair and second in one. ``None``
            gives one fixed pairing per batch size.

    Returns:
        One double exposure per image.
    """
    _check(images)
    return (images + images[_partners(images, generator)]) / 2


def geometric_mean(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Combine every image with another one of the batch: ``√(a · b)``; dark where either is.

    Args:
        images: ``[n, c, h, w]`` in [0, 1], n ≥ 2.
        generator: see `arithmetic_mean`.

    Returns:
        One combination per image.
    """
    _check(images)
    return (images * images[_partners(images, generator)]).sqrt()


#: name → corruption; POE's class slot c uses number c mod 4 of the first four
CORRUPTIONS: dict[str, Corruption] = {
    "jigsaw": jigsaw,
    "invert": invert,
    "mosaic": mosaic,
    "speckle": speckle,
    "rgb_ghost": rgb_ghost,
    "uniform_speckle": uniform_speckle,
    "arithmetic_mean": arithmetic_mean,
    "geometric_mean": geometric_mean,
}
#: those that combine each image with another one of the batch
PAIRED = ("arithmetic_mean", "geometric_mean")


def _check(images: Tensor) -> None:
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise BadInput(f"images of shape {shape}; expected [n, c, h, w] with c = 1 or 3")
    if min(shape[2:]) < 2 or shape[2] % 2 or shape[3] % 2:
        raise BadInput(f"images of {shape[2]}x{shape[3]} px; expected an even height and width")
    if not images.is_floating_point():
        raise BadInput(f"images of type {images.dtype}; expected floating point in [0, 1]")
    # on a GPU the host would have to wait for the answer: there, the range is the caller's to keep
    if images.numel() and images.device.type == "cpu":
        low, high = (float(end) for end in images.detach().aminmax())
        # written so that a NaN fails it
        if not (low >= 0 and high <= 1):
            raise BadInput(f"images with values from {low:g} to {high:g}; expected [0, 1]")


def _swap(images: Tensor, cut: int, dim: int) -> Tensor:
    """Exchange what lies before the cut with what lies behind it."""
    size = images.shape[dim]
    return torch.cat([images.narrow(dim, cut, size - cut), images.narrow(dim, 0, cut)], dim)


def _speckled(images: Tensor, noise: Tensor) -> Tensor:
    return (images + images * noise).clamp(0, 1)


def _noise(draw: Callable[..., Tensor], images: Tensor, generator: Generator | None) -> Tensor:
    generator = generator if generator is not None else stream(0, "speckle")
    noise = draw(images.shape, generator=generator, device=generator.device, dtype=images.dtype)
    return move(noise, images.device)


def _partners(images: Tensor, generator: Generator | None) -> Tensor:
    """Another image's index for each: the next one on a random round tour, so never its own."""
    count = len(images)
    if count < 2:
        raise BadInput(f"a batch of {count}; expected at least 2 images to pair")
    generator = generator if generator is not None else stream(0, "pairs")
    tour = torch.randperm(count, generator=generator, device=generator.device)
    partners = torch.empty_like(tour).scatter_(0, tour, tour.roll(1))
    return move(partners, images.device)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _tiling(size: int) -> Tensor:
    """One side's box resize to ``int(0.2 · size)`` and back: ``float64 [size, size]``."""
    tiles = max(1, int(size * MOSAIC_SHARE))
    return _box(tiles, size) @ _box(size, tiles)


def _box(source: int, target: int) -> Tensor:
    """A box resize of one side as a matrix ``float64 [target, source]``.

    A target pixel averages the source pixels whose centres it covers. Which of two neighbours
    gets a centre on their border hangs on rounding, so the steps are Pillow's, in its order.
    """
    scale = source / target
    width = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    first = (centre - width / 2 + 0.5).clamp(min=0).floor()
    last = (centre + width / 2 + 0.5).clamp(max=source).floor()
    pixel = torch.arange(source, dtype=torch.float64)[None]
    offset = (pixel - centre + 0.5) * (1.0 / width)
    covered = (pixel >= first) & (pixel < last) & (offset <= 0.5)
    return covered.double() / covered.sum(1, keepdim=True)
