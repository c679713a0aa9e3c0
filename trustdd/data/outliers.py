"""Where outliers come from: a real pool (OE) or corrupted InD images (POE), one interface.

Images stay ``uint8`` until a batch is drawn; POE corrupts just that batch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from trustdd.settings.experiment import Experiment
from trustdd.data.inliers import InlierData
from trustdd.networks.memory import move
from trustdd.data.ood import load_outlier_pool
from trustdd.settings.randomness import stream
from trustdd.settings.errors import BadInput


@dataclass(frozen=True)
class OutlierSource:
    """Draws batches of outliers, one group per class slot.

    Attributes:
        images: ``uint8 [n, c, h, w]``: the real pool, or the InD training images.
        groups: the indices of each slot's images, ``int64 [n_slot]``, one per class.
        corruptions: what is done to a slot's images; slot c uses number c mod len. Empty for OE.
    """

    images: Tensor
    groups: tuple[Tensor, ...]
    corruptions: tuple[str, ...]

    def batch(self, slot: int, count: int, generator: torch.Generator) -> Tensor:
        """Draw outliers for one class slot, without replacement while there are enough.

        Args:
            slot: class slot, 0 ≤ slot < classes.
            count: how many.
            generator: a CPU generator.

        Returns:
            Images in [0, 1], ``float32 [count, c, h, w]``, on the device of `images`.
        """
        group = self.groups[slot]
        name = self.corruptions[slot % len(self.corruptions)] if self.corruptions else ""
        known = _corruptions() if name else None
        # a double exposure takes a second image
        needed = max(count, 2) if known and name in known.PAIRED else count
        drawn = move(group[_draw(len(group), needed, generator)], self.images.device)
        images = self.images[drawn].float().div_(255.0)
        if not known:
            return images
        # noise is drawn by a CPU generator, so that a seed gives the same outliers everywhere
        corrupted: Tensor = known.CORRUPTIONS[name](images, generator=generator)
        return corrupted[:count]

    def mixed(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw a batch over all slots, as evenly as `count` allows; see `batch`."""
        slots = len(self.groups)
        first = int(torch.randint(slots, (1,), generator=generator))
        shares = [count // slots + (i < count % slots) for i in range(slots)]
        return torch.cat(
            [
                self.batch((first + i) % slots, share, generator)
                for i, share in enumerate(shares)
                if share
            ]
        )


def outlier_source(
    experiment: Experiment, inliers: InlierData, device: str | torch.device = "cpu"
) -> OutlierSource | None:
    """Make the source of an experiment's outliers, or ``None`` for ordinary distillation.

    OE splits the pool at random into one group per class slot, so that slots do not share
    images. POE corrupts InD images of *all* classes in every slot.

    Raises:
        ValueError: the pool is not there, or holds fewer images than class slots.
    """
    classes = len(inliers.classes)
    if experiment.outliers == "none":
        return None
    if experiment.outliers == "poe":
        images = inliers.train.images
        everything = torch.arange(len(images))
        return OutlierSource(
            images.to(device), (everything,) * classes, experiment.corruptions
        )
    pool = load_outlier_pool(experiment).images
    if len(pool) < classes:
        raise BadInput(
            f"outlier pool '{experiment.outlier_pool}' holds {len(pool)} images; "
            f"expected at least one for each of the {classes} class slots"
        )
    order = torch.randperm(len(pool), generator=stream(experiment.seed, "outlier groups"))
    return OutlierSource(
        pool.to(device), tuple(order[slot::classes] for slot in range(classes)), ()
    )


def _corruptions() -> ModuleType:
    """The module of corruptions, imported by its name since POE alone needs it, see `OUTLIERS`."""
    return importlib.import_module("trustdd.data.corruptions")


def _draw(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Indices below `size`: no repeats until every one was drawn once."""
    rounds = -(-count // size)
    order = [torch.randperm(size, generator=generator) for _ in range(rounds)]
    return torch.cat(order)[:count]
