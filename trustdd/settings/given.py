"""What a stored distilled set says about itself: its content's hash, and the settings it came with.

Read from the file's header alone, so that asking costs nothing but the hash.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from trustdd.settings.errors import BadInput

#: settings of a given set that an experiment around it takes over where nothing else is asked for
OWN_SETTINGS = (
    "dataset", "ipc", "image_size", "width", "depth", "augmentation", "label_temperature",
    "training_epochs", "training_lr", "training_momentum", "training_weight_decay",
    "training_batch", "precision",
)  # fmt: skip
#: longest header that is read, in bytes
LONGEST_HEADER = 2**24


def given_hash(path: str) -> str:
    """Return the SHA-256 of a given set's file, in hexadecimal.

    Raises:
        ValueError: there is no such file.
    """
    return _hash(str(Path(path).resolve()), *_stamp(path))


def given_settings(path: str) -> dict[str, Any]:
    """Return the settings that a given set came with: `OWN_SETTINGS` and ``zca``, as JSON values.

    Raises:
        ValueError: there is no such file, or it is no distilled set.
    """
    stored = _stored(str(Path(path).resolve()), *_stamp(path))
    whitened = bool(stored.get("zca")) and (
        stored.get("method") == "mtt" or stored.get("selection") == "given"
    )
    return {name: stored[name] for name in OWN_SETTINGS if name in stored} | {"zca": whitened}


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change, by which an answer is kept."""
    try:
        facts = Path(path).stat()
    except OSError:
        facts = None
    if facts is None or not Path(path).is_file():
        raise BadInput(f"given '{path}': no such file; expected a distilled set's .safetensors")
    return facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _hash(path: str, size: int, changed: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.lru_cache(maxsize=64)
def _stored(path: str, size: int, changed: int) -> dict[str, Any]:
    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length < LONGEST_HEADER else {}
        stored = json.loads(header["__metadata__"]["experiment"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        stored = None
    if not isinstance(stored, dict):
        raise BadInput(
            f"given '{path}': no distilled set; expected a .safetensors that DistilledSet.save, "
            "distill or trustdd import wrote"
        )
    return stored
