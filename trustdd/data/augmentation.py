"""Differentiable Siamese augmentation (DSA): one random operation a call, for any batch.

A strategy names its operations, joined by ``_``; a call draws one of them and its parameters.
Under *Siamese* augmentation the parameters are shared by the batch, and the same `Draw` is
applied to the real and to the synthetic images, so that their gradients stay comparable.

================ ==================================================================================
``color``        brightness ``x + b``, b in ±0.5; then saturation, each pixel's distance from its
                 mean over channels × [0, 2]; then contrast, each value's distance from the image's
                 mean × [0.5, 1.5]
``crop``         shift by up to ⅛ of each side, zeros coming in
``cutout``       zeros in a square of half of each side, its centre anywhere
``flip``         left to right, with probability ½
``scale``        each axis by a factor in [1/1.2, 1.2], zeros coming in
``rotate``       by up to ±15°, zeros coming in
================ ==================================================================================

Source: Zhao and Bilen 2021 (DSA), Sec. 3; the ranges are those of its published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from trustdd.networks.memory import move
from trustdd.settings.errors import BadInput

CROP_SHARE = 0.125
CUTOUT_SHARE = 0.5
SCALE_RATIO = 1.2
ROTATION_DEGREES = 15.0
#: of images that are resampled by a matrix
MATRIX_PIXELS = 64 * 64

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Draw:
    """One drawn augmentation, ready to be applied to any batch of its image shape.

    Attributes:
        operation: which of `OPERATIONS`.
        image_shape: ``(c, h, w)`` it was drawn for.
        values: the operation's parameters by name, tensors whose first dimension is the number
            of images, or 1 for parameters that a whole batch shares.
    """

    operation: str
    image_shape: Shape
    values: Mapping[str, Tensor]

    @property
    def count(self) -> int:
        """For how many images parameters were drawn; 1 fits any batch."""
        return len(next(iter(self.values.values())))


def draw(
    strategy: str, count: int, image_shape: Shape, generator: Generator, siamese: bool
) -> Draw:
    """Draw an operation and its parameters.

    Args:
        strategy: names of `OPERATIONS` joined by ``_``, each as likely as it is often named.
        count: images to draw parameters for; not looked at when `siamese`.
        image_shape: ``(c, h, w)``.
        generator: source of all draws; parameters are made on its device.
        siamese: one set of parameters for a whole batch, instead of one an image.

    Returns:
        The draw; its tensors have a first dimension of `count`, or of 1 when `siamese`.

    Raises:
        ValueError: an operation that does not exist.
    """
    names = strategy.split("_")
    for name in names:
        if name not in OPERATIONS:
            allowed = ", ".join(OPERATIONS)
            raise BadInput(
                f"augmentation '{name}' in strategy '{strategy}'; expected names of {allowed}"
            )
    device = generator.device
    name = names[int(torch.randint(len(names), (), generator=generator, device=device))]
    parameters, _ = OPERATIONS[name]
    return Draw(name, image_shape, parameters(1 if siamese else count, image_shape, generator))


def apply(images: Tensor, draw: Draw) -> Tensor:
    """Apply a drawn operation to a batch, differentiably.

    Args:
        images: ``float [n, c, h, w]``, normalised or not; zeros come in from outside.
        draw: for n images, or shared.

    Returns:
        The augmented batch, of the same shape, type and device.

    Raises:
        ValueError: the draw was made for another shape or number of images.
    """
    if tuple(images.shape[1:]) != draw.image_shape or draw.count not in (1, len(images)):
        count = "n" if draw.count == 1 else draw.count
        channels, height, width = draw.image_shape
        raise BadInput(
            f"images of shape {tuple(images.shape)}; this draw is for "
            f"[{count}, {channels}, {height}, {width}]"
        )
    if not images.is_floating_point():
        raise BadInput(f"images of type {images.dtype}; expected floating point")
    _, operation = OPERATIONS[draw.operation]
    return operation(images, {k: move(v, images.device) for k, v in draw.values.items()})


def augment(
    images: Tensor, strategy: str | None, generator: Generator, siamese: bool = False
) -> Tensor:
    """Draw and apply at once.

    Args:
        images: ``float [n, c, h, w]``.
        strategy: see `draw`; ``None`` for no augmentation, which draws nothing.
        generator: source of all draws.
        siamese: see `draw`.

    Returns:
        The augmented batch; `images` themselves for no augmentation.

    Raises:
        ValueError: see `draw` and `apply`.
    """
    if strategy is None:
        return images
    count, channels, height, width = images.shape
    return apply(images, draw(strategy, count, (channels, height, width), generator, siamese))


# -- parameters: (count, image shape, generator) → tensors ------------------------------------


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    drawn = torch.rand(count, generator=generator, device=generator.device)
    return drawn * (high - low) + low


def _integers(count: int, low: int, high: int, generator: Generator) -> Tensor:
    """Uniform in low…high, both included."""
    return torch.randint(low, high + 1, (count,), generator=generator, device=generator.device)


def _draw_color(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    return {
        "brightness": _uniform(count, -0.5, 0.5, generator),
        "saturation": _uniform(count, 0.0, 2.0, generator),
        "contrast": _uniform(count, 0.5, 1.5, generator),
    }


def _draw_crop(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    rows, columns = (int(side * CROP_SHARE + 0.5) for side in shape[1:])
    return {
        "rows": _integers(count, -rows, rows, generator),
        "columns": _integers(count, -columns, columns, generator),
    }


def _draw_cutout(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    """First row and column of the square; it may hang over the border on any side."""
    values = {}
    for name, side in zip(("top", "left"), shape[1:], strict=True):
        cut = _cut(side)
        # a square of even size has its centre between pixels, hence at one more place
        centre = _integers(count, 0, side - cut % 2, generator)
        values[name] = centre - cut // 2
    return values


def _draw_flip(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    return {"mirrored": _uniform(count, 0.0, 1.0, generator) < 0.5}


def _draw_scale(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    y, x = (_uniform(count, 1 / SCALE_RATIO, SCALE_RATIO, generator) for _ in range(2))
    return {"map": _linear_map(x, torch.zeros_like(x), torch.zeros_like(y), y)}


def _draw_rotate(count: int, shape: Shape, generator: Generator) -> dict[str, Tensor]:
    limit = math.radians(ROTATION_DEGREES)
    angle = _uniform(count, -limit, limit, generator)
    return {"map": _linear_map(angle.cos(), -angle.sin(), angle.sin(), angle.cos())}


def _linear_map(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """Where each output position looks, as ``[n, 2, 3]``; the image's centre stays."""
    zero = torch.zeros_like(xx)
    return torch.stack([xx, xy, zero, yx, yy, zero], 1).unflatten(1, (2, 3))


