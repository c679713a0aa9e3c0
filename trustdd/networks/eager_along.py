"""A ConvNet's gradients' derivatives along a direction, in PyTorch's operations.

Every line is the derivative of one of `trustdd.networks.eager`'s forward or backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trustdd.networks.pooling import average_pool, spread
from trustdd.networks.traces import (
    Block,
    Trace,
    by_convolution,
    of_block,
    per_group,
    product,
    rows,
    spread_out,
)

aten = torch.ops.aten


@torch.no_grad()
def along(
    padding: Sequence[int],
    parameters: Sequence[Tensor],
    trace: Trace,
    direction: Sequence[Tensor | None],
    groups: int = 1,
    gradients: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """Derivative of the gradients as the parameters move along a direction.

    Args:
        padding: of each convolution.
        parameters: those of `forward`.
        trace: after `backward`.
        direction: one tensor a parameter, with a first dimension of `groups` if there are
            several; ``None`` is no movement.
        groups: as in `backward`.
        gradients: whether the parameters' part is wanted, too; only of one group.

    Returns:
        The gradient of ``direction · ∇_θ L`` with respect to the images, ``[n, c, h, w]``, and
        with respect to the parameters, one tensor each, or none.
    """
    inputs_along: Tensor | None = None
    for i, block in enumerate(trace.blocks):
        inputs_along = average_pool(_forward_along(padding[i], i, parameters, block, inputs_along,
                                                        direction, groups))  # fmt: skip
    assert inputs_along is not None
    features_along = inputs_along.flatten(1)
    weight_along = direction[-2]
    logits_along = features_along @ parameters[-2].T
    if weight_along is not None:
        logits_along += product(trace.features, weight_along, groups, transposed=True)
    if direction[-1] is not None:
        logits_along += spread_out(direction[-1], groups, len(logits_along))
    shares = trace.logits.softmax(1)
    by_logits_along = shares * (
        logits_along - (shares * logits_along).sum(1, keepdim=True)
    )  # fmt: skip
    by_logits_along *= trace.loss.weights
    found: list[Tensor] = []
    if gradients:
        found = [
            by_logits_along.T @ trace.features + trace.by_logits.T @ features_along,
            by_logits_along.sum(0),
        ]
    by_inputs_along = by_logits_along @ parameters[-2]
    if weight_along is not None:
        by_inputs_along += product(trace.by_logits, weight_along, groups, transposed=False)
    for i in reversed(range(len(trace.blocks))):
        by_inputs_along, own = _backward_along(
            padding[i],
            i,
            parameters,
            trace.blocks[i],
            by_inputs_along,
            direction,
            groups,
            gradients,
        )
        found[:0] = own
    return by_inputs_along, found


def _forward_along(
    padding: int,
    i: int,
    parameters: Sequence[Tensor],
    block: Block,
    inputs_along: Tensor | None,
    direction: Sequence[Tensor | None],
    groups: int,
) -> Tensor:
    """Derivative of a block's `active`; keeps that of its normalised outputs."""
    weight, _, scale, _ = of_block(parameters, i)
    weight_along, _, scale_along, shift_along = of_block(direction, i)
    block.inputs_along = inputs_along
    along: Tensor | None = None
    if inputs_along is not None:
        along = F.conv2d(inputs_along, weight, padding=padding)
    if weight_along is not None:
        moved = per_group(
            lambda x, v: F.conv2d(x, v, padding=padding),
            block.inputs, weight_along, groups,
        )  # fmt: skip
        along = moved if along is None else along.add_(moved)
    if along is None:
        along = torch.zeros_like(block.outputs)
    deviation = rows(block.scale)
    block.normal = (block.outputs - rows(block.mean)).mul_(deviation)
    middle = along.mean((2, 3), keepdim=True)
    share = _mean_product(along, block.normal)
    block.slope = -deviation * share
    block.along = torch.addcmul(-middle * deviation, along, deviation).addcmul_(
        block.normal, block.slope
    )
    moved = block.along * scale[:, None, None]
    count = len(moved)
    if scale_along is not None:
        moved.addcmul_(block.normal, spread_out(scale_along, groups, count)[:, :, None, None])
    if shift_along is not None:
        moved += spread_out(shift_along, groups, count)[:, :, None, None]
    return aten.threshold_backward(moved, block.active, 0)


def _backward_along(
    padding: int,
    i: int,
    parameters: Sequence[Tensor],
    block: Block,
    by_pooled_along: Tensor,
    direction: Sequence[Tensor | None],
    groups: int,
    gradients: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Derivative of the gradients of a block's inputs and parameters."""
    weight, bias, scale, _ = of_block(parameters, i)
    weight_along, _, scale_along, _ = of_block(direction, i)
    by_active_along = spread(by_pooled_along, block.active)
    by_active_along = aten.threshold_backward(by_active_along, block.active, 0)
    deviation, factor = rows(block.scale), scale[:, None, None]
    # means per image and channel; those of the gradient times the scale come from these
    middle = by_active_along.mean((2, 3), keepdim=True)
    share = _mean_product(block.by_active, block.normal)
    share_along = _mean_product(by_active_along, block.normal)
    cross = _mean_product(block.by_active, block.along)
    middle_along = factor * middle
    dot_along = factor * (share_along + cross)
    if scale_along is not None:
        moved = spread_out(scale_along, groups, len(block.active))[:, :, None, None]
        middle_along += moved * block.by_active.mean((2, 3), keepdim=True)
        dot_along += moved * share
    by_outputs_along = torch.addcmul(-deviation * middle_along, by_active_along, deviation * factor)
    if scale_along is not None:
        by_outputs_along.addcmul_(block.by_active, deviation * moved)
    by_outputs_along.addcmul_(block.by_outputs, block.slope)
    by_outputs_along.addcmul_(block.along, -deviation * factor * share)
    by_outputs_along.addcmul_(block.normal, -deviation * dot_along)
    by_inputs_along, by_weight_along = by_convolution(
        padding, 1, by_outputs_along, block.inputs, weight, True, gradients
    )
    if weight_along is not None:
        by_inputs_along += per_group(
            lambda g, v: by_convolution(padding, 1, g, None, v, True, False)[0],
            block.by_outputs, weight_along, groups,
        )  # fmt: skip
    if not gradients:
        return by_inputs_along, []
    if block.inputs_along is not None:
        by_weight_along += by_convolution(
            padding, 1, block.by_outputs, block.inputs_along, weight, False, True
        )[1]
    size = block.active[0, 0].numel()
    by_scale_along = (share_along + cross).sum((0, 2, 3)) * size
    by_shift_along = middle.sum((0, 2, 3)) * size
    own = [by_weight_along, torch.zeros_like(bias), by_scale_along, by_shift_along]
    return by_inputs_along, own


def _mean_product(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the pixels of a product: two ``[n, c, h, w]`` → ``[n, c, 1, 1]``."""
    dot = torch.linalg.vecdot(first.flatten(2), second.flatten(2))
    return rows(dot / first[0, 0].numel())
