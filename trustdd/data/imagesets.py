"""`ImageSet`: images as one uint8 tensor, and what fits them to another size or channel count."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trustdd.settings.randomness import stream

#: seed of what every experiment shares (OOD images, subsets of them), whatever its own seed is
SHARED_SEED = 0
#: images resized at once, so that no float copy of a whole set is made
_PIECE = 2048


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Named images. Tensors may be memory-mapped and shared: read them, do not write to them.

    Attributes:
        name: the set's name.
        images: ``uint8 [n, c, h, w]``, 0–255, h = w.
        labels: ``int64 [n]``, indices into `classes`; ``None`` where there are no classes.
        classes: names of the classes; empty where there are none.
    """

    name: str
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height = width in pixels."""
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the images and labels, wherever they came from: 16 hexadecimal digits."""
        return fingerprint(self.images, *([] if self.labels is None else [self.labels]))


def fingerprint(*tensors: Tensor) -> str:
    """Hash tensors by type, shape and bytes: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for tensor in tensors:
        kept = tensor.detach().cpu().contiguous()
        digest.update(f"{kept.dtype} {tuple(kept.shape)}\n".encode())
        digest.update(kept.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Make grey images RGB by repetition, or RGB images grey by their ITU-R 601 luma.

    Args:
        images: ``uint8 [n, 1 or 3, h, w]``.
        channels: 1 or 3.

    Returns:
        ``uint8 [n, channels, h, w]``; the luma is Pillow's mode ``L``, to the last bit.
    """
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    pieces = []
    for piece in images.split(_PIECE):
        red, green, blue = piece.int().unbind(1)
        luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
        pieces.append(luma.to(torch.uint8).unsqueeze(1))
    return torch.cat(pieces)


def to_size(images: Tensor, image_size: int) -> Tensor:
    """Resize square images bilinearly, antialiased when they shrink.

    Args:
        images: ``uint8 [n, c, h, h]``.
        image_size: height and width wanted, in pixels.

    Returns:
        ``uint8 [n, c, image_size, image_size]``; the very tensor when nothing changes.
    """
    if images.shape[-1] == image_size:
        return images
    size = (image_size, image_size)
    pieces = [
        F.interpolate(piece.float(), size, mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for piece in images.split(_PIECE)
    ]
    return torch.cat(pieces)


def shared_subset(count: int, limit: int, name: str) -> Tensor | None:
    """Choose at most `limit` of `count` images, the same ones for every experiment.

    Args:
        count: how many images there are.
        limit: how many are wanted; 0 for all.
        name: the set's name; each has its own draw.

    Returns:
        Sorted indices, ``int64 [limit]``, or ``None`` where all are taken.
    """
    if limit == 0 or count <= limit:
        return None
    generator = stream(SHARED_SEED, "subset", name, count)
    return torch.randperm(count, generator=generator)[:limit].sort().values