# -- operations: (images, parameters) → images -------------------------------------------------


def _color(images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    brightness, saturation, contrast = (
        values[name].to(images.dtype)[:, None, None, None]
        for name in ("brightness", "saturation", "contrast")
    )
    images = images + brightness
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * saturation + grey
    middle = images.mean((1, 2, 3), keepdim=True)
    return (images - middle) * contrast + middle


def _crop(images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) + values["rows"][:, None]
    columns = torch.arange(width, device=images.device) + values["columns"][:, None]
    inside = _both((rows >= 0) & (rows < height), (columns >= 0) & (columns < width))
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    if len(rows) == 1:
        moved = images.index_select(2, rows[0]).index_select(3, columns[0])
    else:
        place = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None]
        flat = images.flatten(2)
        moved = flat.gather(2, place.expand_as(flat)).view_as(images)
    return moved * inside.to(images.dtype)


def _cutout(images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - values["top"][:, None]
    columns = torch.arange(width, device=images.device) - values["left"][:, None]
    cut = _both((rows >= 0) & (rows < _cut(height)), (columns >= 0) & (columns < _cut(width)))
    return images * (~cut).to(images.dtype)


def _flip(images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    return torch.where(values["mirrored"][:, None, None, None], images.flip(3), images)


def _resample(images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    theta = values["map"].to(images.dtype)
    differentiated = images.requires_grad and torch.is_grad_enabled()
    shared = len(theta) == 1 and images[0, 0].numel() <= MATRIX_PIXELS
    if images.device.type == "cuda" and differentiated and shared:
        return _resample_by_matrix(images, theta)
    size = [len(theta), *images.shape[1:]]
    grid = F.affine_grid(theta, size, align_corners=True).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=True)


def _resample_by_matrix(images: Tensor, theta: Tensor) -> Tensor:
    """The same by one product with the matrix of the map, whose gradient is a product too.

    On a GPU, the gradient of ``grid_sample`` is added up in any order, so that no two runs of it
    agree to the bit. The matrix is what becomes of images of one white pixel. Above 64 px it would
    take more than 64 MiB; there, runs differ by rounding.
    """
    height, width = images.shape[-2:]
    size = height * width
    with torch.no_grad():
        # as channels of one image, since the map is one
        pixels = torch.eye(size, dtype=images.dtype, device=images.device)
        grid = F.affine_grid(theta, [1, size, height, width], align_corners=True)
        matrix = F.grid_sample(
            pixels.view(1, size, height, width), grid, padding_mode="zeros", align_corners=True
        ).view(size, size)
    return (images.flatten(2) @ matrix).view_as(images)


def _both(rows: Tensor, columns: Tensor) -> Tensor:
    """``bool [n, h]`` and ``[n, w]`` → ``[n, 1, h, w]``, true where both are."""
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _cut(side: int) -> int:
    return int(side * CUTOUT_SHARE + 0.5)


_Parameters = Callable[[int, Shape, Generator], dict[str, Tensor]]
_Operation = Callable[[Tensor, Mapping[str, Tensor]], Tensor]

#: name → how its parameters are drawn, and what it does
OPERATIONS: dict[str, tuple[_Parameters, _Operation]] = {
    "color": (_draw_color, _color),
    "crop": (_draw_crop, _crop),
    "cutout": (_draw_cutout, _cutout),
    "flip": (_draw_flip, _flip),
    "scale": (_draw_scale, _resample),
    "rotate": (_draw_rotate, _resample),
}
