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
from typing import TypeGuard

import torch
from torch import Tensor, nn

from trustdd.networks.convnet import ConvNet, Network
from trustdd.networks.eager import EagerPasses
from trustdd.networks.native.binding import NativeConvNet
from trustdd.networks.sizes import check_images
from trustdd.networks.soft_targets import SoftTargets

__all__ = ["Passes", "SoftTargets", "logits_and_features"]

#: of the first block's activations, in a piece of a batch
CPU_BYTES, GPU_BYTES = 16 * 2**20, 2**31

#: each group's direction, ``[groups, …]`` a parameter or ``None`` → a gradient of the images
AlongDirection = Callable[[Sequence[Tensor | None]], Tensor]


class Passes(EagerPasses):
    """The passes of a `ConvNet`'s architecture, at any parameters.

    Parameters, gradients and directions are lists in ``parameters()`` order. No pass builds a
    graph. The gradient of a convolution's bias is 0, since the norm behind it takes it out again.

    Several networks of one architecture go through at once as one of so many times the width,
    whose channels stay apart: images ``[n, s · c, h, w]``, parameters of the blocks behind each
    other, of the linear layer ``[s, k, d]`` and ``[s, k]``, logits ``[n, s, k]``. That is for GPUs,
    which one small network does not fill.
    """

    @staticmethod
    def supports(network: nn.Module) -> TypeGuard[ConvNet]:
        """Tell whether the passes are written out for a network: for a `ConvNet`, exactly."""
        return type(network) is ConvNet

    def piece(self, parameters: Sequence[Tensor], images: Tensor) -> int:
        """How many images to take through the passes at once.

        Images are treated independently, so a batch's gradients are the sum of its pieces'. On a
        CPU a piece's activations should stay near the caches, and be small enough for memory that
        was freed to be used again.
        """
        side = self.sizes.image + 2 * (self.sizes.paddings[0] - 1)
        each = len(parameters[0]) * side * side * (self.dtype or images.dtype).itemsize
        return max(1, (CPU_BYTES if images.device.type == "cpu" else GPU_BYTES) // each)

    def gradients(
        self, parameters: Sequence[Tensor], images: Tensor, loss: SoftTargets, norms: bool = True
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of a batch and the gradients of its loss, piece by piece; see `backward`.

        Raises:
            ValueError: see `Sizes.check`.
        """
        self.sizes.check_with_loss(parameters, images, loss)
        compiled = self.compiled(parameters, images)
        if compiled is not None:
            outputs = compiled.run(parameters, images, loss)
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
        """The compiled passes, where there are any for this architecture and these tensors."""
        sizes, low = self.sizes, self.dtype is not None
        if sizes.networks > 1 or not NativeConvNet.readable([*parameters, images]):
            return None
        usable = NativeConvNet.usable(sizes.width, sizes.depth, low)
        return NativeConvNet(sizes, low) if usable else None

    def outputs(self, parameters: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and penultimate features of a batch, piece by piece; no gradient is kept.

        Raises:
            ValueError: see `Sizes.check`.
        """
        self.sizes.check(parameters, images)
        compiled = self.compiled(parameters, images)
        if compiled is not None:
            found = compiled.run(parameters, images)
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

        Raises:
            ValueError: see `Sizes.check`; or passes in bf16 or of several networks, which have no
                derivatives along a direction.
        """
        self.check_differentiable()
        self.sizes.check_with_loss(parameters, images, loss)
        self.sizes.check_direction(direction, (), parameters[0])
        compiled = self.compiled(parameters, images)
        if compiled is not None:
            found = compiled.run(parameters, images, loss, direction, by_parameters)
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

    def of_groups(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        loss: SoftTargets,
        groups: int,
        norms: bool = True,
    ) -> tuple[list[Tensor], AlongDirection]:
        """Gradients of a batch's groups, and what differentiates through them.

        As `torch.func.vjp` does, it returns the values and a function of a direction, which can be
        chosen once the values are known. What is kept for it is freed with it.

        Args:
            parameters: as everywhere here.
            images: ``[groups · m, c, h, w]``, the groups one behind the other.
            loss: of their logits.
            groups: how many there are, of equally many images.
            norms: whether the gradients of all vectors of parameters are wanted; otherwise they
                are empty tensors.

        Returns:
            The gradients of each group's loss, ``[groups, …]`` a parameter; and the function that
            takes a direction of each group to the gradient of ``direction · ∇_θ loss``, summed over
            the groups, with respect to the images, ``[groups · m, c, h, w]``.

        Raises:
            ValueError: images that cannot be split into the groups; otherwise as for `products`.
        """
        self.check_differentiable()
        self.sizes.check_with_loss(parameters, images, loss, groups)
        if self.compiled(parameters, images) is not None:
            return self._of_groups_compiled(parameters, images, loss, groups, norms)
        trace = self.forward(parameters, images)
        gradients = self.backward(parameters, trace, loss, groups, norms)

        def along(direction: Sequence[Tensor | None]) -> Tensor:
            self.sizes.check_direction(direction, (groups,), parameters[0])
            if groups == 1:
                direction = [None if d is None else d[0] for d in direction]
            return self.along(parameters, trace, direction, groups)[0]

        return [g[None] for g in gradients] if groups == 1 else gradients, along

    def _of_groups_compiled(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        loss: SoftTargets,
        groups: int,
        norms: bool,
    ) -> tuple[list[Tensor], AlongDirection]:
        share = len(images) // groups
        # each group by itself, and once more along its direction: nothing is kept in between
        pieces = list(zip(images.split(share), loss.split(share), strict=True))
        alone = [self.gradients(parameters, x, own, norms)[1] for x, own in pieces]

        def along(direction: Sequence[Tensor | None]) -> Tensor:
            self.sizes.check_direction(direction, (groups,), parameters[0])
            of_groups = [
                [None if d is None else d[g] for d in direction] for g in range(len(pieces))
            ]
            found = [
                self.products(parameters, x, own, of_group, by_parameters=False)[1]
                for (x, own), of_group in zip(pieces, of_groups, strict=True)
            ]
            return torch.cat(found)

        return [torch.stack(of_groups) for of_groups in zip(*alone, strict=True)], along


@torch.no_grad()
def logits_and_features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits ``[n, k]`` and penultimate features ``[n, d]`` of normalised images.

    Args:
        network: a `trustdd.networks.Network`; a `ConvNet` goes by its written-out passes.
        images: ``[n, c, h, w]``, n ≥ 1, of the parameters' kind.

    Raises:
        ValueError: images of another shape than the network's, or of another kind.
    """
    if isinstance(network, Network):
        first = next(network.parameters())
        check_images(images, network.channels, network.image_size, first)
    if Passes.supports(network):
        return Passes(network).outputs(list(network.parameters()), images)
    embedded = network.embed(images)  # type: ignore[operator]
    return network.classifier(embedded), embedded  # type: ignore[operator]
