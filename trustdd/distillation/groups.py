"""Groups that are matched one by one: a class's images, or the outliers of a class slot."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trustdd.data import augmentation
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks.memory import move
from trustdd.settings.randomness import stream


class Groups:
    """Synthetic images of every group, each beside real ones under the same augmentation.

    Attributes:
        names: what is distilled, of ``"images"`` and ``"outliers"``.
        count: how many groups each of them has: one a class.
    """

    def __init__(self, materials: Materials) -> None:
        """Keep the real images, as uint8, on the device that computes."""
        experiment, data = materials.experiment, materials.data
        self.experiment, self.data, self.device = experiment, data, materials.device
        self.source = materials.source
        with_outliers = self.source is not None and experiment.outlier_selection == "distilled"
        moved = experiment.selection == "distilled" and not materials.images_wait
        self.names = ("images",) * moved
        self.names += ("outliers",) * with_outliers
        self.images = data.train.images.to(materials.device)
        labels = data.train.labels
        assert labels is not None
        self.count = len(data.classes)
        self.members = [(labels == c).nonzero().flatten() for c in range(self.count)]

    def pairs(
        self, synthetic: Tensor, name: str, *purpose: str | int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw every group's real images, and the augmentation that both are seen under.

        Args:
            synthetic: all images, or all outliers, ``[count · ipc, c, h, w]``, group by group.
            name: which of the two they are.
            purpose: names the draws, together with the group's number.

        Yields:
            The synthetic images of a group and real ones, normalised and augmented.
        """
        strategy = self.experiment.augmentation
        for slot, group in enumerate(synthetic.split(len(synthetic) // self.count)):
            generator = stream(self.experiment.seed, *purpose, slot)
            real = self.data.normalise(self._real(name, slot, generator))
            if strategy is not None:
                shape = (int(group.shape[1]), int(group.shape[2]), int(group.shape[3]))
                draw = augmentation.draw(strategy, 1, shape, generator, siamese=True)
                group, real = (augmentation.apply(one, draw) for one in (group, real))
            yield group, real

    def descend(self, state: State, name: str, gradient: Tensor) -> None:
        """Take one step on the images, or the outliers, at their own learning rate."""
        experiment = self.experiment
        lr = experiment.lr_images if name == "images" else experiment.lr_outliers
        state.descend(name, gradient, lr, experiment.momentum_images)

    def _real(self, name: str, slot: int, generator: torch.Generator) -> Tensor:
        """Real images of a class, or real (pseudo-)outliers of a slot."""
        count = self.experiment.real_batch
        if name == "outliers":
            assert self.source is not None
            return self.source.batch(slot, count, generator)
        members = self.members[slot]
        drawn = members[torch.randperm(len(members), generator=generator)[:count]]
        return self.images[move(drawn, self.device)]
