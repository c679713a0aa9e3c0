"""Files on disk: where they go, written whole or not at all, hashed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor


def project_root() -> Path:
    """Return the folder that holds ``profiles/`` and ``notebooks/``.

    The nearest one at or above the working directory, else the checkout that this
    package is installed from.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "profiles").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[2]


def results_root() -> Path:
    """Return where artefacts go: ``$TRUSTDD_RESULTS``, or ``results/`` in the project."""
    chosen = os.environ.get("TRUSTDD_RESULTS")
    return Path(chosen) if chosen else project_root() / "results"


def cache_root() -> Path:
    """Return where what can be made again is kept: ``$TRUSTDD_CACHE``, or ``~/.cache/trustdd``.

    Decoded images, whitenings, compiled code. ``$XDG_CACHE_HOME`` is honoured as the place of
    ``~/.cache``.
    """
    chosen = os.environ.get("TRUSTDD_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trustdd"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved into place when the block ends well.

    The temporary file keeps the suffix, since many writers choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, atomically and with sorted keys."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write named tensors as safetensors, atomically; same tensors, same bytes."""
    from safetensors.torch import save_file

    plain = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path) as partial:
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
        ValueError: the file is not there or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise BadInput(f"{path}: not a readable .safetensors file ({error})") from None


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of a safetensors file's tensors, from its header alone."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
