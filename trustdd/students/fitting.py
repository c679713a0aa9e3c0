"""Fitting a network to images, with or without outliers beside them; or several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trustdd.data.augmentation import augment
from trustdd.networks.convnet import ConvNet
from trustdd.networks.memory import move
from trustdd.networks.passes import Passes
from trustdd.settings.errors import BadInput
from trustdd.students.descent import Descent, JointDescent


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    outliers: Tensor | Callable[[int, torch.Generator], Tensor] | None,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    batch: int,
    outlier_weight: float,
    augmentation: str | None,
    generator: torch.Generator,
    precision: str = "float32",
    normalise: Callable[[Tensor], Tensor] | None = None,
    decay: bool = False,
    progress: tqdm | None = None,
    watch: Callable[[Tensor, Tensor, Tensor], None] | None = None,
    descent: Descent | None = None,
) -> Tensor:
    """Train in place by SGD on ``CE(InD) + λ · uniform-CE(outliers)``.

    An epoch passes once over the images and, when they are a tensor, once over the outliers:
    both are split into the same number of batches. InD images and outliers go through the
    network in one forward pass.

    Args:
        network: trained in place; its parameters' device is used.
        images: ``[n, c, h, w]``, normalised floats, or whatever `normalise` takes (uint8).
        labels: ``int64 [n]``.
        outliers: the same for outliers; or a function ``(count, generator) → images`` that
            draws them anew for every step; or ``None``.
        epochs: passes over the images.
        lr: learning rate.
        momentum: SGD momentum.
        weight_decay: SGD weight decay.
        batch: images a step.
        outlier_weight: λ ≥ 0.
        augmentation: strategy drawn anew for every batch, an operation a batch and its
            parameters an image; ``None`` for none.
        generator: a CPU generator: batches and augmentation.
        precision: ``"float32"``, or ``"bf16"`` for convolutions and activations in bfloat16;
            parameters and their updates stay in float32.
        normalise: applied to each batch, e.g. for uint8 images.
        decay: ×0.1 on the learning rate after half of the epochs.
        progress: a bar to advance by one an epoch, showing the loss.
        watch: called after every step with its InD logits, their labels, and the loss; the next
            step may overwrite them.
        descent: the steps of this very network under these settings, from an earlier call.

    Returns:
        The last step's loss, a scalar on the network's device.
    """
    network.train()
    if descent is None:
        descent = Descent(
            network,
            momentum=momentum,
            weight_decay=weight_decay,
            outlier_weight=outlier_weight,
            precision=precision,
        )
    descent.begin()
    batches = _Batches(images, labels, outliers, batch, augmentation, normalise, descent.device)
    loss = torch.zeros(())
    for rate in _rates(lr, epochs, decay):
        for inputs, targets, unknown in batches.epoch(generator):
            known, loss = descent.step(inputs, targets, unknown, rate)
            if watch is not None:
                watch(known, targets, loss)
        _show(progress, loss)
    return loss.clone()


def fit_together(
    networks: Sequence[ConvNet],
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    outliers: Sequence[Tensor] | None,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    batch: int,
    outlier_weight: float,
    augmentation: str | None,
    generators: Sequence[torch.Generator],
    precision: str = "float32",
    decay: bool = False,
    progress: tqdm | None = None,
) -> None:
    """Train several ConvNets of one architecture at once: each as `fit` would, but for rounding.

    They go through the device as one network of so many times the width
    (`trustdd.networks.passes.Passes`). Meant for GPUs, which one small network does not fill; on a
    CPU, one after the other is faster.

    Args:
        networks: trained in place.
        images: of each, equally many, as for `fit`.
        labels: of each.
        outliers: of each, equally many, or ``None`` for all.
        epochs: as for `fit`, like all that follows.
        lr: learning rate.
        momentum: SGD momentum.
        weight_decay: SGD weight decay.
        batch: images a step and network.
        outlier_weight: λ ≥ 0.
        augmentation: strategy, drawn anew for every batch and network.
        generators: of each network's batches and augmentation.
        precision: ``"float32"`` or ``"bf16"``.
        decay: ×0.1 on the learning rate after half of the epochs.
        progress: a bar to advance by one an epoch.

    Raises:
        ValueError: networks or sets that differ in shape, or not one of each a network.
    """
    beside: Sequence[Tensor | None] = [None] * len(networks) if outliers is None else outliers
    _check_alike(networks, images, labels, beside, generators)
    joint = JointDescent(
        networks,
        momentum=momentum,
        weight_decay=weight_decay,
        outlier_weight=outlier_weight,
        precision=precision,
    )
    batches = [
        _Batches(own, of, others, batch, augmentation, None, joint.device)
        for own, of, others in zip(images, labels, beside, strict=True)
    ]
    for rate in _rates(lr, epochs, decay):
        epochs_of_each = [
            own.epoch(generator) for own, generator in zip(batches, generators, strict=True)
        ]
        loss = torch.zeros(())
        for step in zip(*epochs_of_each, strict=True):
            inputs, targets, unknown = zip(*step, strict=True)
            together = None if outliers is None else torch.cat(unknown, 1)
            _, loss = joint.step(torch.cat(inputs, 1), torch.stack(targets, 1), together, rate)
        _show(progress, loss.mean())
    joint.finish()


def _rates(lr: float, epochs: int, decay: bool) -> list[float]:
    """Each epoch's learning rate: with `decay`, ×0.1 after half of them."""
    return [lr * 0.1 if decay and epoch > epochs // 2 else lr for epoch in range(epochs)]


def _check_alike(networks: Sequence[nn.Module], *of_each: Sequence[object]) -> None:
    if any(len(own) != len(networks) for own in of_each):
        raise BadInput(
            f"{len(networks)} networks, {' and '.join(str(len(own)) for own in of_each)} sets of "
            "images, labels, outliers and generators; expected one of each a network"
        )
    kinds = {"networks": [[tuple(p.shape) for p in n.parameters()] for n in networks]}
    for name, own in zip(("images", "labels", "outliers"), of_each, strict=False):
        kinds[name] = [tuple(t.shape) if isinstance(t, Tensor) else None for t in own]  # type: ignore[misc]
    for name, shapes in kinds.items():
        if any(shape != shapes[0] for shape in shapes):
            raise BadInput(f"{name} of different shapes; expected equal ones to train together")
    if not all(Passes.supports(network) for network in networks):
        raise BadInput("networks that are no ConvNet; expected ConvNets to train together")


@dataclass
class _Batches:
    """How a set is split into batches, augmented, ready for a network."""

    images: Tensor
    labels: Tensor
    outliers: Tensor | Callable[[int, torch.Generator], Tensor] | None
    batch: int
    augmentation: str | None
    normalise: Callable[[Tensor], Tensor] | None
    device: torch.device

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Go once over the set, and once over its outliers where they are a tensor."""
        steps = -(-len(self.images) // self.batch)
        order = torch.randperm(len(self.images), generator=generator).tensor_split(steps)
        beside: tuple[Tensor, ...] = ()
        if isinstance(self.outliers, Tensor):
            beside = torch.randperm(len(self.outliers), generator=generator).tensor_split(steps)
        for step, chosen in enumerate(order):
            inputs = augment(self._chosen(self.images, chosen), self.augmentation, generator)
            targets = self.labels[move(chosen, self.labels.device)].to(self.device)
            unknown = None
            if isinstance(self.outliers, Tensor):
                unknown = self._chosen(self.outliers, beside[step])
            elif self.outliers is not None:
                unknown = self._prepared(self.outliers(len(chosen), generator))
            if unknown is not None:
                unknown = augment(unknown, self.augmentation, generator)
            yield inputs, targets, unknown

    def _chosen(self, images: Tensor, chosen: Tensor) -> Tensor:
        return self._prepared(images[move(chosen, images.device)])

    def _prepared(self, images: Tensor) -> Tensor:
        images = images.to(self.device)
        return images if self.normalise is None else self.normalise(images)


def _show(progress: tqdm | None, loss: Tensor) -> None:
    """Advance a bar; the loss is asked for when the bar is drawn, since a GPU is waited for."""
    if progress is None:
        return
    if progress.update():
        progress.set_postfix(loss=f"{float(loss):.4f}")
