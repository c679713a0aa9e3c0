"""A network's sizes, and what they ask of whatever goes through it.

The compiled passes read memory as these sizes say, so everything is held against them first; the
eager ones refuse the same, with the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trustdd.networks.soft_targets import SoftTargets
from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from trustdd.networks.convnet import ConvNet

Shape = tuple[int, ...]

#: what parameters, and all that goes with them, may be
KINDS = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a `ConvNet`, or of several of one architecture that go through at once.

    Attributes:
        channels: of the images.
        image: their height = width in pixels.
        paddings: of each block's convolution.
        width: channels of a block.
        classes: number of logits.
        eps: of each block's norm.
        networks: how many there are at once.
        shapes: of the parameters, in ``parameters()`` order.
    """

    channels: int
    image: int
    paddings: tuple[int, ...]
    width: int
    classes: int
    eps: tuple[float, ...]
    networks: int = 1
    shapes: tuple[Shape, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the parameters' shapes."""
        side, together = self.image, self.networks
        shapes: list[Shape] = []
        for i, padding in enumerate(self.paddings):
            inputs, outputs = self.channels if i == 0 else self.width, together * self.width
            shapes += [(outputs, inputs, 3, 3), *[(outputs,)] * 3]
            side = (side + 2 * (padding - 1)) // 2
        lead = () if together == 1 else (together,)
        shapes += [(*lead, self.classes, self.width * side * side), (*lead, self.classes)]
        object.__setattr__(self, "shapes", tuple(shapes))

    @classmethod
    def of(cls, network: ConvNet, networks: int = 1) -> Sizes:
        """Read the sizes off a network.

        Raises:
            ValueError: not one network at least.
        """
        if networks < 1:
            raise BadInput(f"{networks} networks at once; expected at least 1")
        layers = list(network.features.children())
        convolutions = [m for m in layers if isinstance(m, nn.Conv2d)]
        return cls(
            network.channels,
            network.image_size,
            tuple(int(m.padding[0]) for m in convolutions),
            convolutions[0].out_channels,
            network.classifier.out_features,
            tuple(m.eps for m in layers if isinstance(m, nn.GroupNorm)),
            networks,
        )

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.paddings)

    def check(self, parameters: Sequence[Tensor], images: Tensor) -> None:
        """Refuse what does not belong to these sizes, or not together; no value is read.

        Args:
            parameters: one tensor a parameter.
            images: ``[n, networks · channels, image, image]``, n ≥ 1, of the parameters' kind.

        Raises:
            ValueError: another number, shape, dtype, device or layout, or no image.
        """
        self.check_parameters(parameters)
        check_images(images, self.networks * self.channels, self.image, parameters[0])

    def check_with_loss(
        self, parameters: Sequence[Tensor], images: Tensor, loss: SoftTargets, groups: int = 1
    ) -> None:
        """The same, and a loss of the images' logits.

        Args:
            parameters: as for `check`.
            images: likewise.
            loss: targets ``[n, k]`` or ``[n, networks, k]``, and weights likewise.
            groups: equal parts that the images consist of.

        Raises:
            ValueError: as for `check`; or images that cannot be split into the groups.
        """
        self.check(parameters, images)
        self.check_groups(len(images), groups)
        self.check_loss(loss, len(images), parameters[0])

    def check_parameters(self, parameters: Sequence[Tensor]) -> None:
        """Refuse what is no list of this network's parameters, all of one kind."""
        check_list("parameters", parameters, self.shapes)
        like = parameters[0]
        if not isinstance(like, Tensor) or like.dtype not in KINDS:
            kind = str(getattr(like, "dtype", type(like).__name__)).removeprefix("torch.")
            raise BadInput(f"parameters of {kind}; expected float32 or float64")
        _check_each("parameter", parameters, self.shapes, like)

    def check_groups(self, count: int, groups: int) -> None:
        """Refuse groups that `count` images cannot be split into, or of several networks."""
        if groups < 1 or count % groups:
            raise BadInput(f"{count} images; expected a positive multiple of {groups} groups")
        if groups > 1 and self.networks > 1:
            raise BadInput(f"{groups} groups of {self.networks} networks at once; expected 1 group")

    def check_loss(self, loss: SoftTargets, count: int, like: Tensor) -> None:
        """Refuse a loss that is not one of `count` images' logits, of the kind of `like`."""
        if not isinstance(loss, SoftTargets):
            raise BadInput(f"loss of type {type(loss).__name__}; expected SoftTargets")
        together = () if self.networks == 1 else (self.networks,)
        check_tensor("targets", loss.targets, (count, *together, self.classes), like)
        # that they fit each other was seen when they came together
        check_tensor("weights", loss.weights, tuple(loss.weights.shape), like)

    def check_direction(
        self, direction: Sequence[Tensor | None], lead: Shape, like: Tensor
    ) -> None:
        """Refuse a direction whose tensors are not the parameters' with `lead` before them."""
        check_list("tensors of a direction", direction, self.shapes)
        shapes = [(*lead, *shape) for shape in self.shapes] if lead else self.shapes
        _check_each("direction", direction, shapes, like, optional=True)


