"""The distilled set: synthetic images, their labels, and the synthetic outliers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trustdd.data.inliers import InlierData
from trustdd.data.inputs import WhitenedData, whitens
from trustdd.data.set_checks import (
    check_images,
    check_labels,
    check_statistics,
    check_student_lr,
    check_weighted,
)
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.tensors import read_tensors, write_tensors

FORMAT = "trustdd-distilled-1"
PICTURES = ("pictures", "outlier_pictures")


@dataclass(frozen=True)
class DistilledSet:
    """A synthetic training set and, for TrustDD, synthetic outliers.

    Attributes:
        images: ``float32 [classes·ipc, c, h, w]``, sorted by class, normalised as a network is
            fed them: ``(x − mean) / std``, not bounded. `pictures` gives [0, 1]. Of a finished
            set they are numbers that half precision holds, see `rounded`.
        labels: ``int64 [classes·ipc]``; or a distribution over classes an image,
            ``float32 [classes·ipc, k]``.
        outliers: ``float32 [m, c, h, w]``, normalised alike, or ``None``.
        student_lr: the learning rate that trajectory matching learned, or ``None``.
        experiment: the settings that made it.
        mean: the normalisation's mean per channel, for images in [0, 1].
        std: its standard deviation per channel.
        whitened: what `pictures` shows where the images are ZCA-whitened: the synthetic images
            and, if any, outliers, turned back into pixels, ``uint8``; ``None`` otherwise.
        origin: of a set that was read from elsewhere: its name, files with their hashes, how it
            was read, and its terms, as JSON values; ``None`` of a set of this package's making.

    Raises:
        ValueError: images or outliers of another shape than the experiment's data has, not finite,
            or not floating point; labels out of range, of which a class is missing, or that are
            neither classes nor distributions; a mean or std that is not one number a channel;
            outliers under an experiment that gives them no weight.
    """

    images: Tensor
    labels: Tensor
    outliers: Tensor | None
    student_lr: float | None
    experiment: Experiment
    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitened: tuple[Tensor, ...] | None = None
    origin: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        images = check_images("images", self.images, self.experiment)
        outliers = self.outliers
        if outliers is not None:
            check_weighted(outliers, self.experiment)
            outliers = check_images("outliers", outliers, self.experiment)
        channels = images.shape[1]
        if outliers is not None and outliers.shape[1] != channels:
            raise BadInput(
                f"outliers of {outliers.shape[1]} channels beside images of {channels}; expected "
                "equally many"
            )
        checked = {
            "images": images,
            "labels": check_labels(self.labels, len(images), self.experiment),
            "outliers": outliers,
            "student_lr": check_student_lr(self.student_lr),
            "mean": check_statistics("mean", self.mean, channels),
            "std": check_statistics("std", self.std, channels),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self._check_pictures()

    def _check_pictures(self) -> None:
        if self.whitened is None:
            return
        if not whitens(self.experiment):
            raise BadInput(
                "pictures of whitened images under an experiment without zca; expected none"
            )
        sets = [t for t in (self.images, self.outliers) if t is not None]
        if [(p.dtype, p.shape) for p in self.whitened] != [(torch.uint8, t.shape) for t in sets]:
            shapes = ", ".join(f"{p.dtype} {list(p.shape)}" for p in self.whitened)
            raise BadInput(
                f"pictures of whitened images: {shapes}; expected uint8 of the shapes "
                f"{', '.join(str(list(t.shape)) for t in sets)}"
            )

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1

    @property
    def hard_labels(self) -> Tensor:
        """The class of each image, ``int64 [n]``: of a distribution, the likeliest."""
        return self.labels.argmax(1) if self.labels.ndim == 2 else self.labels

    def pictures(self) -> Tensor:
        """The synthetic images in [0, 1], clamped, ``float32 [n, c, h, w]``.

        Raises:
            ValueError: the images are whitened, and nothing turned them back (`with_pictures`).
        """
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
        or less. Values beyond what half precision holds leave their tensor as it is; what a given
        set holds always stays as it is.
        """
        images, outliers = self.images, self.outliers
        if self.experiment.selection != "given":
            images = _rounded(images)
        if outliers is not None and self.experiment.outlier_selection != "given":
            outliers = _rounded(outliers)
        return replace(self, images=images, outliers=outliers)

    def _pictures(self, images: Tensor) -> Tensor:
        if whitens(self.experiment):
            raise BadInput(
                "a set whose images are ZCA-whitened and that holds no pictures of them; expected "
                "it as distill() returns or stores it, or with_pictures(data)"
            )
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
        if self.origin is not None:
            metadata["origin"] = json.dumps(self.origin, sort_keys=True)
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
        ValueError: the file is missing, damaged, not a distilled set, or a set that is none: see
            `DistilledSet`.
    """
    tensors, metadata = read_tensors(Path(path))
    if metadata.get("format") != FORMAT:
        raise BadInput(
            f"{path}: format {metadata.get('format', 'unknown')!r}; expected {FORMAT!r}"
        )
    try:
        return _read(tensors, metadata)
    except KeyError as error:
        raise BadInput(f"{path}: {error} is missing; expected a distilled set's file") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {error}") from None


def _read(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> DistilledSet:
    # an image folder's place is not recorded; it is needed again only to read the real data
    values = {"data_root": "data", **_parsed(metadata, "experiment", dict)}
    student_lr = tensors.get("student_lr")
    if student_lr is not None and student_lr.numel() != 1:
        raise BadInput(f"student_lr of shape {list(student_lr.shape)}; expected one number")
    return DistilledSet(
        images=tensors["images"],
        labels=tensors["labels"],
        outliers=tensors.get("outliers"),
        student_lr=None if student_lr is None else float(student_lr),
        experiment=Experiment.from_dict(values),
        mean=_parsed(metadata, "mean", list),
        std=_parsed(metadata, "std", list),
        whitened=tuple(tensors[name] for name in PICTURES if name in tensors) or None,
        origin=_parsed(metadata, "origin", dict) if "origin" in metadata else None,
    )


def _parsed(metadata: Mapping[str, str], name: str, kind: type) -> Any:
    value = json.loads(metadata[name])
    if not isinstance(value, kind):
        raise BadInput(f"{name} {value!r} in the file's metadata; expected a {kind.__name__}")
    return value
