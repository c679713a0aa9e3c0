"""In-distribution data: a named dataset or an image folder, as uint8 tensors."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trustdd.data.array_files import ArrayFiles
from trustdd.settings.defaults import DATASETS, dataset_defaults
from trustdd.data.embedded import digits
from trustdd.settings.experiment import Experiment
from trustdd.data.folders import ImageFolder
from trustdd.data.imagesets import ImageSet
from trustdd.data.named import IMAGENETTE_CLASSES, NAMED, labelled_split, not_found
from trustdd.settings.errors import BadInput

__all__ = [
    "ImageSet", "InlierData", "check_inliers", "class_count", "inlier_channels", "inlier_sources",
    "load_inliers",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class InlierData:
    """A dataset's two splits and its normalisation.

    Attributes:
        name: the dataset's name.
        train: the training images, uint8.
        test: the test images, uint8, of the same classes.
        mean: per-channel mean of training images in [0, 1].
        std: per-channel standard deviation, likewise.
    """

    name: str
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return self.train.classes

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.train.channels

    @property
    def image_size(self) -> int:
        """Height = width in pixels."""
        return self.train.image_size

    def normalise(self, images: Tensor) -> Tensor:
        """Turn a batch into what a network is fed: ``(x − mean) / std``.

        Args:
            images: ``[n, c, h, w]``, uint8 (0–255) or floats in [0, 1], on any device.

        Returns:
            ``float32 [n, c, h, w]``, on the same device.
        """
        mean, std = (_per_channel(v, images.device) for v in (self.mean, self.std))
        if images.dtype == torch.uint8:  # one float copy, of the batch
            return images.float().div_(255).sub_(mean).div_(std)
        return (images.float() - mean) / std

    def pictures(self, normalised: Tensor) -> Tensor:
        """Undo `normalise`: ``float32 [n, c, h, w]``, clamped to [0, 1]."""
        device = normalised.device
        scaled = normalised * _per_channel(self.std, device) + _per_channel(self.mean, device)
        return scaled.clamp(0, 1)


def load_inliers(experiment: Experiment) -> InlierData:
    """Load the InD dataset of an experiment.

    Images are fitted to ``experiment.image_size``: the short side resized bilinearly, the
    centre cropped. They have the dataset's channels; those of an image folder of the user's
    own are grey if its files are, else RGB. Mean and standard deviation are the published
    ones, or measured on the training split where there are none. An image folder's classes
    are its sub-folders in sorted order.

    Raises:
        ValueError: as `check_inliers`, or no image of a class can be read.
    """
    name, size = experiment.dataset, experiment.image_size
    facts = dataset_defaults(name)
    if name == "digits":
        classes = tuple(str(digit) for digit in range(10))
        train, test = (ImageSet(name, images, labels, classes) for images, labels in digits(size))
    else:
        sources = inlier_sources(experiment)
        for source in sources.values():
            if isinstance(source, ArrayFiles):
                source.check_readable()
        classes = _shared_classes(name, sources)
        channels = inlier_channels(experiment)
        train, test = (
            _load_split(name, sources[split], classes, size, channels)
            for split in ("train", "test")
        )
    for split, images in (("train", train), ("test", test)):
        _check_counts(experiment, split, classes, images.labels)
    mean, std = (facts.mean, facts.std) if facts.mean else _statistics(train.images)
    return InlierData(name, train, test, mean, std)


def check_inliers(experiment: Experiment) -> None:
    """Check, without decoding it, that an experiment's InD dataset is there and will do.

    Raises:
        ValueError: the dataset, a split or its class folders are missing (with the places
            that were looked at, and how to get it); a class of one split is not in the other;
            a class has fewer training images than `ipc`; no image can be read.
    """
    if experiment.dataset == "digits":
        classes = tuple(str(digit) for digit in range(10))
        (_, train), (_, test) = digits(experiment.image_size)
        labels = {"train": train, "test": test}
    else:
        sources = inlier_sources(experiment)
        for source in sources.values():
            source.check_readable()
        classes = _shared_classes(experiment.dataset, sources)
        labels = {split: _labels(source, classes) for split, source in sources.items()}
    for split in ("train", "test"):
        _check_counts(experiment, split, classes, labels[split])


def inlier_sources(experiment: Experiment) -> dict[str, ImageFolder | ArrayFiles]:
    """Find the files of both splits; none for the embedded digits.

    Raises:
        ValueError: the dataset or a split is not there.
    """
    if experiment.dataset == "digits":
        return {}
    if not experiment.data_root:
        facts = NAMED.get(experiment.dataset)
        if facts is None:
            raise BadInput(
                f"dataset '{experiment.dataset}': an image folder needs data_root, the folder "
                f"that holds {experiment.dataset}/<split>/<class>/<image>"
            )
        raise not_found(facts, None)
    root = Path(experiment.data_root)
    return {split: labelled_split(experiment.dataset, root, split) for split in ("train", "test")}


def inlier_channels(experiment: Experiment) -> int:
    """Tell the channels of an experiment's images: 1 (grey) or 3 (RGB).

    Those of the named datasets are fixed; an image folder of the user's own is grey where a
    few of its training images, spread over the folder, all are.

    Raises:
        ValueError: the image folder is not there.
    """
    facts = dataset_defaults(experiment.dataset)
    if experiment.dataset in DATASETS:
        return facts.channels
    train = inlier_sources(experiment)["train"]
    return 1 if isinstance(train, ImageFolder) and train.looks_grey() else facts.channels


def class_count(experiment: Experiment) -> int:
    """Tell the number of an experiment's classes; those of the named datasets are known.

    Raises:
        ValueError: the image folder is not there.
    """
    known = dataset_defaults(experiment.dataset).classes
    return known or len(_shared_classes(experiment.dataset, inlier_sources(experiment)))


def _shared_classes(name: str, sources: dict[str, ImageFolder | ArrayFiles]) -> tuple[str, ...]:
    """The classes of a dataset, the same in both splits.

    Raises:
        ValueError: there are none, or the splits differ.
    """
    train, test = sources["train"], sources["test"]
    for split, source in sources.items():
        if isinstance(source, ImageFolder) and len(source.classes) < 2:
            raise BadInput(
                f"dataset '{name}': split '{split}' in {source.directory} has "
                f"{len(source.classes)} class folders with images; expected at least 2, "
                f"{source.directory}/<class>/<image>"
            )
    classes = train.classes
    if set(test.classes) != set(classes):
        missing = sorted(set(classes) - set(test.classes))
        further = sorted(set(test.classes) - set(classes))
        raise BadInput(
            f"dataset '{name}': the splits differ in their classes; "
            + "; ".join(
                f"{what}: {', '.join(some[:5])}"
                for what, some in (("not in test", missing), ("not in train", further))
                if some
            )
        )
    return classes


def _labels(source: ImageFolder | ArrayFiles, classes: tuple[str, ...]) -> Tensor:
    return source.labels(classes) if isinstance(source, ImageFolder) else source.read_labels()


def _load_split(
    name: str,
    source: ImageFolder | ArrayFiles,
    classes: tuple[str, ...],
    image_size: int,
    channels: int,
) -> ImageSet:
    labels = _labels(source, classes)
    # images that lie beside the class folders belong to no class
    chosen = None if bool((labels >= 0).all()) else (labels >= 0).nonzero().squeeze(1)
    images, indices = source.load(image_size, channels, chosen)
    shown = (
        tuple(IMAGENETTE_CLASSES.get(c, c) for c in classes) if name == "imagenette" else classes
    )
    return ImageSet(name, images, labels[indices], shown)


def _check_counts(
    experiment: Experiment, split: str, classes: tuple[str, ...], labels: Tensor | None
) -> None:
    """Raise where a class has no image, or too few to draw `ipc` real ones from.

    Raises:
        ValueError: naming the class that has fewest.
    """
    counts = torch.bincount(labels[labels >= 0], minlength=len(classes)) if labels is not None \
        else torch.zeros(len(classes))  # fmt: skip
    fewest = int(counts.argmin())
    have = int(counts[fewest])
    drawn = experiment.selection in ("random", "kmeans", "herding") or (
        experiment.selection == "distilled" and experiment.initial == "real"
    )
    need = experiment.ipc if split == "train" and drawn else 1
    if have < need:
        raise BadInput(
            f"dataset '{experiment.dataset}': class '{classes[fewest]}' has {have} readable "
            f"{split} images; expected at least {need}"
            + (f" (ipc {experiment.ipc}; take ipc ≤ {have})" if have > 0 else "")
        )


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per-channel mean and standard deviation in [0, 1], from counts of the 256 values.

    Exact, whatever the order of the images, and without a float copy of them.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        counts = torch.zeros(256, dtype=torch.int64)
        for piece in channel.split(1024):
            counts += torch.bincount(piece.reshape(-1).long(), minlength=256)
        share = counts.double() / counts.sum()
        centre = float((share * values).sum())
        mean.append(round(centre, 4))
        # one grey value everywhere has no spread to divide by
        spread = float((share * (values - centre) ** 2).sum()) ** 0.5
        std.append(round(spread, 4) or 1.0)
    return tuple(mean), tuple(std)


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # it may be asked for inside first, and outside later
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """``[c, 1, 1]`` on a device, made once, so that no batch waits for a copy."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
