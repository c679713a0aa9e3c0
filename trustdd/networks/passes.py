"""A ConvNet's passes written out: logits, gradients, and gradients' derivatives along a direction.

Distillation asks how a gradient ``g = ∇_θ L`` changes with the images it was taken on, always
through a product ``u·g`` with some direction u of the parameters. Reverse mode through reverse mode
answers with convolutions of odd shapes and dozens of small operations. But

    ∇_x (u·∇_θ L) = d/dε ∇_x L(θ + εu) at ε = 0,    ∇_θ (u·∇_θ L) = d/dε ∇_θ L(θ + εu) at ε = 0,

so one forward and one backward pass, each with its derivative along u beside it, give the same:
exactly, without a graph, in convolutions of the usual shapes (Pearlmutter 1994, the R operator).

Batches may consist of equal *groups*, each with parameter gradients and a direction of its own; so
all classes of gradient matching go through the network at once.

Gradients can be taken in bfloat16, on machines that multiply in it: convolutions and activations in
bfloat16, norms' statistics, the linear layer and all sums over images in float32. Derivatives along
a direction are float32's alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trustdd.experiment import PRECISIONS
from trustdd.native.convnet import NativeConvNet
from trustdd.networks.convnet import ConvNet
from trustdd.networks.pooling import average_pool, spread
from trustdd.validation import check_choice

aten = torch.ops.aten
#: parameters of a block: convolution weight and bias, norm scale and shift
PER_BLOCK = 4
#: of the first block's activations, in a piece of a batch
CPU_BYTES, GPU_BYTES = 16 * 2**20, 2**31


@dataclass(frozen=True)
class SoftTargets:
    """The loss ``Σ_i w_i · CE(target_i, softmax(logits_i))``.

    Of several networks at once, each with images of its own, there is a dimension of their number
    behind the first.

    Attributes:
        targets: one distribution an image, ``[n, k]``: one-hot for a label, uniform for an
            outlier.
        weights: ``[n, 1]``: 1/n each for a mean, λ/m for weighted outliers.
    """

    targets: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls,
        labels: Tensor,
        classes: int,
        outliers: int = 0,
        outlier_weight: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> SoftTargets:
        """Mean cross-entropy to labels, plus λ times the uniform one over the outliers behind.

        Args:
            labels: ``int64 [n]``, or ``[n, s]`` of s networks.
            classes: k.
            outliers: how many there are behind the images.
            outlier_weight: λ.
            dtype: of the distributions.
        """
        known, others = len(labels), labels.shape[1:]
        targets = torch.full(
            (known + outliers, *others, classes), 1 / classes, dtype=dtype, device=labels.device
        )
        targets[:known] = F.one_hot(labels, classes).to(dtype)
        shape = (known + outliers, *[1] * len(others), 1)
        weights = torch.empty(shape, dtype=dtype, device=labels.device)
        weights[:known] = 1 / max(known, 1)
        weights[known:] = outlier_weight / max(outliers, 1)
        return cls(targets, weights)

    def loss(self, logits: Tensor) -> Tensor:
        """The loss, a scalar; ``[s]`` of several networks."""
        return -(self.weights * self.targets * logits.log_softmax(-1)).sum((0, -1))

    def split(self, size: int) -> list[SoftTargets]:
        """The loss of each piece of a batch; together they are this one."""
        pieces = zip(self.targets.split(size), self.weights.split(size), strict=True)
        return [SoftTargets(targets, weights) for targets, weights in pieces]


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


class Passes:
    """The passes of a `ConvNet`'s architecture, at any parameters.

    Parameters, gradients and directions are lists in ``parameters()`` order. No pass builds a
    graph. The gradient of a convolution's bias is 0, since the norm behind it takes it out again.

    Several networks of one architecture go through at once as one of so many times the width,
    whose channels stay apart: images ``[n, s · c, h, w]``, parameters of the blocks behind each
    other, of the linear layer ``[s, k, d]`` and ``[s, k]``, logits ``[n, s, k]``. On a GPU, which
    one small network does not fill, that takes hardly longer than one of them.
    """

    def __init__(self, network: ConvNet, precision: str = "float32", networks: int = 1) -> None:
        """Read the architecture off `network`; its own parameters are not used.

        Args:
            network: the network.
            networks: how many at once; with several there is `gradients` only.
            precision: ``"float32"`` computes as the parameters are; ``"bf16"`` takes
                convolutions and activations in bfloat16, for gradients alone.

        Raises:
            ValueError: an unknown precision.
        """
        check_choice("precision", precision, PRECISIONS)
        self.dtype = torch.bfloat16 if precision == "bf16" else None
        self.networks = networks
        layers = list(network.features.children())
        self.padding = [int(m.padding[0]) for m in layers if isinstance(m, nn.Conv2d)]
        self.eps = [m.eps for m in layers if isinstance(m, nn.GroupNorm)]

    @staticmethod
    def fit(network: nn.Module) -> TypeGuard[ConvNet]:
        """Tell whether the passes are written out for a network: for a `ConvNet`, exactly."""
        return type(network) is ConvNet

    def piece(self, parameters: Sequence[Tensor], images: Tensor) -> int:
        """How many images to take through the passes at once.

        Images are treated independently, so a batch's gradients are the sum of its pieces'. On a
        CPU a piece's activations should stay near the caches, and be small enough for memory that
        was freed to be used again.
        """
        side = int(images.shape[-1]) + 2 * (self.padding[0] - 1)
        each = len(parameters[0]) * side * side * (self.dtype or images.dtype).itemsize
        return max(1, (CPU_BYTES if images.device.type == "cpu" else GPU_BYTES) // each)

    def gradients(
        self, parameters: Sequence[Tensor], images: Tensor, loss: SoftTargets, norms: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of a batch and the gradients of its loss, piece by piece; see `backward`.

        Raises:
            ValueError: a batch of no image.
        """
        if not len(images):
            raise ValueError("a batch of 0 images has no gradient; expected at least one")
        compiled = self.compiled(parameters, images)
        if compiled is not None:
            outputs = compiled(parameters, images, loss.targets, loss.weights)
            if norms:
                return outputs.logits, outputs.gradients
            nothing = images.new_empty(0)
            return outputs.logits, [g if g.ndim > 1 else nothing for g in outputs.gradients]
        size = self.piece(parameters, images)
        logits: list[Tensor] = []
        total: list[Tensor] = []
        for part, own in zip(images.split(size), loss.split(size), strict=True):
            trace = self.forward(parameters, part)
            gradients = self.backward(parameters, trace, own, norms=norms, keep=False)
            logits.append(trace.logits)
            if total:
                torch._foreach_add_(total, gradients)
            else:
                total = gradients
        return torch.cat(logits), total

    def compiled(self, parameters: Sequence[Tensor], images: Tensor) -> NativeConvNet | None:
        """The compiled passes, where they fit and there is a compiler."""
        tensors = (*parameters, images)
        if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in tensors):
            return None
        if self.networks > 1:
            return None
        low, width, depth = self.dtype is not None, len(parameters[0]), len(self.padding)
        if not NativeConvNet.usable(width, depth, low):
            return None
        _, channels, side, _ = images.shape
        return NativeConvNet(
            channels, side, self.padding[0], width, depth, len(parameters[-1]), self.eps[0], low
        )

    def outputs(self, parameters: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features of a batch, piece by piece; no gradient is kept."""
        compiled = self.compiled(parameters, images) if len(images) else None
        if compiled is not None:
            found = compiled(parameters, images)
            return found.logits, found.features
        pieces = images.split(self.piece(parameters, images))
        traces = [self.forward(parameters, piece) for piece in pieces]
        return torch.cat([t.logits for t in traces]), torch.cat([t.features for t in traces])

    def products(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        loss: SoftTargets,
        direction: Sequence[Tensor | None],
        by_parameters: bool = True,
    ) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """A batch's gradients, and how their product with a direction changes, piece by piece.

        Args:
            parameters: as everywhere here.
            images: ``[n, c, h, w]``.
            loss: of their logits.
            direction: one tensor a parameter; ``None`` is no movement.
            by_parameters: whether the change with the parameters is wanted.

        Returns:
            The gradients of the loss with respect to the parameters; and those of
            ``direction · ∇_θ loss`` with respect to the images and to the parameters (or none).
        """
        compiled = self.compiled(parameters, images) if self.dtype is None else None
        if compiled is not None:
            found = compiled(
                parameters, images, loss.targets, loss.weights, direction, by_parameters
            )
            return found.gradients, found.by_images, found.by_parameters
        size = self.piece(parameters, images)
        by_images: list[Tensor] = []
        total: list[Tensor] = []
        by_all: list[Tensor] = []
        for part, own in zip(images.split(size), loss.split(size), strict=True):
            trace = self.forward(parameters, part)
            gradients = self.backward(parameters, trace, own)
            of_images, of_all = self.along(parameters, trace, direction, gradients=by_parameters)
            by_images.append(of_images)
            if total:
                torch._foreach_add_(total, gradients)
                if by_parameters:
                    torch._foreach_add_(by_all, of_all)
            else:
                total, by_all = gradients, of_all
        return total, torch.cat(by_images), by_all

    @torch.no_grad()
    def forward(self, parameters: Sequence[Tensor], images: Tensor) -> Trace:
        """Logits of images ``[n, c, h, w]``, and what the other passes need."""
        blocks, inputs = [], images.contiguous().to(self.dtype)
        for i, (padding, eps) in enumerate(zip(self.padding, self.eps, strict=True)):
            weight, bias, scale, shift = _of_block(parameters, i)
            outputs = F.conv2d(
                inputs, weight.to(inputs.dtype), bias.to(inputs.dtype), padding=padding,
                groups=self.networks,
            )  # fmt: skip
            n, c, h, w = outputs.shape
            active, mean, deviation = aten.native_group_norm(
                outputs, *_for_norm(outputs, scale, shift), n, c, h * w, c, eps
            )
            active.relu_()
            blocks.append(Block(inputs, outputs, mean, deviation, active))
            inputs = average_pool(active)
        features = inputs.flatten(1).to(parameters[-1].dtype)
        if self.networks == 1:
            logits = F.linear(features, parameters[-2], parameters[-1])
        else:
            features = features.unflatten(1, (self.networks, -1))
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
        """
        trace.loss = loss
        by_logits = trace.by_logits = (trace.logits.softmax(-1) - loss.targets) * loss.weights
        nothing = by_logits.new_empty(0)
        if self.networks == 1:
            slopes = _grouped(by_logits, groups)
            gradients = [slopes.mT @ _grouped(trace.features, groups)]
            gradients.append(slopes.sum(1) if norms else nothing)
            by_inputs = by_logits @ parameters[-2]
        else:
            gradients = [torch.einsum("nsk,nsd->skd", by_logits, trace.features)[None]]
            gradients.append(by_logits.sum(0)[None] if norms else nothing)
            by_inputs = torch.einsum("nsk,skd->nsd", by_logits, parameters[-2])
        for i in reversed(range(len(trace.blocks))):
            block = trace.blocks[i]
            weight, bias, scale, _ = _of_block(parameters, i)
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
        """
        inputs_along: Tensor | None = None
        for i, block in enumerate(trace.blocks):
            inputs_along = average_pool(self._forward_along(i, parameters, block, inputs_along,
                                                            direction, groups))  # fmt: skip
        assert inputs_along is not None
        features_along = inputs_along.flatten(1)
        weight_along = direction[-2]
        logits_along = features_along @ parameters[-2].T
        if weight_along is not None:
            logits_along += _product(trace.features, weight_along, groups, transposed=True)
        if direction[-1] is not None:
            logits_along += _spread_out(direction[-1], groups, len(logits_along))
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
            by_inputs_along += _product(trace.by_logits, weight_along, groups, transposed=False)
        for i in reversed(range(len(trace.blocks))):
            by_inputs_along, own = self._backward_along(
                i, parameters, trace.blocks[i], by_inputs_along, direction, groups, gradients
            )
            found[:0] = own
        return by_inputs_along, found

    def _forward_along(
        self,
        i: int,
        parameters: Sequence[Tensor],
        block: Block,
        inputs_along: Tensor | None,
        direction: Sequence[Tensor | None],
        groups: int,
    ) -> Tensor:
        """Derivative of a block's `active`; keeps that of its normalised outputs."""
        weight, _, scale, _ = _of_block(parameters, i)
        weight_along, _, scale_along, shift_along = _of_block(direction, i)
        block.inputs_along = inputs_along
        along: Tensor | None = None
        if inputs_along is not None:
            along = F.conv2d(inputs_along, weight, padding=self.padding[i])
        if weight_along is not None:
            moved = _per_group(
                lambda x, v: F.conv2d(x, v, padding=self.padding[i]),
                block.inputs, weight_along, groups,
            )  # fmt: skip
            along = moved if along is None else along.add_(moved)
        if along is None:
            along = torch.zeros_like(block.outputs)
        deviation = _rows(block.scale)
        block.normal = (block.outputs - _rows(block.mean)).mul_(deviation)
        middle = along.mean((2, 3), keepdim=True)
        share = _mean_product(along, block.normal)
        block.slope = -deviation * share
        block.along = torch.addcmul(-middle * deviation, along, deviation).addcmul_(
            block.normal, block.slope
        )
        moved = block.along * scale[:, None, None]
        count = len(moved)
        if scale_along is not None:
            moved.addcmul_(block.normal, _spread_out(scale_along, groups, count)[:, :, None, None])
        if shift_along is not None:
            moved += _spread_out(shift_along, groups, count)[:, :, None, None]
        return aten.threshold_backward(moved, block.active, 0)

    def _backward_along(
        self,
        i: int,
        parameters: Sequence[Tensor],
        block: Block,
        by_pooled_along: Tensor,
        direction: Sequence[Tensor | None],
        groups: int,
        gradients: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Derivative of the gradients of a block's inputs and parameters."""
        weight, bias, scale, _ = _of_block(parameters, i)
        weight_along, _, scale_along, _ = _of_block(direction, i)
        by_active_along = spread(by_pooled_along, block.active)
        by_active_along = aten.threshold_backward(by_active_along, block.active, 0)
        deviation, factor = _rows(block.scale), scale[:, None, None]
        # means per image and channel; those of the gradient times the scale come from these
        middle = by_active_along.mean((2, 3), keepdim=True)
        share = _mean_product(block.by_active, block.normal)
        share_along = _mean_product(by_active_along, block.normal)
        cross = _mean_product(block.by_active, block.along)
        middle_along = factor * middle
        dot_along = factor * (share_along + cross)
        if scale_along is not None:
            moved = _spread_out(scale_along, groups, len(block.active))[:, :, None, None]
            middle_along += moved * block.by_active.mean((2, 3), keepdim=True)
            dot_along += moved * share
        by_outputs_along = torch.addcmul(
            -deviation * middle_along, by_active_along, deviation * factor
        )
        if scale_along is not None:
            by_outputs_along.addcmul_(block.by_active, deviation * moved)
        by_outputs_along.addcmul_(block.by_outputs, block.slope)
        by_outputs_along.addcmul_(block.along, -deviation * factor * share)
        by_outputs_along.addcmul_(block.normal, -deviation * dot_along)
        by_inputs_along, by_weight_along = self._by_convolution(
            i, by_outputs_along, block.inputs, weight, True, gradients
        )
        if weight_along is not None:
            by_inputs_along += _per_group(
                lambda g, v: self._by_convolution(i, g, None, v, True, False)[0],
                block.by_outputs, weight_along, groups,
            )  # fmt: skip
        if not gradients:
            return by_inputs_along, []
        if block.inputs_along is not None:
            by_weight_along += self._by_convolution(
                i, block.by_outputs, block.inputs_along, weight, False, True
            )[1]
        size = block.active[0, 0].numel()
        by_scale_along = (share_along + cross).sum((0, 2, 3)) * size
        by_shift_along = middle.sum((0, 2, 3)) * size
        own = [by_weight_along, torch.zeros_like(bias), by_scale_along, by_shift_along]
        return by_inputs_along, own

    def _by_convolution(
        self,
        i: int,
        by_outputs: Tensor,
        inputs: Tensor | None,
        weight: Tensor,
        by_inputs: bool,
        by_weight: bool,
    ) -> tuple[Tensor, Tensor]:
        """Gradients of a convolution's inputs and weight, each where it is wanted."""
        padding = self.padding[i]
        if inputs is None:
            # only their shape plays a part
            n, _, h, w = by_outputs.shape
            grown = 2 * (padding - 1)
            inputs = by_outputs.new_empty(1).expand(n, weight.shape[1], h - grown, w - grown)
        found: tuple[Tensor, Tensor] = aten.convolution_backward(
            by_outputs, inputs, weight, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0],
            self.networks, [by_inputs, by_weight, False],
        )[:2]  # fmt: skip
        return found


@torch.no_grad()
def logits_and_features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``[n, k]`` and penultimate features ``[n, d]`` of normalised images.

    Args:
        network: a `trustdd.networks.Network`; a `ConvNet` goes by its written-out passes.
        images: ``[n, c, h, w]``.
    """
    if Passes.fit(network):
        return Passes(network).outputs(list(network.parameters()), images)
    embedded = network.embed(images)  # type: ignore[operator]
    return network.classifier(embedded), embedded  # type: ignore[operator]


def _of_block(parameters: Sequence[Tensor | None], i: int) -> Sequence[Tensor]:
    return parameters[PER_BLOCK * i : PER_BLOCK * (i + 1)]  # type: ignore[return-value]


def _for_norm(values: Tensor, *parameters: Tensor) -> list[Tensor]:
    """Scale and shift in the dtype that a device's norm wants beside `values`."""
    # on a CPU they, and the statistics, stay in float32 beside bfloat16
    return [p if values.device.type == "cpu" else p.to(values.dtype) for p in parameters]


def _rows(values: Tensor) -> Tensor:
    """``[n, c]`` → ``[n, c, 1, 1]``."""
    return values[:, :, None, None]


def _mean_product(first: Tensor, second: Tensor) -> Tensor:
    """Mean over the pixels of a product: two ``[n, c, h, w]`` → ``[n, c, 1, 1]``."""
    dot = torch.linalg.vecdot(first.flatten(2), second.flatten(2))
    return _rows(dot / first[0, 0].numel())


def _grouped(values: Tensor, groups: int) -> Tensor:
    """``[groups · m, …]`` → ``[groups, m, …]``."""
    return values.unflatten(0, (groups, -1))


def _spread_out(values: Tensor, groups: int, count: int) -> Tensor:
    """Give each image of a batch its group's values: ``[groups, c]`` or ``[c]`` → ``[n, c]``."""
    if groups == 1:
        return values.reshape(1, -1).expand(count, -1)
    return values.repeat_interleave(count // groups, 0)


def _product(values: Tensor, weight: Tensor, groups: int, transposed: bool) -> Tensor:
    """``[n, …]`` times each group's own matrix."""
    if groups == 1:
        matrix = weight.reshape(weight.shape[-2:])
        return values @ (matrix.T if transposed else matrix)
    found = _grouped(values, groups) @ (weight.mT if transposed else weight)
    return found.flatten(0, 1)


def _per_group(
    function: Callable[[Tensor, Tensor], Tensor], values: Tensor, weights: Tensor, groups: int
) -> Tensor:
    """Apply a function to each group of a batch and its own weight ``[groups, …]``."""
    if groups == 1:
        return function(values, weights.reshape(weights.shape[-4:]))
    parts = zip(values.tensor_split(groups), weights, strict=True)
    return torch.cat([function(part, weight) for part, weight in parts])


def _by_norm(block: Block, groups: int) -> tuple[Tensor, Tensor]:
    """Gradients of a norm's scale and shift, per group."""
    normal = (block.outputs - _rows(block.mean)).mul_(_rows(block.scale))
    by_scale = torch.linalg.vecdot(block.by_active.flatten(2), normal.flatten(2))
    by_shift = block.by_active.sum((2, 3))
    return _grouped(by_scale, groups).sum(1), _grouped(by_shift, groups).sum(1)
