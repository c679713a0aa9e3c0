"""Files on disk: where they go, written whole or not at all, hashed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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


#: how the file is called that is being written; others may clean up what a killed process left
_PARTIAL = re.compile(r"\.partial-(?P<host>.+)-(?P<process>\d+)-[0-9a-f]{8}(\..*)?")
#: seconds after which a partial file is nobody's, whatever machine it was written on
_ABANDONED = 7 * 24 * 3600


@contextlib.contextmanager
def atomic_path(path: Path, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved into place when the block ends well.

    The temporary file keeps the suffix, since many writers choose a format by it. It is there
    already, with the permissions that new files have. Those of processes that were killed are
    removed.

    Args:
        path: where to; its folder is made.
        sync: have it on the disk before it is moved, so that no power cut leaves half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    name = f".partial-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    partial = path.parent / name
    os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield partial
        if sync:
            _sync(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.lru_cache(maxsize=4096)
def _sweep(folder: Path) -> None:
    """Remove, once a process, the partial files in a folder whose writers are gone."""
    for path in folder.glob(".partial-*"):
        named = _PARTIAL.fullmatch(path.name)
        with contextlib.suppress(OSError):
            here = named is not None and named["host"] == platform.node()
            gone = here and named is not None and not _alive(int(named["process"]))
            if gone or time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, atomically and with sorted keys."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
