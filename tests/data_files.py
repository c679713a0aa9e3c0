"""Writes tiny datasets in the formats that real ones come in."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def noise_picture(seed: int, size: tuple[int, int] = (32, 32), mode: str = "RGB") -> Image.Image:
    """A picture of smooth seeded noise (so that JPEG keeps it), of any Pillow mode."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    picture = small.resize(size, Image.Resampling.BICUBIC)
    if mode == "I;16":
        grey = np.asarray(picture.convert("L")).astype(np.uint16) * 257
        return Image.fromarray(grey)
    return picture.convert(mode)


def write_folder(
    directory: Path,
    classes: dict[str, int],
    size: tuple[int, int] = (32, 32),
    suffix: str = ".png",
    mode: str = "RGB",
    seed: int = 0,
) -> Path:
    """``directory/<class>/<i><suffix>``; returns `directory`."""
    for c, (name, count) in enumerate(classes.items()):
        (directory / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture = noise_picture(seed + 1000 * c + i, size, mode)
            picture.save(directory / name / f"{i:03d}{suffix}")
    return directory


def write_splits(root: Path, name: str, classes: dict[str, int], test: str = "test", **how) -> Path:
    """``root/name/{train,test}/<class>/<image>``; returns ``root/name``."""
    write_folder(root / name / "train", classes, **how)
    write_folder(root / name / test, dict.fromkeys(classes, 2), **{**how, "seed": 50_000})
    return root / name


def write_broken(path: Path) -> Path:
    """A file with a JPEG's beginning and no picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    return path


def write_cifar(root: Path, name: str = "cifar10", per_batch: int = 20, seed: int = 0) -> Path:
    """CIFAR's python version under `root`; returns the folder of the batches."""
    rng = np.random.default_rng(seed)
    ten = name == "cifar10"
    directory = root / ("cifar-10-batches-py" if ten else "cifar-100-python")
    directory.mkdir(parents=True)
    classes = 10 if ten else 100
    key, names = ("labels", "label_names") if ten else ("fine_labels", "fine_label_names")
    batches = (
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if ten else ["train", "test"]
    )
    for file in batches:
        content = {
            "data": rng.integers(0, 256, (per_batch, 3072), dtype=np.uint8),
            key: [i % classes for i in range(per_batch)],
            "filenames": [f"{i}.png" for i in range(per_batch)],
        }
        # protocol 2, as the originals, which Python 2 wrote
        (directory / file).write_bytes(pickle.dumps(content, protocol=2))
    meta = {names: [f"class{i:02d}" for i in range(classes)]}
    file = "batches.meta" if ten else "meta"
    (directory / file).write_bytes(pickle.dumps(meta, protocol=2))
    return directory


def write_svhn(directory: Path, count: int = 20, seed: int = 0) -> Path:
    """SVHN's MATLAB files of cropped digits; a zero is written as 10."""
    from scipy.io import savemat

    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        pixels = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count) % 10 + 1).astype(np.uint8).reshape(-1, 1)
        path = directory / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": labels}, do_compression=True)
    return directory


def idx_bytes(values: np.ndarray) -> bytes:
    """An array of bytes in the idx format."""
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    return header + values.astype(np.uint8).tobytes()


def write_mnist(directory: Path, count: int = 20, zipped: bool = False, seed: int = 0) -> Path:
    """MNIST's four idx files, plain or gzipped."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            path = directory / f"{part}-{kind}-ubyte"
            if zipped:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx_bytes(values)))
            else:
                path.write_bytes(idx_bytes(values))
    return directory
