"""How a network is trained, and what an experiment says of it for each network that it trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trustdd.settings.experiment import Experiment


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """SGD on ``CE(InD) + λ · uniform-CE(outliers)``.

    Attributes:
        epochs: passes over the images.
        lr: learning rate.
        batch: images a step.
        momentum: of SGD.
        weight_decay: of SGD.
        outlier_weight: λ ≥ 0.
        augmentation: strategy drawn anew for every batch, an operation a batch and its
            parameters an image; ``None`` for none.
        precision: ``"float32"``, or ``"bf16"`` for convolutions and activations in bfloat16;
            parameters and their updates stay in float32.
        decay: ×0.1 on the learning rate after half of the epochs.
        label_temperature: T > 0 of soft labels, see `trustdd.networks.losses.training_loss`.
    """

    epochs: int
    lr: float
    batch: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    outlier_weight: float = 0.0
    augmentation: str | None = None
    precision: str = "float32"
    decay: bool = False
    label_temperature: float = 1.0

    def rates(self) -> Iterator[float]:
        """Yield each epoch's learning rate."""
        for epoch in range(self.epochs):
            yield self.lr * 0.1 if self.decay and epoch > self.epochs // 2 else self.lr

    def steps_like(self, other: Recipe) -> bool:
        """Tell whether a step, at a given batch and learning rate, is the same under both."""
        names = ("momentum", "weight_decay", "outlier_weight", "precision", "label_temperature")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def student_recipe(experiment: Experiment, student_lr: float | None = None) -> Recipe:
    """Return how an experiment's students are trained, at the set's own learning rate if any."""
    return Recipe(
        epochs=experiment.training_epochs,
        lr=experiment.training_lr if student_lr is None else student_lr,
        batch=experiment.training_batch,
        momentum=experiment.training_momentum,
        weight_decay=experiment.training_weight_decay,
        outlier_weight=experiment.outlier_weight,
        augmentation=experiment.augmentation,
        precision=experiment.precision,
        decay=True,
        label_temperature=experiment.label_temperature,
    )


def inner_recipe(experiment: Experiment) -> Recipe:
    """Return how a network is trained between two steps of gradient matching."""
    return Recipe(
        epochs=experiment.inner_loops,
        lr=experiment.lr_network,
        batch=experiment.network_batch,
        outlier_weight=experiment.outlier_weight,
        augmentation=experiment.augmentation,
        precision=experiment.precision,
    )


def expert_recipe(experiment: Experiment) -> Recipe:
    """Return how an expert is trained for an epoch."""
    return Recipe(
        epochs=1,
        lr=experiment.expert_lr,
        batch=experiment.expert_batch,
        outlier_weight=experiment.outlier_weight,
        augmentation=experiment.expert_augmentation,
        precision=experiment.precision,
    )
