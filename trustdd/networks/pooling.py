"""2x2 average pooling as one matrix product, several times as fast on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AveragePool(nn.Module):
    """2x2 average pooling with stride 2.

    Two rows of a contiguous image lie behind each other in memory, so pooling them is a product
    with one constant ``[width / 2, 2 · width]`` matrix of quarters; forward, backward and double
    backward are then matrix products. PyTorch's CPU kernels for contiguous images are slower by
    far. On other devices, and for odd sizes, its own pooling is used. The values differ by
    rounding only.
    """

    def forward(self, images: Tensor) -> Tensor:
        """``[n, c, h, w]`` → ``[n, c, h // 2, w // 2]``."""
        count, channels, height, width = images.shape
        if images.device.type != "cpu" or height % 2 or width % 2 or not images.is_contiguous():
            return F.avg_pool2d(images, 2)
        pooled = F.linear(images.reshape(-1, 2 * width), _quarters(width, images.dtype))
        return pooled.reshape(count, channels, height // 2, width // 2)


_MATRICES: dict[tuple[int, torch.dtype], Tensor] = {}


def _quarters(width: int, dtype: torch.dtype) -> Tensor:
    """The matrix that averages two rows of `width` values behind each other, two by two."""
    if (width, dtype) not in _MATRICES:
        columns = torch.arange(2 * width)
        # made outside of inference mode, so that it may be used inside and outside of it
        with torch.inference_mode(False):
            matrix = torch.zeros(width // 2, 2 * width, dtype=dtype)
            matrix[(columns % width) // 2, columns] = 0.25
        _MATRICES[width, dtype] = matrix
    return _MATRICES[width, dtype]
