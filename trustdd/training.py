"""Training a network on a set of images, with or without outliers beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd
from tqdm import tqdm

from trustdd import networks
from trustdd.augmentation import augment
from trustdd.experiment import Experiment
from trustdd.inliers import InlierData
from trustdd.losses import training_loss
from trustdd.memory import keep_freed_memory
from trustdd.networks.passes import Passes, SoftTargets
from trustdd.outliers import OutlierSource
from trustdd.randomness import stream

if TYPE_CHECKING:
    from trustdd.synthetic import DistilledSet


def resolve_device(name: str) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` into a device.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    keep_freed_memory()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device '{name}'; this machine offers cpu only")
    return torch.device(name)


def build_network(
    experiment: Experiment, channels: int, classes: int, *purpose: str | int, name: str = "convnet"
) -> nn.Module:
    """A fresh network of the experiment's size, its weights drawn for a named purpose."""
    return networks.build(
        name,
        channels=channels,
        classes=classes,
        image_size=int(experiment.image_size or 0),
        width=int(experiment.width or 0),
        depth=int(experiment.depth or 0),
        generator=stream(experiment.seed, *purpose),
    )


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
) -> float:
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
        watch: called after every step with its InD logits, their labels, and the loss.

    Returns:
        The last step's loss.
    """
    network.train()
    device = next(network.parameters()).device
    parameters: list[Tensor] = list(network.parameters())
    gradient = _gradient_of(network, outlier_weight, precision)
    buffers: list[Tensor | None] = [None] * len(parameters)
    steps = -(-len(images) // batch)
    prepare = normalise or (lambda batch_images: batch_images)
    loss = torch.zeros(())
    for epoch in range(epochs):
        if decay and epoch == epochs // 2 + 1:
            lr = lr * 0.1
        order = torch.randperm(len(images), generator=generator).tensor_split(steps)
        beside: tuple[Tensor, ...] = ()
        if isinstance(outliers, Tensor):
            beside = torch.randperm(len(outliers), generator=generator).tensor_split(steps)
        for step, chosen in enumerate(order):
            inputs = prepare(images[chosen.to(images.device)].to(device))
            inputs = augment(inputs, augmentation, generator)
            targets = labels[chosen.to(labels.device)].to(device)
            unknown = None
            if isinstance(outliers, Tensor):
                unknown = prepare(outliers[beside[step].to(outliers.device)].to(device))
            elif outliers is not None:
                unknown = prepare(outliers(len(chosen), generator).to(device))
            if unknown is not None:
                unknown = augment(unknown, augmentation, generator)
            known, loss, gradients = gradient(inputs, targets, unknown)
            # the function behind torch.optim.SGD: the class imports a compiler, for seconds
            with torch.no_grad():
                sgd(
                    parameters,
                    gradients,
                    buffers,
                    lr=lr,
                    momentum=momentum,
                    weight_decay=weight_decay,
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                    foreach=True,
                )
            if watch is not None:
                watch(known, targets, loss)
        if progress is not None:
            progress.set_postfix(loss=f"{float(loss):.4f}", refresh=False)
            progress.update()
    return float(loss)


#: inputs, labels, outliers or None → InD logits, loss, gradients in ``parameters()`` order
Gradient = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, list[Tensor]]]


def _gradient_of(network: nn.Module, outlier_weight: float, precision: str) -> Gradient:
    """The gradient of ``CE + λ · uniform-CE`` at a network's parameters as they are."""
    parameters = list(network.parameters())
    low = precision == "bf16"

    def by_autograd(
        inputs: Tensor, labels: Tensor, outliers: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        batch = inputs if outliers is None else torch.cat([inputs, outliers])
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=low):
            logits = network(batch).float()
        known, unknown = logits[: len(inputs)], logits[len(inputs) :]
        loss = training_loss(known, labels, unknown if len(unknown) else None, outlier_weight)
        gradients = list(torch.autograd.grad(loss, parameters))
        return known.detach(), loss.detach(), gradients

    if not Passes.fit(network):
        return by_autograd
    passes = Passes(network, precision)

    def written_out(
        inputs: Tensor, labels: Tensor, outliers: Tensor | None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        batch = inputs if outliers is None else torch.cat([inputs, outliers])
        beside = len(batch) - len(inputs)
        target = SoftTargets.of(labels, len(parameters[-1]), beside, outlier_weight)
        logits, gradients = passes.gradients(parameters, batch, target)
        return logits[: len(inputs)], target.loss(logits), gradients

    return written_out


def train_student(
    distilled: DistilledSet,
    experiment: Experiment,
    network: str = "convnet",
    progress: bool = False,
) -> nn.Module:
    """Train a student on a distilled set as the experiment says.

    SGD with momentum and weight decay, ×0.1 on the learning rate after half of the epochs;
    with trajectory matching's learned student learning rate where the set has one. The last
    epoch's network is returned, never the best on test data.

    Args:
        distilled: the set; its outliers, if any, enter by ``λ · uniform-CE``.
        experiment: the settings (`training_*`, `outlier_weight`, `augmentation`, `seed`).
        network: ``"convnet"`` or another name of ``networks.NETWORKS``.
        progress: show a bar.

    Returns:
        The trained network in eval mode, on the experiment's device.

    Raises:
        ValueError: unknown network, or a device that is not there.
    """
    device = resolve_device(experiment.device)
    return _train(
        experiment,
        network,
        (distilled.images.to(device), distilled.labels.to(device)),
        None if distilled.outliers is None else distilled.outliers.to(device),
        channels=distilled.images.shape[1],
        classes=int(distilled.labels.max()) + 1,
        lr=distilled.student_lr,
        bar=tqdm(total=experiment.training_epochs, desc="student", disable=not progress),
    )


def train_on_real(
    experiment: Experiment,
    data: InlierData,
    source: OutlierSource | None,
    network: str = "convnet",
    progress: bool = False,
) -> nn.Module:
    """Train a network on the whole training set, the ceiling a distilled set is measured by.

    Images stay uint8 until their batch; outliers are drawn anew for every step, as many as
    there are InD images in it.

    Args:
        experiment: the settings, as for `train_student`.
        data: the InD data.
        source: where outliers come from, or ``None``.
        network: name of the architecture.
        progress: show a bar.

    Returns:
        The trained network in eval mode.
    """
    device = resolve_device(experiment.device)
    assert data.train.labels is not None
    return _train(
        experiment,
        network,
        (data.train.images.to(device), data.train.labels.to(device)),
        None if source is None else source.mixed,
        channels=data.channels,
        classes=len(data.classes),
        normalise=data.normalise,
        bar=tqdm(total=experiment.training_epochs, desc="full data", disable=not progress),
    )


def _train(
    experiment: Experiment,
    network: str,
    known: tuple[Tensor, Tensor],
    outliers: Tensor | Callable[[int, torch.Generator], Tensor] | None,
    *,
    channels: int,
    classes: int,
    bar: tqdm,
    lr: float | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """Train a fresh network as an experiment's students are, on whatever images and outliers."""
    images, labels = known
    student = build_network(experiment, channels, classes, "student", network, name=network)
    student.to(images.device)
    with bar:
        fit(
            student,
            images,
            labels,
            outliers,
            epochs=experiment.training_epochs,
            lr=experiment.training_lr if lr is None else lr,
            momentum=experiment.training_momentum,
            weight_decay=experiment.training_weight_decay,
            batch=experiment.training_batch,
            outlier_weight=experiment.outlier_weight,
            augmentation=experiment.augmentation,
            precision=experiment.precision,
            generator=stream(experiment.seed, "student training", network),
            normalise=normalise,
            decay=True,
            progress=bar,
        )
    return student.eval()