def check_images(images: Tensor, channels: int, size: int, like: Tensor) -> None:
    """Refuse images that are not ``[n, channels, size, size]``, n ≥ 1, of the kind of `like`.

    Args:
        images: what is given.
        channels: of an image.
        size: height = width in pixels.
        like: a parameter of the network.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    check_tensor("images", images, ("n", channels, size, size), like)


def check_list(name: str, tensors: Sequence[Tensor | None], shapes: Sequence[Shape]) -> None:
    """Refuse anything but a list of as many tensors as there are shapes."""
    if not isinstance(tensors, Sequence):
        raise BadInput(f"{name} as {type(tensors).__name__}; expected a list of {len(shapes)}")
    if len(tensors) != len(shapes):
        raise BadInput(f"{len(tensors)} {name}; expected {len(shapes)}")


def check_tensor(name: str, tensor: Tensor, shape: Sequence[int | str], like: Tensor) -> None:
    """Refuse what is no dense tensor of a shape, of the dtype and on the device of `like`.

    Args:
        name: what the tensor is, for the message.
        tensor: what is given.
        shape: numbers, or ``"n"`` for any that is 1 at least.
        like: what has the dtype and the device: a parameter.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    if not isinstance(tensor, Tensor):
        raise BadInput(f"{name} of type {type(tensor).__name__}; expected a tensor")
    if tensor.layout != torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise BadInput(f"{name} of layout {layout}; expected a dense tensor")
    if tensor.shape != shape and not _fits(tensor.shape, shape):
        given, expected = (", ".join(map(str, own)) for own in (tensor.shape, shape))
        least = ", n ≥ 1" if "n" in shape else ""
        raise BadInput(f"{name} of shape [{given}]; expected [{expected}]{least}")
    if tensor.dtype != like.dtype:
        kinds = [str(t.dtype).removeprefix("torch.") for t in (tensor, like)]
        raise BadInput(f"{name} of {kinds[0]}; expected {kinds[1]}, as the parameters are")
    if tensor.device != like.device:
        raise BadInput(f"{name} on {tensor.device}; expected {like.device}, as the parameters are")


def _check_each(
    name: str, tensors: Sequence[Any], shapes: Sequence[Shape], like: Tensor, optional: bool = False
) -> None:
    """`check_tensor` of a list; of a direction, ``None`` is no movement."""
    dtype, device, dense = like.dtype, like.device, torch.strided
    for i, (t, shape) in enumerate(zip(tensors, shapes, strict=True)):
        # a small network's pass takes some hundred microseconds, and this comes before each
        if (
            isinstance(t, Tensor) and t.shape == shape
            and t.dtype is dtype and t.device == device and t.layout is dense
        ):  # fmt: skip
            continue
        if t is not None or not optional:
            check_tensor(f"{name} {i}", t, shape, like)


def _fits(given: Sequence[int], shape: Sequence[int | str]) -> bool:
    return len(given) == len(shape) and all(
        a == b or (b == "n" and a > 0) for a, b in zip(given, shape, strict=True)
    )
