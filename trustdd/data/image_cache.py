"""Decoded images kept on disk, so that a folder of JPEGs is decoded once.

One safetensors file per folder and setting under `cache_root`, read memory-mapped. It holds
a fingerprint of the files it was made from; one that no longer fits is made again in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trustdd.store.files import cache_root
from trustdd.store.tensors import read_tensors, write_tensors


def fingerprint(directory: Path, names: Iterable[str], **settings: Any) -> str:
    """Hash the names, sizes and modification times of files, and settings.

    Args:
        directory: the folder that `names` are relative to.
        names: paths of files.
        settings: JSON values that what is made of the files depends on.

    Returns:
        A hexadecimal digest.
    """
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=16)
    for name in names:
        try:
            facts = os.stat(directory / name)
            line = f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n"
        except OSError:  # a dangling link: counted as unreadable when it is decoded
            line = f"{name}\0gone\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def cached(
    label: str,
    identity: Mapping[str, Any],
    stamp: str,
    make: Callable[[], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Return tensors from the cache, or make and keep them.

    Args:
        label: the readable part of the file's name.
        identity: what the tensors are (place, size, …); names the file.
        stamp: the fingerprint of their sources; a file with another one is made again.
        make: makes the tensors.

    Returns:
        The tensors, memory-mapped where they come from disk. A cache that cannot be written
        costs a warning, nothing else.
    """
    text = json.dumps(dict(identity), sort_keys=True)
    name = f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.safetensors"
    path = cache_root() / name
    if path.is_file():
        try:
            tensors, metadata = read_tensors(path)
        except (ValueError, OSError):
            metadata = {}
        if metadata.get("fingerprint") == stamp:
            return tensors
    made = dict(make())
    try:
        write_tensors(path, made, {"fingerprint": stamp, "made of": text}, sync=False)
        return read_tensors(path)[0]
    except (OSError, ValueError) as error:
        warnings.warn(
            f"decoded images of '{label}' were not kept ({error}); "
            "set TRUSTDD_CACHE to a folder with room",
            stacklevel=2,
        )
        return made
