"""Steps of SGD on ``CE(InD) + λ · uniform-CE(outliers)``: of one network, or of several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from trustdd.networks.capture import Captured
from trustdd.networks.convnet import ConvNet
from trustdd.networks.losses import softened, training_loss
from trustdd.networks.passes import Passes, SoftTargets
from trustdd.students.recipe import Recipe


class Descent:
    """A network, how its gradients are taken, and its SGD.

    On a GPU a step is a CUDA graph from the second of its kind on (`trustdd.networks.capture`).
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        """Take the network's parameters as they are; they change in place.

        Args:
            network: what is trained.
            recipe: of it, a step looks at momentum, weight decay, λ, precision and temperature.
        """
        self.parameters: list[Tensor] = list(network.parameters())
        self.device = self.parameters[0].device
        self.network, self.recipe = network, recipe
        self.passes = Passes(network, recipe.precision) if Passes.supports(network) else None
        self.buffers: list[Tensor | None] = [None] * len(self.parameters)
        self.captured = Captured(self._step)

    def begin(self) -> None:
        """Forget the momentum of steps before."""
        for buffer in self.buffers:
            if buffer is not None:
                buffer.zero_()

    def step(
        self, images: Tensor, labels: Tensor, outliers: Tensor | None, lr: float
    ) -> tuple[Tensor, Tensor]:
        """Descend once.

        Args:
            images: ``[n, c, h, w]``, normalised.
            labels: ``int64 [n]``, or distributions ``[n, k]``.
            outliers: ``[m, c, h, w]`` or ``None``.
            lr: learning rate.

        Returns:
            The InD logits ``[n, k]`` and the loss, both from before the step; the next step of the
            same shape may overwrite them.
        """
        beside = () if outliers is None else (outliers,)
        known, loss = self.captured(images, labels, *beside, lr=lr)
        return known, loss

    def _step(self, images: Tensor, labels: Tensor, *outliers: Tensor, **options: Any
              ) -> tuple[Tensor, Tensor]:  # fmt: skip
        batch = torch.cat([images, *outliers]) if outliers else images
        known, loss, gradients = self._gradients(batch, labels)
        # the function behind torch.optim.SGD: the class imports a compiler, for seconds
        with torch.no_grad():
            sgd(
                self.parameters,
                gradients,
                self.buffers,
                lr=options["lr"],
                momentum=self.recipe.momentum,
                weight_decay=self.recipe.weight_decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                foreach=True,
            )
        return known, loss

    def _gradients(self, batch: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """InD logits, the loss, and its gradients at the parameters as they are."""
        recipe, count = self.recipe, len(labels)
        if self.passes is not None:
            if recipe.label_temperature != 1:
                return self._softened_gradients(self.passes, batch, labels)
            classes = self.parameters[-1].shape[-1]
            loss = SoftTargets.of(labels, classes, len(batch) - count, recipe.outlier_weight)
            logits, gradients = self.passes.gradients(self.parameters, batch, loss)
            return logits[:count], loss.loss(logits), gradients
        low = recipe.precision == "bf16"
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=low):
            logits = self.network(batch).float()
        known, unknown = logits[:count], logits[count:] if len(batch) > count else None
        total = training_loss(
            known, labels, unknown, recipe.outlier_weight, recipe.label_temperature
        )
        gradients = list(torch.autograd.grad(total, self.parameters))
        return known.detach(), total.detach(), gradients

    def _softened_gradients(
        self, passes: Passes, batch: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The same at a temperature T: that of a linear layer divided by T, outliers apart."""
        temperature, count = self.recipe.label_temperature, len(labels)
        classes = self.parameters[-1].shape[-1]
        cooled = [*self.parameters[:-2], *(p / temperature for p in self.parameters[-2:])]
        loss = SoftTargets.of(softened(labels, temperature), classes)
        logits, gradients = passes.gradients(cooled, batch[:count], loss)
        value = temperature**2 * loss.loss(logits)
        scales = [temperature**2] * (len(gradients) - 2) + [temperature] * 2
        gradients = [scale * g for scale, g in zip(scales, gradients, strict=True)]
        if len(batch) > count:
            none = labels[:0]
            weight = self.recipe.outlier_weight
            beside = SoftTargets.of(none, classes, len(batch) - count, weight)
            known, of_outliers = passes.gradients(self.parameters, batch[count:], beside)
            value = value + beside.loss(known)
            torch._foreach_add_(gradients, of_outliers)
        return logits * temperature, value, gradients


class JointDescent(Descent):
    """Several ConvNets of one architecture, each on images of its own, as one of many channels."""

    def __init__(self, networks: Sequence[ConvNet], recipe: Recipe) -> None:
        """Copy the networks' parameters; `finish` writes them back.

        Args:
            networks: of one architecture, on one device.
            recipe: as for `Descent`.
        """
        super().__init__(networks[0], recipe)
        self.networks = networks
        self.passes = Passes(networks[0], recipe.precision, len(networks))
        each = zip(*(network.parameters() for network in networks), strict=True)
        last = len(self.parameters) - 2
        self.parameters = [
            torch.cat([p.detach() for p in own]) if i < last
            else torch.stack([p.detach() for p in own])
            for i, own in enumerate(each)
        ]  # fmt: skip

    def finish(self) -> None:
        """Give every network what became of its parameters."""
        count = len(self.networks)
        for i, together in enumerate(self.parameters):
            parts = together.chunk(count) if i < len(self.parameters) - 2 else together.unbind()
            for network, part in zip(self.networks, parts, strict=True):
                list(network.parameters())[i].data.copy_(part)
