"""A ConvNet's forward and backward pass in PyTorch's operations, without a graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trustdd.networks import eager_along
from trustdd.networks.convnet import ConvNet
from trustdd.networks.pooling import average_pool, spread
from trustdd.networks.sizes import Sizes
from trustdd.networks.soft_targets import SoftTargets
from trustdd.networks.traces import Block, Trace, by_convolution, grouped, of_block, rows
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import PRECISIONS
from trustdd.settings.validation import check_choice

aten = torch.ops.aten


class EagerPasses:
    """The passes of a `ConvNet`'s architecture, at any parameters; see `Passes`."""

    def __init__(self, network: ConvNet, precision: str = "float32", networks: int = 1) -> None:
        """Read the architecture off `network`; its own parameters are not used.

        Args:
            network: the network.
            precision: ``"float32"`` computes as the parameters are; ``"bf16"`` takes
                convolutions and activations in bfloat16, for gradients alone.
            networks: how many at once; with several there is no `along`.

        Raises:
            ValueError: an unknown precision, or less than one network.
        """
        check_choice("precision", precision, PRECISIONS)
        self.dtype = torch.bfloat16 if precision == "bf16" else None
        #: what the passes are written for, and what they refuse
        self.sizes = Sizes.of(network, networks)

    @torch.no_grad()
    def forward(self, parameters: Sequence[Tensor], images: Tensor) -> Trace:
        """Logits of images ``[n, c, h, w]``, and what the other passes need.

        Raises:
            ValueError: see `Sizes.check`.
        """
        self.sizes.check(parameters, images)
        blocks, inputs = [], images.contiguous().to(self.dtype)
        for i, (padding, eps) in enumerate(zip(self.sizes.paddings, self.sizes.eps, strict=True)):
            weight, bias, scale, shift = of_block(parameters, i)
            outputs = F.conv2d(
                inputs, weight.to(inputs.dtype), bias.to(inputs.dtype), padding=padding,
                groups=self.sizes.networks,
            )  # fmt: skip
            n, c, h, w = outputs.shape
            active, mean, deviation = aten.native_group_norm(
                outputs, *_for_norm(outputs, scale, shift), n, c, h * w, c, eps
            )
            active.relu_()
            blocks.append(Block(inputs, outputs, mean, deviation, active))
            inputs = average_pool(active)
        features = inputs.flatten(1).to(parameters[-1].dtype)
        if self.sizes.networks == 1:
            logits = F.linear(features, parameters[-2], parameters[-1])
        else:
            features = features.unflatten(1, (self.sizes.networks, -1))
            logits = torch.einsum("nsd,skd->nsk", features, parameters[-2]) + parameters[-1]
        return Trace(logits, features, blocks)

    @torch.no_grad()
    def backward(
        self,
        parameters: Sequence[Tensor],
        trace: Trace,
        loss: SoftTargets,
        groups: int = 1,
        norms: bool = True,
        keep: bool = True,
    ) -> list[Tensor]:
        """Gradients of the loss with respect to the parameters.

        Args:
            parameters: those of `forward`.
            trace: from `forward`; keeps what `along` needs.
            loss: of the logits.
            groups: equal parts of the batch, one behind the other.
            norms: whether the gradients of norms' scales and shifts and of the linear bias are
                wanted; otherwise they are empty tensors.
            keep: whether `along` will be asked; otherwise the trace is used up.

        Returns:
            One tensor a parameter; with several groups, a first dimension of their number.

        Raises:
            ValueError: see `Sizes.check`; or several groups of several networks.
        """
        self.sizes.check_parameters(parameters)
        self.sizes.check_groups(len(trace.logits), groups)
        self.sizes.check_loss(loss, len(trace.logits), parameters[0])
        trace.loss = loss
        by_logits = trace.by_logits = (trace.logits.softmax(-1) - loss.targets) * loss.weights
        nothing = by_logits.new_empty(0)
        if self.sizes.networks == 1:
            slopes = grouped(by_logits, groups)
            gradients = [slopes.mT @ grouped(trace.features, groups)]
            gradients.append(slopes.sum(1) if norms else nothing)
            by_inputs = by_logits @ parameters[-2]
        else:
            gradients = [torch.einsum("nsk,nsd->skd", by_logits, trace.features)[None]]
            gradients.append(by_logits.sum(0)[None] if norms else nothing)
            by_inputs = torch.einsum("nsk,skd->nsd", by_logits, parameters[-2])
        for i in reversed(range(len(trace.blocks))):
            block = trace.blocks[i]
            weight, bias, scale, _ = of_block(parameters, i)
            spread_out = spread(by_inputs.to(block.active.dtype), block.active)
            block.by_active = aten.threshold_backward(spread_out, block.active, 0)
            own = norms and groups == 1
            n, c, h, w = block.active.shape
            block.by_outputs, by_scale, by_shift = aten.native_group_norm_backward(
                block.by_active, block.outputs, block.mean, block.scale,
                *_for_norm(block.outputs, scale), n, c, h * w, c, [True, own, own],
            )  # fmt: skip
            by_inputs, by_weight = self._by_weights(i, block, weight.to(block.inputs.dtype), groups)
            by_weight = by_weight.to(weight.dtype)
            if not keep:
                trace.blocks.pop()
            if not norms:
                gradients[:0] = [by_weight, nothing, nothing, nothing]
                continue
            by_norm = (
                (by_scale[None].to(scale.dtype), by_shift[None].to(scale.dtype))
                if own
                else _by_norm(block, groups)
            )
            gradients[:0] = [by_weight, bias.new_zeros(groups, len(bias)), *by_norm]
        return [g[0] if g.numel() else g for g in gradients] if groups == 1 else gradients

    def _by_weights(
        self, i: int, block: Block, weight: Tensor, groups: int
    ) -> tuple[Tensor, Tensor]:
        """Gradient of a block's inputs (but the first's), and each group's of its weight."""
        if groups == 1:
            by_inputs, by_weight = self._by_convolution(
                i, block.by_outputs, block.inputs, weight, i > 0, True
            )
            return by_inputs, by_weight[None]
        by_inputs = block.inputs
        if i > 0:
            by_inputs, _ = self._by_convolution(
                i, block.by_outputs, block.inputs, weight, True, False
            )
        parts = zip(
            block.by_outputs.tensor_split(groups), block.inputs.tensor_split(groups), strict=True
        )
        of_groups = [self._by_convolution(i, g, x, weight, False, True)[1] for g, x in parts]
        return by_inputs, torch.stack(of_groups)

    def _by_convolution(
        self,
        i: int,
        by_outputs: Tensor,
        inputs: Tensor,
        weight: Tensor,
        by_inputs: bool,
        by_weight: bool,
    ) -> tuple[Tensor, Tensor]:
        return by_convolution(
            self.sizes.paddings[i],
            self.sizes.networks,
            by_outputs,
            inputs,
            weight,
            by_inputs,
            by_weight,
        )

    @torch.no_grad()
    def along(
        self,
        parameters: Sequence[Tensor],
        trace: Trace,
        direction: Sequence[Tensor | None],
        groups: int = 1,
        gradients: bool = False,
    ) -> tuple[Tensor, list[Tensor]]:
        """Derivative of the gradients as the parameters move along a direction.

        Args:
            parameters: those of `forward`.
            trace: after `backward`.
            direction: one tensor a parameter, with a first dimension of `groups` if there are
                several; ``None`` is no movement.
            groups: as in `backward`.
            gradients: whether the parameters' part is wanted, too; only of one group.

        Returns:
            The gradient of ``direction · ∇_θ L`` with respect to the images, ``[n, c, h, w]``, and
            with respect to the parameters, one tensor each, or none.

        Raises:
            ValueError: see `Sizes.check`; passes in bf16 or of several networks; or the parameters'
                part of several groups.
        """
        self.check_differentiable()
        self.sizes.check_parameters(parameters)
        self.sizes.check_groups(len(trace.logits), groups)
        if gradients and groups > 1:
            raise BadInput(f"the parameters' part of {groups} groups; expected one group")
        lead = () if groups == 1 else (groups,)
        self.sizes.check_direction(direction, lead, parameters[0])
        return eager_along.along(
            self.sizes.paddings, parameters, trace, direction, groups, gradients=gradients
        )

    def check_differentiable(self) -> None:
        """Refuse derivatives along a direction where there are none.

        Raises:
            ValueError: passes in bf16, or of several networks.
        """
        if self.dtype is not None:
            raise BadInput("derivatives along a direction in bf16; expected passes in float32")
        if self.sizes.networks > 1:
            raise BadInput(
                f"derivatives along a direction of {self.sizes.networks} networks at once; "
                "expected passes of one"
            )


def _for_norm(values: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Scale and shift in the dtype that a device's norm wants beside `values`."""
    # on a CPU they, and the statistics, stay in float32 beside bfloat16
    return [p if values.device.type == "cpu" else p.to(values.dtype) for p in parameters]


def _by_norm(block: Block, groups: int) -> tuple[Tensor, Tensor]:
    """Gradients of a norm's scale and shift, per group."""
    normal = (block.outputs - rows(block.mean)).mul_(rows(block.scale))
    by_scale = torch.linalg.vecdot(block.by_active.flatten(2), normal.flatten(2))
    by_shift = block.by_active.sum((2, 3))
    return grouped(by_scale, groups).sum(1), grouped(by_shift, groups).sum(1)
