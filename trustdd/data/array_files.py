"""Datasets that come as files of arrays, in the layout that torchvision keeps on disk.

Read directly: torchvision would spend seconds on its own import and on hashing every file.
A test holds each reader against torchvision's own class.
"""

from __future__ import annotations

import gzip
import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trustdd.data.imagesets import to_channels, to_size
from trustdd.settings.errors import BadInput


@dataclass(frozen=True)
class ArrayFiles(ABC):
    """One split of a dataset in files of arrays.

    Attributes:
        name: the dataset's name, for messages.
        directory: the folder that holds the files.
        split: ``"train"`` or ``"test"``.
    """

    name: str
    directory: Path
    split: str

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that the split needs, there or not."""

    @abstractmethod
    def read_labels(self) -> Tensor:
        """Class indices, ``int64 [n]``."""

    @abstractmethod
    def read_images(self) -> Tensor:
        """Images as stored, ``uint8 [n, c, h, w]``."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the ten digits unless the format names others."""
        return tuple(str(digit) for digit in range(10))

    def present(self) -> bool:
        """Tell whether at least one of the files is there."""
        return any(path.is_file() for path in self.files())

    def place(self) -> Path:
        """What stands for the dataset's files when two datasets are compared."""
        return self.directory.resolve() / f"<{type(self).__name__} {self.name}>"

    def __len__(self) -> int:
        return len(self.read_labels())

    def check_readable(self) -> None:
        """Raise where a file is missing or is not what its name says.

        Raises:
            ValueError: naming the files.
        """
        self._check_files()
        try:
            count = len(self) if self.classes else 0
        except Exception as error:  # damaged pickles, archives and headers fail in many ways
            raise self._damaged(error) from None
        if count == 0:
            raise BadInput(f"'{self.name}': no image in {self.directory}")

    def load(
        self, image_size: int, channels: int, chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read the images, fitted to a size and a channel count.

        Args:
            image_size: height and width in pixels.
            channels: 1 or 3.
            chosen: indices of the images wanted; all without it.

        Returns:
            ``uint8 [n, channels, image_size, image_size]`` and their indices, ``int64 [n]``.

        Raises:
            ValueError: a file is missing or damaged.
        """
        self._check_files()
        try:
            images = self.read_images()
        except Exception as error:  # as in check_readable
            raise self._damaged(error) from None
        indices = torch.arange(len(images)) if chosen is None else chosen
        images = images if chosen is None else images[chosen]
        return to_size(to_channels(images, channels), image_size), indices

    def _check_files(self) -> None:
        missing = [path.name for path in self.files() if not path.is_file()]
        if missing:
            raise BadInput(
                f"'{self.name}': {', '.join(missing)} missing in {self.directory}; "
                f"expected {', '.join(path.name for path in self.files())}"
            )

    def _damaged(self, error: Exception) -> ValueError:
        reason = str(error) or type(error).__name__
        return BadInput(
            f"'{self.name}': the files in {self.directory} cannot be read ({reason}); "
            "an interrupted download? Remove them and get them again"
        )


class CifarFiles(ArrayFiles):
    """CIFAR-10 or CIFAR-100, 'python version': pickled batches of flat 3×32×32 rows."""

    def files(self) -> list[Path]:
        """The batches, and the file that names the classes."""
        if self.name == "cifar100":
            names = ["train" if self.split == "train" else "test", "meta"]
        elif self.split == "train":
            names = [*(f"data_batch_{i}" for i in range(1, 6)), "batches.meta"]
        else:
            names = ["test_batch", "batches.meta"]
        return [self.directory / name for name in names]

    def _batches(self) -> list[dict[str, Any]]:
        return [_unpickle(path) for path in self.files()[:-1]]

    def read_labels(self) -> Tensor:
        """Class indices, ``int64 [n]``."""
        key = "fine_labels" if self.name == "cifar100" else "labels"
        return torch.tensor([label for batch in self._batches() for label in batch[key]])

    def read_images(self) -> Tensor:
        """Images, ``uint8 [n, 3, 32, 32]``."""
        rows = np.concatenate([np.asarray(batch["data"]) for batch in self._batches()])
        return torch.from_numpy(rows.reshape(-1, 3, 32, 32))

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that the dataset's own file gives."""
        key = "fine_label_names" if self.name == "cifar100" else "label_names"
        return tuple(_unpickle(self.files()[-1])[key])


class MnistFiles(ArrayFiles):
    """MNIST or Fashion-MNIST: idx files, plain or gzipped."""

    def files(self) -> list[Path]:
        """The idx files, each with ``.gz`` where only that is there."""
        part = "train" if self.split == "train" else "t10k"
        plain = [self.directory / f"{part}-{kind}-ubyte" for kind in ("labels-idx1", "images-idx3")]
        zipped = [path.with_name(path.name + ".gz") for path in plain]
        return [z if z.is_file() and not p.is_file() else p for p, z in zip(plain, zipped)]  # noqa: B905

    def read_labels(self) -> Tensor:
        """Class indices, ``int64 [n]``."""
        return _read_idx(self.files()[0], 1).long()

    def read_images(self) -> Tensor:
        """Images, ``uint8 [n, 1, 28, 28]``."""
        return _read_idx(self.files()[1], 3).unsqueeze(1)

    @property
    def classes(self) -> tuple[str, ...]:
        """The digits, or the names of the garments."""
        if self.name == "fashionmnist":
            return (
                "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
            )  # fmt: skip
        return super().classes


class SvhnFiles(ArrayFiles):
    """SVHN, 'cropped digits': MATLAB files that hold X ``[32, 32, 3, n]`` and y ``[n, 1]``."""

    def files(self) -> list[Path]:
        """The split's one file."""
        return [self.directory / f"{self.split}_32x32.mat"]

    def read_labels(self) -> Tensor:
        """The digits, ``int64 [n]``; the file writes 10 for a zero."""
        from scipy.io import loadmat

        labels = loadmat(self.files()[0], variable_names=["y"])["y"].astype(np.int64).reshape(-1)
        return torch.from_numpy(labels % 10)

    def read_images(self) -> Tensor:
        """Images, ``uint8 [n, 3, 32, 32]``."""
        from scipy.io import loadmat

        pixels = loadmat(self.files()[0], variable_names=["X"])["X"]
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))


