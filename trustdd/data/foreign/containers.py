"""Files that hold tensors: ``.pt``, ``.npz``, ``.npy``, ``.safetensors``, each as named tensors.

Nothing in a file is ever run: pickles are read by ``torch.load(weights_only=True)``, NumPy files
without pickles.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trustdd.data.distilled_set import FORMAT
from trustdd.settings.errors import BadInput
from trustdd.store.tensors import read_tensors

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".tar")
SUFFIXES = (*TORCH_SUFFIXES, ".npz", ".npy", ".safetensors")
#: containers inside containers that are looked into
DEPTH = 6


def read_container(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a file.

    Args:
        path: a file whose name ends in one of `SUFFIXES`.

    Returns:
        Name → tensor on the CPU, without gradient. A nested container's names are joined by dots,
        ``data.0.1``; a file that is one tensor names it ``""``. Single numbers are tensors ``[]``;
        text and other settings beside tensors are left out.

    Raises:
        ValueError: the file is missing, damaged, of another kind, holds more than tensors and
            containers of them, or no tensor at all.
    """
    if path.is_dir():
        raise BadInput(f"{path}: a folder; expected a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected one ending in {', '.join(SUFFIXES)}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"{path}: ends in '{path.suffix}'; expected {', '.join(SUFFIXES)}")
    if suffix == ".safetensors":
        found, metadata = read_tensors(path)
        if metadata.get("format") == FORMAT:
            raise BadInput(f"{path}: a set that is read in already; expected one from elsewhere")
    else:
        content = _torch_content(path) if suffix in TORCH_SUFFIXES else _numpy_content(path)
        found = dict(_tensors(content, ""))
    if not found:
        raise BadInput(f"{path}: holds no tensor; expected images, and labels")
    return found


def _torch_content(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles and archives fail in many ways
        reason = " ".join(str(error).split())
        foreign = re.search(r"(?:GLOBAL|global) ([\w.]+)", reason)
        if foreign:
            raise BadInput(
                f"{path}: holds a {foreign[1]}, which is more than tensors, and is not opened; "
                "expected tensors, or lists and dictionaries of them: where you trust it, save "
                "them alone, torch.save([images, labels], 'set.pt')"
            ) from None
        if path.suffix == ".tar" or "weights_only" in reason or not reason:
            reason = "no file that torch.save wrote, or a damaged one"
        raise BadInput(f"{path}: cannot be read ({reason[:200]})") from None


def _numpy_content(path: Path) -> Any:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return {name: content[name] for name in content.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise BadInput(
                f"{path}: holds Python objects, which are more than arrays, and is not opened; "
                "expected arrays of numbers: np.savez('set.npz', images=images, labels=labels)"
            ) from None
        raise BadInput(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def _tensors(content: Any, name: str, depth: int = DEPTH) -> Iterator[tuple[str, Tensor]]:
    """Every tensor and number of a container, depth first."""
    if isinstance(content, Tensor):
        if not content.is_sparse and not content.is_quantized:
            yield name, content.detach().cpu()
    elif isinstance(content, np.ndarray):
        if content.dtype.kind in "biuf":
            # a copy: NumPy may hold big-endian numbers and negative strides; PyTorch computes with
            # few unsigned types
            wide = content.dtype.kind == "u" and content.dtype.itemsize > 1
            own = np.int64 if wide else content.dtype.newbyteorder("=")
            yield name, torch.from_numpy(content.astype(own))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield name, torch.tensor(content)
    elif isinstance(content, dict | list | tuple) and depth > 0:
        pairs = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in pairs:
            yield from _tensors(value, f"{name}.{key}" if name else str(key), depth - 1)
