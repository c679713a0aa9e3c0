"""Hashing again what is stored: each file is named in a record, and has the bytes it names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trustdd.store.files import sha256
from trustdd.store.records import (
    MANIFEST,
    Damaged,
    read_manifest,
    read_record,
    recorded_hashes,
    remedy,
)
from trustdd.store.stages import WRITTEN_BY

#: folders of results whose files are named by a record each, rather than by a manifest
BY_RECORD = ("figures", "tables", "variants", "kept")
#: what a run that is under way, or was stopped, goes on from
UNDER_WAY = ("checkpoint.safetensors", "checkpoint.source", "checkpoint.damaged")


@dataclass
class Findings:
    """What was found.

    Attributes:
        checked: files that were hashed.
        complaints: a line for each that is damaged, missing, or in no record.
        unfinished: files of stages that were stopped, which no record names yet.
    """

    checked: int = 0
    complaints: list[str] = field(default_factory=list)
    unfinished: int = 0


def verify(folder: Path) -> Findings:
    """Check a folder of results, a profile's or one inside it.

    Args:
        folder: ``results/PROFILE``, or a run's or an experts' folder.

    Returns:
        What was found; a folder whose name begins with a dot is not looked into.
    """
    found = Findings()
    for directory, names in _folders(folder):
        if any(part in BY_RECORD for part in directory.relative_to(folder).parts):
            _by_record(directory, names, found)
        else:
            _by_manifest(directory, names, found)
    return found


def _folders(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in names if not name.startswith("."))


def _by_manifest(directory: Path, names: list[str], found: Findings) -> None:
    try:
        manifest = read_manifest(directory)
    except Damaged as error:
        found.checked += 1
        found.complaints.append(str(error))
        return
    found.checked += MANIFEST in names
    _compare(directory, recorded_hashes(manifest), found)
    for name in set(names) - {MANIFEST, *recorded_hashes(manifest)}:
        _unrecorded(directory / name, found)


def _by_record(directory: Path, names: list[str], found: Findings) -> None:
    left = set(names)
    for name in names:
        if not name.endswith(".json"):
            continue
        left.discard(name)
        found.checked += 1
        try:
            record = read_record(directory / name)
            hashes = recorded_hashes({"files": record.get("files")})
        except Damaged as error:
            found.complaints.append(str(error))
            # what it named cannot be told; it is said once
            left -= {other for other in left if other.startswith(name.removesuffix("json"))}
            continue
        _compare(directory, hashes, found, str(record.get("command", "")))
        left -= hashes.keys()
    for name in sorted(left):
        _unrecorded(directory / name, found)


def _compare(directory: Path, hashes: dict[str, str], found: Findings, command: str = "") -> None:
    for name, expected in sorted(hashes.items()):
        path = directory / name
        found.checked += 1
        try:
            if not path.is_file():
                found.complaints.append(f"{path}: missing; {remedy(path, command)}")
            elif sha256(path) != expected:
                found.complaints.append(
                    f"{path}: changed since it was recorded; {remedy(path, command)}"
                )
        except OSError as error:
            found.complaints.append(f"{path}: not readable ({error.strerror})")


def _unrecorded(path: Path, found: Findings) -> None:
    """Count what a stage that was stopped has left; complain of everything else."""
    if path.name in (*UNDER_WAY, *WRITTEN_BY, "experiment.json") or _is_expert(path):
        found.unfinished += 1
        return
    regular = stat.S_ISREG(path.lstat().st_mode)
    found.complaints.append(f"{path}: {'in no record' if regular else 'no regular file'}")


def _is_expert(path: Path) -> bool:
    return path.name.startswith("expert-") and path.suffix == ".safetensors"
