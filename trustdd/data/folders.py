"""Image folders: finding the images, and decoding them to one uint8 tensor."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from trustdd.data.image_cache import cached, fingerprint
from trustdd.settings.errors import BadInput

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
#: names a split's folder may have, first come first served
SPLIT_NAMES = {
    "train": ("train", "training"),
    "test": ("test", "testing", "val", "valid", "validation"),
}
#: raised when decoding changes, so that older caches are made again
_DECODER = 1
#: files tried before a folder is called unreadable without decoding it
_TRIES = 64
_PIECE = 128


@dataclass(frozen=True)
class ImageFolder:
    """Image files under one folder.

    Attributes:
        name: the dataset's name, for messages.
        directory: the folder.
        files: paths relative to it, with ``/``, sorted.
        dataset: the dataset's whole folder, where `directory` is one split of it.
    """

    name: str
    directory: Path
    files: tuple[str, ...]
    dataset: Path | None = None

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The sub-folders that hold images, sorted; each is a class."""
        return tuple(sorted({f.split("/", 1)[0] for f in self.files if "/" in f}))

    def labels(self, classes: Sequence[str]) -> Tensor:
        """Class indices of the files, ``int64 [n]``; −1 for a file outside `classes`."""
        index = {c: i for i, c in enumerate(classes)}
        return torch.tensor([index.get(f.split("/", 1)[0], -1) for f in self.files])

    def without(self, classes: Iterable[str]) -> ImageFolder:
        """Leave classes out.

        Raises:
            ValueError: one of them is no class of this folder.
        """
        left_out = set(classes)
        for unknown in sorted(left_out - set(self.classes)):
            raise BadInput(
                f"'{self.name}': class '{unknown}' to leave out is not in {self.directory}; "
                f"expected one of {', '.join(self.classes) or 'its sub-folders (it has none)'}"
            )
        kept = tuple(f for f in self.files if f.split("/", 1)[0] not in left_out)
        return replace(self, files=kept)

    def place(self) -> Path:
        """The folder that another dataset must neither hold nor lie in."""
        return (self.dataset or self.directory).resolve()

    def check_readable(self) -> None:
        """Open images, spread over the folder, until one decodes.

        Raises:
            ValueError: there is no image, or none of those tried can be read.
        """
        if not self.files:
            raise BadInput(
                f"'{self.name}': no image in {self.directory}; expected files ending in "
                f"{', '.join(SUFFIXES)}"
            )
        tried = _spread(self.files, _TRIES)
        if not any(_readable(self.directory / f) for f in tried):
            raise BadInput(
                f"'{self.name}': no readable image in {self.directory} "
                f"({len(tried)} of {len(self.files)} files tried, e.g. {tried[0]})"
            )

    def looks_grey(self) -> bool:
        """Tell whether all of a few images, spread over the folder, are stored as grey."""
        modes = [mode for f in _spread(self.files, _TRIES) if (mode := _mode(self.directory / f))]
        return bool(modes) and all(mode in ("1", "L", "LA") or mode[0] in "IF" for mode in modes)

    def load(
        self, image_size: int, channels: int, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Decode the images, or take them from the cache.

        The short side is resized to `image_size` bilinearly (antialiased), then the centre is
        cropped. Transparency is laid over white.

        Args:
            image_size: height and width in pixels.
            channels: 1 or 3.
            chosen: indices of the files wanted; all without it.

        Returns:
            ``uint8 [n, channels, image_size, image_size]`` and the indices of the files they
            come from, ``int64 [n]``. Files that cannot be read are left out, with one warning.

        Raises:
            ValueError: none of them can be read.
        """
        indices = torch.arange(len(self.files)) if chosen is None else chosen
        files = [self.files[i] for i in indices.tolist()]
        if not files:
            self.check_readable()
        stamp = fingerprint(self.directory, files, decoder=_DECODER, pillow=PIL.__version__)
        identity = {
            "folder": str(self.directory.resolve()),
            "image_size": image_size,
            "channels": channels,
            # parts of one folder (a subset, classes left out) do not push each other out
            "part": "all" if chosen is None else len(files),
            "files": len(self.files),
        }

        def make() -> dict[str, Tensor]:
            images, good = _decode(self.directory, files, image_size, channels, self.name)
            return {"images": images, "good": good}

        label = re.sub(r"[^A-Za-z0-9]+", "_", self.name.rsplit("/", 1)[-1])[:40]
        tensors = cached(f"{label}-{image_size}px", identity, stamp, make)
        good = tensors["good"]
        if len(good) == 0:
            raise BadInput(
                f"'{self.name}': no readable image in {self.directory} ({len(files)} files)"
            )
        if len(good) < len(files):
            bad = sorted(set(range(len(files))) - set(good.tolist()))
            some = ", ".join(files[i] for i in bad[:3]) + (", …" if len(bad) > 3 else "")
            warnings.warn(
                f"'{self.name}': {len(bad)} of {len(files)} files in {self.directory} cannot be "
                f"read and are left out ({some})",
                stacklevel=2,
            )
        return tensors["images"], indices[good]


def image_folder(name: str, directory: Path, dataset: Path | None = None) -> ImageFolder:
    """List the images under a folder, in its sub-folders too; hidden ones are passed over.

    Args:
        name: the dataset's name.
        directory: the folder.
        dataset: the dataset's whole folder, where `directory` is one split of it.
    """
    return ImageFolder(name, directory, tuple(sorted(_walk(directory, ""))), dataset)


def has_images(directory: Path) -> bool:
    """Tell whether there is at least one image file under a folder."""
    return directory.is_dir() and next(_walk(directory, ""), None) is not None


def split_folder(directory: Path, split: str) -> Path | None:
    """Return a split's folder inside a dataset's folder.

    Args:
        directory: the dataset's folder.
        split: ``"train"`` or ``"test"``.

    Returns:
        The first of `SPLIT_NAMES` that is there, in whatever case it is written, or ``None``.
    """
    if not directory.is_dir():
        return None
    inside = {e.name.lower(): e.name for e in os.scandir(directory) if e.is_dir()}
    for wanted in SPLIT_NAMES[split]:
        if wanted in inside:
            return directory / inside[wanted]
    return None


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.name.lower().endswith(SUFFIXES):
            yield prefix + entry.name


def _spread(files: Sequence[str], count: int) -> list[str]:
    if len(files) <= count:
        return list(files)
    return [files[i * len(files) // count] for i in range(count)]


def _readable(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            picture.load()
        return True
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        return False


def _mode(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            return picture.mode
    except Exception:  # as above
        return None


def picture_array(picture: Image.Image, image_size: int, channels: int) -> np.ndarray:
    """Turn an opened picture of any mode into ``uint8 [channels, image_size, image_size]``."""
    picture = _opaque(picture).convert("L" if channels == 1 else "RGB")
    width, height = picture.size
    if min(width, height) != image_size:
        scale = image_size / min(width, height)
        width = max(image_size, int(width * scale))
        height = max(image_size, int(height * scale))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - image_size) / 2), round((height - image_size) / 2)
    if (width, height) != (image_size, image_size):
        picture = picture.crop((left, top, left + image_size, top + image_size))
    array = np.asarray(picture)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _opaque(picture: Image.Image) -> Image.Image:
    """Lay transparency over white, and bring 16-bit grey down to 8."""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.int64)
        # mode I;16 is 16-bit by definition; I holds 16-bit values from some writers
        wide = picture.mode != "I" or values.max(initial=0) > 255
        return Image.fromarray((values // 257 if wide else values).clip(0, 255).astype(np.uint8))
    return picture


def _decode(
    directory: Path, files: Sequence[str], image_size: int, channels: int, name: str
) -> tuple[Tensor, Tensor]:
    """Decode files in threads (Pillow lets go of the interpreter lock while it decodes)."""
    images = torch.empty((len(files), channels, image_size, image_size), dtype=torch.uint8)
    array = images.numpy()
    good = np.zeros(len(files), dtype=bool)

    def piece(start: int) -> int:
        stop = min(start + _PIECE, len(files))
        for i in range(start, stop):
            try:
                with Image.open(directory / files[i]) as picture:
                    array[i] = picture_array(picture, image_size, channels)
                good[i] = True
            except Exception:  # Pillow's plugins raise many kinds on damaged files
                continue
        return stop - start

    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(
            total=len(files),
            desc=f"decoding {name}",
            unit="image",
            delay=2,
            mininterval=1,
            leave=False,
        ) as bar,
    ):
        for done in pool.map(piece, range(0, len(files), _PIECE)):
            bar.update(done)
    if good.all():
        return images, torch.arange(len(files))
    kept = torch.from_numpy(good.nonzero()[0])
    return images[kept], kept
