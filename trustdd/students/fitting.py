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
from trustdd.students.recipe import Recipe


def fit(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    outliers: Tensor | Callable[[int, torch.Generator], Tensor] | None,
    recipe: Recipe,
    generator: torch.Generator,
    *,
    normalise: Callable[[Tensor], Tensor] | None = None,
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
        labels: ``int64 [n]``, or a distribution over classes an image, ``[n, k]``.
        outliers: the same as `images` for outliers; or a function ``(count, generator) → images``
            that draws them anew for every step; or ``None``.
        recipe: epochs, learning rate and so on.
        generator: a CPU generator: batches and augmentation.
        normalise: applied to each batch, e.g. for uint8 images.
        progress: a bar to advance by one an epoch, showing the loss.
        watch: called after every step with its InD logits, their labels, and the loss; the next
            step may overwrite them.
        descent: of this network, and steps like the recipe's, from an earlier call.

    Returns:
        The last step's loss, a scalar on the network's device.

    Raises:
        ValueError: `descent` is of another network or takes other steps.
    """
    network.train()
    if descent is None:
        descent = Descent(network, recipe)
    elif descent.network is not network or not descent.recipe.steps_like(recipe):
        raise BadInput(f"a descent by {descent.recipe}; expected this network's, by {recipe}")
    descent.begin()
    batches = _Batches(images, labels, outliers, recipe, normalise, descent.device)
    loss = torch.zeros(())
    for rate in recipe.rates():
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
    recipe: Recipe,
    generators: Sequence[torch.Generator],
    *,
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
        recipe: of all.
        generators: of each network's batches and augmentation.
        progress: a bar to advance by one an epoch.

    Raises:
        ValueError: networks or sets that differ in shape, or not one of each a network.
    """
    beside: Sequence[Tensor | None] = [None] * len(networks) if outliers is None else outliers
    _check_alike(networks, images, labels, beside, generators)
    joint = JointDescent(networks, recipe)
    batches = [
        _Batches(own, of, others, recipe, None, joint.device)
        for own, of, others in zip(images, labels, beside, strict=True)
    ]
    for rate in recipe.rates():
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
    recipe: Recipe
    normalise: Callable[[Tensor], Tensor] | None
    device: torch.device

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Go once over the set, and once over its outliers where they are a tensor."""
        strategy = self.recipe.augmentation
        steps = -(-len(self.images) // self.recipe.batch)
        order = torch.randperm(len(self.images), generator=generator).tensor_split(steps)
        beside: tuple[Tensor, ...] = ()
        if isinstance(self.outliers, Tensor):
            beside = torch.randperm(len(self.outliers), generator=generator).tensor_split(steps)
        for step, chosen in enumerate(order):
            inputs = augment(self._chosen(self.images, chosen), strategy, generator)
            targets = self.labels[move(chosen, self.labels.device)].to(self.device)
            unknown = None
            if isinstance(self.outliers, Tensor):
                unknown = self._chosen(self.outliers, beside[step])
            elif self.outliers is not None:
                unknown = self._prepared(self.outliers(len(chosen), generator))
            if unknown is not None:
                unknown = augment(unknown, strategy, generator)
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
