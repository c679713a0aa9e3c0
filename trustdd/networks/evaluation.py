"""Networks that a distilled set was not made with: does what it teaches carry over?

The architectures that dataset condensation is evaluated on, for images from 16 px on. Where the
published ones are laid out for 32 px alone, the note of each says what other sizes change.
"""

from __future__ import annotations

from torch import nn

from trustdd.networks.convnet import Network, check_sizes, first_padding, instance_norm

SMALLEST = 16
VGG11_WIDTHS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class MLP(Network):
    """Two hidden layers of 128 units on the flattened image. No norm.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.

    Raises:
        ValueError: a size that is too small.
    """

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__(channels, image_size)
        _check(channels, classes, image_size)
        self.features = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * image_size**2, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, 128),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(128, classes)


class LeNet(Network):
    """LeNet-5 with ReLU and max-pooling. No norm.

    Other sizes than 32 px change the width of the first linear layer only.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.

    Raises:
        ValueError: a size that is too small.

    Source: LeCun et al. 1998.
    """

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__(channels, image_size)
        _check(channels, classes, image_size)
        # unlike elsewhere no padding but for 28 px, which become 32
        padding = 2 if image_size == 28 else 0
        side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
        self.features = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(84, classes)


class AlexNet(Network):
    """Five convolutions and three max-poolings, as usual for CIFAR; one linear layer. No norm.

    Other sizes than 32 px change the width of the linear layer only.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.

    Raises:
        ValueError: a size that is too small.

    Source: Krizhevsky et al. 2012; the small version of Zhao et al. 2021.
    """

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__(channels, image_size)
        _check(channels, classes, image_size)
        padding = first_padding(image_size, 5)
        side = (image_size + 2 * (padding - 2)) // 8
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(128, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(192, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 192, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Linear(192 * side * side, classes)


class VGG11(Network):
    """VGG-11 with InstanceNorm behind every convolution and one linear layer on 512 features.

    Larger images than 32 px are averaged over the map that remains. For smaller ones, a pooling
    that would leave a convolution a single pixel, which InstanceNorm turns into zero, is left out.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.

    Raises:
        ValueError: a size that is too small.

    Source: Simonyan and Zisserman 2015.
    """

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__(channels, image_size)
        _check(channels, classes, image_size)
        padding = first_padding(image_size, 3)
        side = image_size + 2 * (padding - 1)
        layers: list[nn.Module] = []
        for stage, widths in enumerate(VGG11_WIDTHS):
            for width in widths:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=padding),
                    instance_norm(width),
                    nn.ReLU(inplace=True),
                ]
                channels, padding = width, 1
            if side >= 4 or stage == len(VGG11_WIDTHS) - 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Linear(512, classes)


class ResNet18(Network):
    """ResNet-18 for small images: a 3x3 stem of stride 1, no first pooling, InstanceNorm.

    The layers are torchvision's. Every size ends in an average over the map, 512 features.

    Args:
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.

    Raises:
        ValueError: a size that is too small.

    Source: He et al. 2016, with the usual changes for CIFAR.
    """

    def __init__(self, channels: int, classes: int, image_size: int) -> None:
        super().__init__(channels, image_size)
        # here, so that no one pays for importing torchvision who builds none
        from torchvision.models.resnet import BasicBlock, ResNet

        _check(channels, classes, image_size)
        layers = ResNet(BasicBlock, [2, 2, 2, 2], norm_layer=instance_norm)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 3, padding=first_padding(image_size, 3), bias=False),
            instance_norm(64),
            nn.ReLU(inplace=True),
            *(layers.layer1, layers.layer2, layers.layer3, layers.layer4),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(512, classes)


def _check(channels: int, classes: int, image_size: int) -> None:
    check_sizes(channels=channels, classes=classes)
    check_sizes(least=SMALLEST, image_size=image_size)
