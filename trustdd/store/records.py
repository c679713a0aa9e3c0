"""Records: what says of files which bytes they had, and vouches for itself.

A record is a JSON object with a ``seal``, the hash of the rest of it. The manifests of runs and of
experts are records, and so are those of figures, of tables, and of a profile's numbers. Each file
below a profile's results is named, with its hash, in one of them; who reads a file calls `checked`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trustdd.settings.errors import BadInput
from trustdd.store.files import sha256, write_json

MANIFEST = "manifest.json"
SEAL = "seal"


class Damaged(BadInput):
    """A stored file is not what was written; the message names it, and how to have it again."""

    exit_status = 1


def write_record(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a JSON object with its seal, atomically."""
    # as it will be read: with lists for tuples, and text for keys
    plain = json.loads(json.dumps({k: v for k, v in value.items() if k != SEAL}))
    return write_json(path, {**plain, SEAL: _seal(plain)})


def read_record(path: Path) -> dict[str, Any]:
    """Read a record, without its seal.

    Raises:
        Damaged: it is not readable, no record, or has changed since it was written.
    """
    found = read_object(path)
    if found.pop(SEAL, None) != _seal(found):
        raise Damaged(f"{path}: changed since it was written; {remedy(path)}")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Damaged: it is not readable, or none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise Damaged(f"{path}: not readable as JSON ({reason}); {remedy(path)}") from None
    if not isinstance(found, dict):
        raise Damaged(f"{path}: no JSON object; {remedy(path)}")
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's ``manifest.json``; empty where there is none.

    Raises:
        Damaged: as `read_record`, or a name in it is none of a file in this folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    manifest = read_record(path)
    for entry in (manifest, *manifest.values()):
        files = entry.get("files", {}) if isinstance(entry, dict) else {}
        if not isinstance(files, dict) or not all(map(_is_plain, files)):
            raise Damaged(f"{path}: names files of other folders; {remedy(path)}")
    return manifest


def recorded_hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that a manifest names, in itself or in the entries of stages, and hashes."""
    entries = [manifest, *(e for e in manifest.values() if isinstance(e, dict))]
    return {n: str(h) for e in entries if isinstance(e.get("files"), dict)
            for n, h in e["files"].items()}  # fmt: skip


def record_files(folder: Path, files: Sequence[Path], command: str) -> Path:
    """Record files that lie in a folder of several such, each with what makes it again.

    Args:
        folder: whose ``manifest.json`` records them.
        files: in this folder.
        command: what makes them.
    """
    try:
        before = read_manifest(folder)
    except Damaged:
        before = {}
    hashes, commands = before.get("files", {}), before.get("commands", {})
    for path in files:
        hashes = {**hashes, path.name: sha256(path)}
        commands = {**commands, path.name: command}
    return write_record(folder / MANIFEST, {"files": hashes, "commands": commands})


def checked(path: Path) -> Path:
    """Return the path of a file whose bytes are those that the manifest beside it names.

    A file that no manifest names is returned as it is. Each is hashed once a process, as long as it
    is not written to.

    Raises:
        Damaged: its bytes have changed since it was recorded; the message names the command that
            makes it again.
    """
    manifest = path.parent / MANIFEST
    if path.name == MANIFEST or not manifest.is_file():
        return path
    expected = _hashes_of(path.parent, _stamp(manifest)).get(path.name)
    if expected is not None and _hash_of(path, _stamp(path)) != expected:
        raise Damaged(f"{path}: changed since it was recorded; {remedy(path)}")
    return path


def set_aside(path: Path, error: Exception) -> None:
    """Move a file that cannot be gone on from out of the way, and warn of it."""
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    warnings.warn(f"{error}; it is kept as {aside.name}, and begun anew", stacklevel=3)


def is_whole(path: Path) -> bool:
    """Tell whether a file is there and, where a manifest names it, has the bytes it names."""
    try:
        return path.is_file() and bool(checked(path))
    except Damaged:
        return False


def _stamp(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


@functools.lru_cache(maxsize=16384)
def _hash_of(path: Path, stamp: tuple[int, int, int]) -> str:
    return sha256(path)


@functools.lru_cache(maxsize=4096)
def _hashes_of(folder: Path, stamp: tuple[int, int, int]) -> dict[str, str]:
    return recorded_hashes(read_manifest(folder))


def remedy(path: Path, command: str = "") -> str:
    """Say how to have a stored file again: by git, by a known command, or by where it lies."""
    if _in_git(path):
        return f"restore it with: git checkout -- {path}"
    if command:
        return f"make it again with: {command}"
    parts = path.parts
    if "runs" in parts[:-2]:
        place = len(parts) - 1 - parts[::-1].index("runs")
        profile, key = parts[place - 1], parts[place + 1]
        inside = parts[place + 2 : -1]
        if path.name in (MANIFEST, "experiment.json"):
            return f"make it again with: make book PROFILE={profile}"
        stage = inside[0].rpartition("-")[0] if inside else "distill"
        return f"make it again with: trustdd stage {stage} {key} --profile {profile}"
    if "experts" in parts[:-2]:
        profile = parts[len(parts) - 2 - parts[::-1][1:].index("experts")]
        return (
            f"train it again with: trustdd experts KEY --profile {profile}, a run's that reads it"
        )
    if path.parent.name in ("figures", "tables"):
        kind, profile = path.parent.name.removesuffix("s"), path.parent.parent.name
        return f"make it again with: trustdd {kind} {path.stem[:5]} --profile {profile}"
    if path.name != MANIFEST:
        with contextlib.suppress(Damaged):
            known = read_manifest(path.parent).get("commands", {}).get(path.name)
            if known:
                return f"make it again with: {known}"
    return "make it again"


def _in_git(path: Path) -> bool:
    command = ["git", "-C", str(path.parent), "ls-files", "--error-unmatch", "--", path.name]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _seal(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
