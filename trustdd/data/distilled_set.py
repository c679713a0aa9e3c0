"""The distilled set: synthetic images, their labels, and the synthetic outliers."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trustdd.settings.experiment import Experiment
from trustdd.data.inliers import InlierData
from trustdd.data.inputs import WhitenedData
from trustdd.data.outliers import OutlierSource
from trustdd.settings.randomness import stream
from trustdd.store.run import read_tensors, write_tensors
from trustdd.settings.errors import BadInput

FORMAT = "trustdd-distilled-1"
PICTURES = ("pictures", "outlier_pictures")


@dataclass(frozen=True)
class DistilledSet:
    """A synthetic training set and, for TrustDD, synthetic outliers.

    Attributes:
        images: ``float32 [classes·ipc, c, h, w]``, sorted by class, normalised as a network is
            fed them: ``(x − mean) / std``, not bounded. `pictures` gives [0, 1]. Of a finished
            set they are numbers that half precision holds, see `rounded`.
        labels: ``int64 [classes·ipc]``.
        outliers: ``float32 [m, c, h, w]``, normalised alike, or ``None``.
        student_lr: the learning rate that trajectory matching learned, or ``None``.
        experiment: the settings that made it.
        mean: the normalisation's mean per channel, for images in [0, 1].
        std: its standard deviation per channel.
        whitened: what `pictures` shows where the images are ZCA-whitened: the synthetic images
            and, if any, outliers, turned back into pixels, ``uint8``; ``None`` otherwise.
    """

    images: Tensor
    labels: Tensor
    outliers: Tensor | None
    student_lr: float | None
    experiment: Experiment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitened: tuple[Tensor, ...] | None = None

    def pictures(self) -> Tensor:
        """The synthetic images in [0, 1], clamped, ``float32 [n, c, h, w]``."""
        if self.whitened is not None:
            return self.whitened[0].float() / 255
        return self._pictures(self.images)

    def outlier_pictures(self) -> Tensor | None:
        """The synthetic outliers in [0, 1], clamped, or ``None``."""
        if self.outliers is None:
            return None
        if self.whitened is not None:
            return self.whitened[1].float() / 255
        return self._pictures(self.outliers)

    def with_pictures(self, data: InlierData) -> DistilledSet:
        """Add the pictures of whitened images; nothing to add where normalisation is per channel.

        A ZCA whitening is too large to be kept in the file: 2 · 3072² numbers for 32 px.
        """
        if not isinstance(data, WhitenedData):
            return self
        sets = [self.images] if self.outliers is None else [self.images, self.outliers]
        shown = tuple((data.pictures(s) * 255).round().byte() for s in sets)
        return replace(self, whitened=shown)

    def rounded(self) -> DistilledSet:
        """The set with images and outliers rounded to half precision, which it is stored in.

        It takes half the space, and the steps are a tenth of those of an 8-bit picture's values
        or less. Values beyond what half precision holds leave their tensor as it is.
        """
        outliers = None if self.outliers is None else _rounded(self.outliers)
        return replace(self, images=_rounded(self.images), outliers=outliers)

    def _pictures(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean).view(-1, 1, 1)
        std = torch.tensor(self.std).view(-1, 1, 1)
        return (images.cpu() * std + mean).clamp(0, 1)

    def save(self, path: str | Path) -> Path:
        """Write one ``.safetensors``: the tensors, and the experiment as JSON metadata.

        The file is written beside `path` and moved into place. Nothing is lost: images that half
        precision holds are stored so, others in single. Neither the folder the data lay in nor
        the device is recorded.
        """
        tensors = {"images": _compact(self.images), "labels": self.labels}
        if self.outliers is not None:
            tensors["outliers"] = _compact(self.outliers)
        if self.student_lr is not None:
            tensors["student_lr"] = torch.tensor(self.student_lr, dtype=torch.float64)
        for name, shown in zip(PICTURES, self.whitened or (), strict=False):
            tensors[name] = shown
        metadata = {
            "format": FORMAT,
            "experiment": json.dumps(self.experiment.to_dict(), sort_keys=True),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
        }
        return write_tensors(Path(path), tensors, metadata)


def _rounded(values: Tensor) -> Tensor:
    near = values.half().float()
    return near if bool(torch.isfinite(near).all()) else values


def _compact(values: Tensor) -> Tensor:
    half = values.half()
    return half if torch.equal(half.float(), values) else values


def load_distilled(path: str | Path) -> DistilledSet:
    """Read a distilled set that `DistilledSet.save` wrote.

    Raises:
        ValueError: the file is missing, damaged, or not a distilled set.
    """
    tensors, metadata = read_tensors(Path(path))
    if metadata.get("format") != FORMAT:
        raise BadInput(
            f"{path}: format {metadata.get('format', 'unknown')!r}; expected {FORMAT!r}"
        )
    # an image folder's place is not recorded; it is needed again only to read the real data
    values = {"data_root": "data", **json.loads(metadata["experiment"])}
    student_lr = tensors.get("student_lr")
    return DistilledSet(
        images=tensors["images"].float(),
        labels=tensors["labels"],
        outliers=tensors["outliers"].float() if "outliers" in tensors else None,
        student_lr=None if student_lr is None else float(student_lr),
        experiment=Experiment.from_dict(values),
        mean=tuple(json.loads(metadata["mean"])),
        std=tuple(json.loads(metadata["std"])),
        whitened=tuple(tensors[name] for name in PICTURES if name in tensors) or None,
    )


def initial_set(
    experiment: Experiment, data: InlierData, source: OutlierSource | None
) -> DistilledSet:
    """The set that distillation starts from, which is also the random baseline.

    Real images: `ipc` of every class, drawn without replacement; outliers: `outlier_ipc` per
    class slot, drawn from the source. With ``initial="noise"``, what is to be distilled starts
    as standard normal noise (in normalised units) instead.

    Raises:
        ValueError: a class has fewer than `ipc` images.
    """
    shape = (data.channels, data.image_size, data.image_size)
    classes = len(data.classes)
    assert data.train.labels is not None
    noise = experiment.initial == "noise" and experiment.selection == "distilled"
    images, outliers = [], []
    for label in range(classes):
        generator = stream(experiment.seed, "initial images", label)
        if noise:
            images.append(torch.randn(experiment.ipc, *shape, generator=generator))
            continue
        members = (data.train.labels == label).nonzero().flatten()
        if len(members) < experiment.ipc:
            raise BadInput(
                f"ipc {experiment.ipc}; class '{data.classes[label]}' of {data.name} has "
                f"{len(members)} training images, expected at most that many"
            )
        drawn = members[torch.randperm(len(members), generator=generator)[: experiment.ipc]]
        images.append(data.normalise(data.train.images[drawn]))
    for slot in range(classes if source is not None else 0):
        generator = stream(experiment.seed, "initial outliers", slot)
        count = int(experiment.outlier_ipc or 0)
        if experiment.initial == "noise" and experiment.outlier_selection == "distilled":
            outliers.append(torch.randn(count, *shape, generator=generator))
        elif source is not None:
            outliers.append(data.normalise(source.batch(slot, count, generator).cpu()))
    return DistilledSet(
        images=torch.cat(images).float(),
        labels=torch.arange(classes).repeat_interleave(experiment.ipc),
        outliers=torch.cat(outliers).float() if outliers else None,
        student_lr=None,
        experiment=experiment,
        mean=tuple(data.mean),
        std=tuple(data.std),
    ).with_pictures(data)