class TinyFiles(ArrayFiles):
    """The 300,000 cleaned Tiny Images of Outlier Exposure: one ``.npy``, ``uint8 [n, 32, 32, 3]``.

    Memory-mapped: at 32 px in colour nothing but the batches drawn is ever read.
    """

    def files(self) -> list[Path]:
        """The one file."""
        return [self.directory / "300K_random_images.npy"]

    def __len__(self) -> int:
        return len(self.read_images())

    def read_labels(self) -> Tensor:
        """There are none: −1 for each, ``int64 [n]``."""
        return torch.full((len(self),), -1)

    def read_images(self) -> Tensor:
        """Images, ``uint8 [n, 3, 32, 32]``, a view of the file."""
        array = np.load(self.files()[0], mmap_mode="c", allow_pickle=False)
        if array.dtype != np.uint8 or array.shape[1:] != (32, 32, 3):
            raise BadInput(f"{array.dtype} {list(array.shape)}; expected uint8 [n, 32, 32, 3]")
        return torch.from_numpy(array).permute(0, 3, 1, 2)


#: what CIFAR's pickles are made of; nothing else is ever looked up, so none can run code
_PICKLED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a CIFAR batch")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()


def _read_idx(path: Path, dimensions: int) -> Tensor:
    """Read an idx file of bytes: magic number, sizes (big-endian), values."""
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    length = 4 + 4 * dimensions
    header = np.frombuffer(content[:length].ljust(length, b"\0"), ">u4")
    if header[0] != 0x800 + dimensions:
        raise BadInput(f"{path.name} is no idx file of bytes in {dimensions} dimensions")
    shape = [int(size) for size in header[1:]]
    values = np.frombuffer(content, np.uint8, offset=length)
    if len(values) != np.prod(shape):
        raise BadInput(f"{path.name} holds {len(values)} bytes; its header says {shape}")
    return torch.from_numpy(values.reshape(shape).copy())
