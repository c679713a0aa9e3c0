"""Tensors on disk, as safetensors: same tensors, same bytes, and read as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.settings.errors import BadInput
from trustdd.store.files import atomic_path
from trustdd.store.records import Damaged, checked

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

#: in a file's metadata: the hash of its tensors and of the rest of its metadata
SEAL = "seal"


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    sync: bool = True,
) -> Path:
    """Write named tensors as safetensors, atomically; same tensors, same bytes.

    Args:
        path: where to.
        tensors: by name, on any device.
        metadata: text by name.
        sync: as for `atomic_path`.
    """
    from safetensors.torch import save_file

    plain = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path, sync) as partial:
        save_file(plain, partial, metadata=dict(metadata or {}))
        # safetensors keeps metadata in a hash map whose order differs between processes
        _sort_header(partial)
    return path


def _sort_header(path: Path) -> None:
    """Rewrite a safetensors file's JSON header with its metadata in sorted order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length)
        header = json.loads(raw)
        if "__metadata__" not in header:
            return
        metadata = dict(sorted(header.pop("__metadata__").items()))
        text = json.dumps(
            {"__metadata__": metadata, **header}, separators=(",", ":"), ensure_ascii=False
        ).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))
            return
        body = file.read()
        # the body must start at a multiple of eight bytes
        text = text.ljust(-(-len(text) // 8) * 8)
        file.seek(0)
        file.write(len(text).to_bytes(8, "little") + text + body)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors on the CPU, and its metadata.

    Raises:
        ValueError: the file is not there, is no such file, or is not what was recorded (`checked`).
    """
    return _read(path, "pt")


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file as `read_tensors` does, as numpy arrays and without torch."""
    return _read(path, "np")


def _read(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected a .safetensors file")
    checked(path)
    try:
        with safe_open(path, framework=framework) as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not a readable .safetensors file ({reason})") from None


def write_sealed_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> Path:
    """Write tensors that no manifest records, such as a checkpoint: they vouch for themselves."""
    sealed = {**metadata, SEAL: _seal(tensors, metadata)}
    return write_tensors(path, tensors, sealed)


def read_sealed_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read what `write_sealed_tensors` wrote.

    Raises:
        ValueError: the file is not there, is no such file, or has changed since.
    """
    tensors, metadata = read_tensors(path)
    seal = metadata.pop(SEAL, None)
    if seal != _seal(tensors, metadata):
        raise Damaged(f"{path}: changed since it was written")
    return tensors, metadata


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    import torch

    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        kept = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {kept.dtype} {tuple(kept.shape)}\n".encode())
        digest.update(kept.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of a safetensors file's tensors, from its header alone.

    Raises:
        ValueError: as of `read_tensors`.
    """
    from safetensors import SafetensorError, safe_open

    checked(path)
    try:
        with safe_open(path, framework="np") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: not a readable .safetensors file ({error})") from None
