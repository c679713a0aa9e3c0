"""What a ConvNet's written-out passes keep of each other, and the arithmetic they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trustdd.networks.soft_targets import SoftTargets

aten = torch.ops.aten
#: parameters of a block: convolution weight and bias, norm scale and shift
PER_BLOCK = 4


@dataclass
class Block:
    """What a block keeps of its passes; ``[n, c, h, w]`` unless said otherwise.

    Attributes:
        inputs: of the convolution.
        outputs: of the convolution.
        mean: of the outputs, per image and channel, ``[n, c]``.
        scale: one over their standard deviation, likewise.
        active: after the ReLU, before pooling.
        by_active: gradient of what the ReLU was given.
        by_outputs: gradient of the outputs.
        normal: the outputs, normalised.
        along: derivative of `normal` along the direction.
        inputs_along: derivative of the inputs along the direction; none for the images.
        slope: derivative of the scale along the direction, over the scale, ``[n, c, 1, 1]``.
    """

    inputs: Tensor
    outputs: Tensor
    mean: Tensor
    scale: Tensor
    active: Tensor
    by_active: Tensor = field(init=False)
    by_outputs: Tensor = field(init=False)
    normal: Tensor = field(init=False)
    along: Tensor = field(init=False)
    inputs_along: Tensor | None = field(init=False)
    slope: Tensor = field(init=False)


@dataclass
class Trace:
    """What the passes keep of each other.

    Attributes:
        logits: ``[n, k]``.
        features: penultimate, ``[n, d]``.
        blocks: the blocks' tensors.
        loss: of the logits, once `Passes.backward` has run.
        by_logits: the logits' gradient, likewise.
    """

    logits: Tensor
    features: Tensor
    blocks: list[Block]
    loss: SoftTargets = field(init=False)
    by_logits: Tensor = field(init=False)


def of_block(parameters: Sequence[Tensor | None], i: int) -> Sequence[Tensor]:
    """A block's four, of parameters or of a direction."""
    return parameters[PER_BLOCK * i : PER_BLOCK * (i + 1)]  # type: ignore[return-value]


def rows(values: Tensor) -> Tensor:
    """``[n, c]`` → ``[n, c, 1, 1]``."""
    return values[:, :, None, None]


def grouped(values: Tensor, groups: int) -> Tensor:
    """``[groups · m, …]`` → ``[groups, m, …]``."""
    return values.unflatten(0, (groups, -1))


def spread_out(values: Tensor, groups: int, count: int) -> Tensor:
    """Give each image of a batch its group's values: ``[groups, c]`` or ``[c]`` → ``[n, c]``."""
    if groups == 1:
        return values.reshape(1, -1).expand(count, -1)
    return values.repeat_interleave(count // groups, 0)


def product(values: Tensor, weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """``[n, …]`` times each group's own matrix."""
    if groups == 1:
        matrix = weight.reshape(weight.shape[-2:])
        return values @ (matrix.T if transposed else matrix)
    found = grouped(values, groups) @ (weight.mT if transposed else weight)
    return found.flatten(0, 1)


def per_group(
    function: Callable[[Tensor, Tensor], Tensor], values: Tensor, weights: Tensor, groups: int
) -> Tensor:
    """Apply a function to each group of a batch and its own weight ``[groups, …]``."""
    if groups == 1:
        return function(values, weights.reshape(weights.shape[-4:]))
    parts = zip(values.tensor_split(groups), weights, strict=True)
    return torch.cat([function(part, weight) for part, weight in parts])


def by_convolution(
    padding: int,
    networks: int,
    by_outputs: Tensor,
    inputs: Tensor | None,
    weight: Tensor,
    by_inputs: bool,
    by_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of a convolution's inputs and weight, each where it is wanted."""
    if inputs is None:
        # only their shape plays a part
        n, _, h, w = by_outputs.shape
        grown = 2 * (padding - 1)
        inputs = by_outputs.new_empty(1).expand(n, weight.shape[1], h - grown, w - grown)
    found: tuple[Tensor, Tensor] = aten.convolution_backward(
        by_outputs, inputs, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0],
        networks, [by_inputs, by_weight, False],
    )[:2]  # fmt: skip
    return found
