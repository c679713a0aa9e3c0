"""Writing a distilled set for others' code: ``.pt``, ``.npz``, or a folder of pictures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.inputs import whitens
from trustdd.settings.errors import BadInput
from trustdd.store.files import atomic_path, write_json

FORMATS = ("pt", "npz", "png")


def export_set(distilled: DistilledSet, classes: Sequence[str], to: str, path: Path) -> Path:
    """Write a set for others' code.

    ========  =====================================================================================
    ``pt``    a dictionary that ``torch.load(weights_only=True)`` reads: ``images`` as networks are
              fed them ``float32 [n, c, h, w]``, ``labels`` (``int64 [n]``, or ``float32 [n, k]``),
              and, where there are some, ``outliers`` and ``student_lr``; ``mean`` and ``std`` turn
              the images into pixels, ``x · std + mean``; of whitened images ``zca`` stands instead
    ``npz``   the same as arrays
    ``png``   a folder of pictures, ``CLASS/PLACE.png`` and ``outliers/PLACE.png``, rounded to 8
              bits, classes by their number; ``labels.npy`` in the order of the files, and
              ``set.json`` with the names of the classes and the settings
    ========  =====================================================================================

    Args:
        distilled: the set.
        classes: names of the classes, in the order of the labels.
        to: one of `FORMATS`.
        path: where to: a file that ends in ``.pt`` or ``.npz``, or a folder that is not there.

    Returns:
        The path.

    Raises:
        ValueError: another format, a name that does not fit it, or a folder that is there.
    """
    if to not in FORMATS:
        raise BadInput(f"format '{to}'; expected one of {', '.join(FORMATS)}")
    if to == "png":
        return _pictures(distilled, classes, path)
    if path.suffix != f".{to}":
        raise BadInput(f"output '{path}'; expected a name that ends in .{to}")
    tensors = set_tensors(distilled)
    with atomic_path(path) as partial:
        if to == "pt":
            torch.save(tensors, partial)
        else:
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            with partial.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
    return path


def set_tensors(distilled: DistilledSet) -> dict[str, Tensor]:
    """A set as named tensors, see `export_set`."""
    found = {"images": distilled.images, "labels": distilled.labels}
    if distilled.outliers is not None:
        found["outliers"] = distilled.outliers
    if distilled.student_lr is not None:
        found["student_lr"] = torch.tensor(distilled.student_lr, dtype=torch.float64)
    if whitens(distilled.experiment):
        found["zca"] = torch.ones((), dtype=torch.int64)
    else:
        for name, values in (("mean", distilled.mean), ("std", distilled.std)):
            found[name] = torch.tensor(values, dtype=torch.float64)
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _pictures(distilled: DistilledSet, classes: Sequence[str], path: Path) -> Path:
    if path.exists():
        raise BadInput(f"output '{path}' is there; expected the name of a new folder")
    partial = path.with_name(f".partial-{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        labels = distilled.hard_labels.tolist()
        for place, image in enumerate(_bytes(distilled.pictures())):
            # numbered, since a class's name may be no name for a folder
            _save(image, partial / f"{labels[place]:03d}" / f"{place:05d}.png")
        outliers = distilled.outlier_pictures()
        for place, image in enumerate(_bytes(outliers) if outliers is not None else ()):
            _save(image, partial / "outliers" / f"{place:05d}.png")
        facts = {
            "classes": list(classes),
            "student_lr": distilled.student_lr,
            "experiment": distilled.experiment.to_dict(),
        }
        order = distilled.hard_labels.argsort(stable=True)
        np.save(partial / "labels.npy", distilled.labels[order].numpy())
        write_json(partial / "set.json", facts)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def _bytes(pictures: Tensor) -> np.ndarray:
    return (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(path)
