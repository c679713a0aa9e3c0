"""The ConvNet of dataset distillation, and what every network here has in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trustdd.networks.pooling import AveragePool
from trustdd.settings.errors import BadInput


class Network(nn.Module):
    """Images → penultimate features → logits.

    Attributes:
        channels: of the images.
        image_size: their height = width in pixels.
        features: the layers up to the penultimate features.
        classifier: the linear layer behind them, ``[d] → [classes]``.
    """

    features: nn.Module
    classifier: nn.Linear

    def __init__(self, channels: int, image_size: int) -> None:
        super().__init__()
        self.channels, self.image_size = channels, image_size

    def embed(self, images: Tensor) -> Tensor:
        """Penultimate features ``[n, d]`` of normalised images ``[n, c, h, w]``."""
        return torch.flatten(self.features(images), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[n, classes]`` of normalised images ``[n, c, h, w]``."""
        return self.classifier(self.embed(images))


class ConvNet(Network):
    """Blocks of 3x3 convolution, InstanceNorm, ReLU and 2x2 average pooling; one linear layer.

    InstanceNorm is a GroupNorm of one channel a group, with scale and shift. ``parameters()``
    come in the order: per block convolution weight ``[width, c, 3, 3]`` and bias ``[width]``,
    norm scale and shift ``[width]``; then linear weight ``[classes, width · s²]`` and bias, s
    being the image size halved `depth` times. Images of 28 px are padded to 32 by the first
    convolution.

    Works under ``torch.func.functional_call``; treats images independently of each other.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.
        width: channels of every block.
        depth: number of blocks; at least one pixel has to remain.

    Raises:
        ValueError: a number below 1, or more blocks than the images can be halved.

    Source: Gidaris and Komodakis 2018; as used by Zhao et al. 2021 (DC).
    """

    def __init__(
        self, channels: int, classes: int, image_size: int, width: int = 128, depth: int = 3
    ) -> None:
        super().__init__(channels, image_size)
        check_sizes(
            channels=channels, classes=classes, image_size=image_size, width=width, depth=depth
        )
        padding = first_padding(image_size, 3)
        side = image_size + 2 * (padding - 1)
        largest = side.bit_length() - 1
        if depth > largest:
            raise BadInput(
                f"depth {depth}; expected at most {largest} for images of {image_size} px, "
                "which every block halves"
            )
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=padding),
                instance_norm(width),
                nn.ReLU(inplace=True),
                AveragePool(),
            ]
            padding = 1
            side //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * side * side, classes)


def instance_norm(channels: int) -> nn.GroupNorm:
    """Normalisation of every channel of every image by itself, with scale and shift."""
    return nn.GroupNorm(channels, channels, affine=True)


def first_padding(image_size: int, kernel: int) -> int:
    """Padding of a first convolution: keeps the size, but makes 32 px of 28."""
    return kernel // 2 + (2 if image_size == 28 else 0)


def check_sizes(least: int = 1, **sizes: int) -> None:
    """Refuse sizes that are not integers of at least `least`.

    Raises:
        ValueError: naming the first such size.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            raise BadInput(f"{name} {size!r}; expected an integer ≥ {least}")
