"""A folder of images as a distilled set comes in it: one folder a class, or all side by side."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trustdd.data.folders import ImageFolder, image_folder, picture_array
from trustdd.data.foreign.pixels import Decision
from trustdd.data.named import IMAGENETTE_CLASSES
from trustdd.settings.errors import BadInput

#: a folder of this name holds no class
OUTLIERS = "outliers"
#: most images a folder of a distilled set is read with
MOST_FILES = 200_000


@dataclass(frozen=True)
class ReadFolder:
    """What a folder of images holds.

    Attributes:
        images: ``uint8 [n, c, h, w]``.
        labels: ``int64 [n]``, or ``None`` where the images lie side by side.
        outliers: ``uint8 [m, c, h, w]``, of a folder of that name that is no class, or ``None``.
        decisions: how sizes were fitted, and which folder is which class.
        sha256: hash of the files' names and bytes.
    """

    images: Tensor
    labels: Tensor | None
    outliers: Tensor | None
    decisions: tuple[Decision, ...]
    sha256: str


def read_images(
    directory: Path,
    classes: Sequence[str],
    channels: int,
    image_size: int,
    *,
    order: Sequence[str] | None = None,
    first: int = 0,
    resize: bool = False,
) -> ReadFolder:
    """Read a folder of images.

    Args:
        directory: holds a folder a class, or images side by side.
        classes: names of the data set's classes.
        channels: 1 or 3.
        image_size: height and width wanted.
        order: names of the classes, in the sorted order of the folders, where these are called
            otherwise.
        first: the number of the first class, where folders are numbered.
        resize: fit images of another size: the short side resized bilinearly, the centre cropped.

    Raises:
        ValueError: no images, or one that cannot be read; folders whose classes cannot be told;
            images of another size and not `resize`.
    """
    found = image_folder(directory.name, directory)
    outliers = None
    if OUTLIERS in found.classes and OUTLIERS not in classes:
        outliers = image_folder(OUTLIERS, directory / OUTLIERS)
        found = found.without([OUTLIERS])
    if not found.files:
        raise BadInput(f"{directory}: no image files; expected one folder a class, or images")
    if len(found.files) > MOST_FILES:
        raise BadInput(f"{directory}: {len(found.files)} images; expected at most {MOST_FILES}")
    labels, decisions = _classes(found, classes, order, first)
    digest = hashlib.sha256()
    read, sizes = _read(found, channels, image_size, resize, digest)
    beside = None
    if outliers is not None:
        beside, more = _read(outliers, channels, image_size, resize, digest)
        sizes |= more
    size = _size_decision(sizes, image_size)
    return ReadFolder(read, labels, beside, (*decisions, size), digest.hexdigest())


def _read(
    found: ImageFolder, channels: int, image_size: int, resize: bool, digest: hashlib._Hash
) -> tuple[Tensor, set[tuple[int, int]]]:
    """Every picture of a folder, ``uint8 [n, c, h, w]``, and the sizes that they came in."""
    sizes: set[tuple[int, int]] = set()
    arrays = []
    for name in found.files:
        path = found.directory / name
        digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        try:
            with Image.open(path) as picture:
                sizes.add(picture.size)
                if picture.size != (image_size, image_size) and not resize:
                    width, height = picture.size
                    raise BadInput(
                        f"{path}: {width} x {height} px; expected {image_size} x {image_size}, as "
                        "the data set has them; give --image-size for students at another size, or "
                        "--resize"
                    )
                arrays.append(picture_array(picture, image_size, channels))
        except BadInput:
            raise
        except Exception as error:  # Pillow's plugins raise many kinds on damaged files
            raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    return torch.from_numpy(np.stack(arrays)), sizes


def _size_decision(sizes: set[tuple[int, int]], image_size: int) -> Decision:
    wanted = f"{image_size} x {image_size} px"
    if sizes == {(image_size, image_size)}:
        return Decision("size", wanted, "all images have it")
    some = ", ".join(f"{w} x {h}" for w, h in sorted(sizes)[:4]) + (", …" if len(sizes) > 4 else "")
    return Decision("size", wanted, f"asked for: from {some}, the short side resized, the centre cut")


def _classes(
    found: ImageFolder, classes: Sequence[str], order: Sequence[str] | None, first: int
) -> tuple[Tensor | None, tuple[Decision, ...]]:
    folders = found.classes
    if not folders:
        return None, ()
    beside = [name for name in found.files if "/" not in name]
    if beside:
        raise BadInput(
            f"{found.directory}: {len(beside)} images beside {len(folders)} class folders; "
            "expected all images in class folders, or none"
        )
    place, why = _places(found, classes, order, first)
    labels = torch.tensor([place[name.split("/", 1)[0]] for name in found.files])
    said = ", ".join(f"{name} → {classes[place[name]]}" for name in folders[:3])
    return labels, (Decision("folders", said + (", …" if len(folders) > 3 else ""), why),)


def _places(
    found: ImageFolder, classes: Sequence[str], order: Sequence[str] | None, first: int
) -> tuple[dict[str, int], str]:
    """Folder name → class, and how that was told."""
    folders, names = found.classes, list(classes)
    if order is not None:
        if len(order) != len(folders) or sorted(order) != sorted(classes):
            raise BadInput(
                f"--classes {','.join(order)} for {len(folders)} folders; expected each of "
                f"{', '.join(classes)} once, in the folders' sorted order"
            )
        return {f: names.index(c) for f, c in zip(folders, order, strict=True)}, "--classes"
    if set(folders) == set(names):
        return {f: names.index(f) for f in folders}, "the folders are named as the classes"
    shown = {f: IMAGENETTE_CLASSES.get(f, f) for f in folders}
    if set(shown.values()) == set(names):
        return {f: names.index(c) for f, c in shown.items()}, "the folders are named by WordNet"
    numbers = {f: int(m[0]) for f in folders if (m := re.search(r"\d+$", f))}
    wanted = set(range(first, first + len(names)))
    if len(numbers) == len(folders) and set(numbers.values()) == wanted:
        why = f"the folders are numbered {first} to {first + len(names) - 1}"
        return {f: n - first for f, n in numbers.items()}, why
    if len(numbers) == len(folders) and set(numbers.values()) == {n + 1 for n in wanted}:
        raise BadInput(
            f"{found.directory}: folders are numbered from {first + 1}; expected {first}, or give "
            f"--first-label {first + 1}"
        )
    raise BadInput(
        f"{found.directory}: folders {', '.join(folders[:8])}{', …' if len(folders) > 8 else ''}; "
        f"expected one for each of {', '.join(names)}, by name or numbered {first} to "
        f"{first + len(names) - 1}; or give --classes in the folders' sorted order"
    )
