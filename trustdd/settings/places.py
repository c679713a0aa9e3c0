"""Which of an experiment's image sets are folders of one's own, and what tells two of them apart.

A set that is known by name is the same wherever it lies. Of any other folder the name says nothing,
so that its content counts: names and sizes of all files, and the bytes of some.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from trustdd.settings.defaults import DATASETS

#: image sets that are the same wherever they lie: the embedded ones, those that are known by name,
#: and the classes of Tiny-ImageNet that the published profiles use
NAMED_SETS = (
    "texture_crops", "photos", "photo_pool", "gaussian", "uniform", "printed_text",
    "transposed_digits", "textures", "places365", "lsun_r", "lsun_c", "isun", "tiny300k",
    "imagenette_no_dog_truck", "dtd", "tiny100", "tiny_near", "tiny_cifar",
)  # fmt: skip
#: files whose bytes count, spread over all
SAMPLED = 200


def own_folders(names: Iterable[str], data_root: str | None) -> dict[str, str]:
    """Tell the image sets that are folders of one's own.

    Args:
        names: of InD datasets, OOD sets and outlier pools, as an experiment has them.
        data_root: where folders lie.

    Returns:
        Name → a digest of the folder's content; a folder that is not there is left out.
    """
    found = {}
    for name in names:
        base = name.partition(":without=")[0]
        if base in DATASETS or base in NAMED_SETS:
            continue
        if base.startswith("folder:"):
            path = Path(base.removeprefix("folder:")).expanduser()
        elif data_root:
            path = Path(data_root) / base
        else:
            continue
        if path.is_dir():
            found[name] = folder_digest(path)
    return found


def folder_digest(path: Path) -> str:
    """Return a digest of what a folder holds, wherever it lies: 16 hexadecimal digits."""
    return _digest(str(path.resolve()), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _digest(path: str, changed: int) -> str:
    files = sorted(_files(path, "", frozenset()))
    digest = hashlib.sha256()
    step = max(1, len(files) // SAMPLED)
    for place, (name, size) in enumerate(files):
        digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        if place % step == 0:
            digest.update(_content(os.path.join(path, name)))
    return digest.hexdigest()[:16]


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _files(
    folder: str, prefix: str, above: frozenset[tuple[int, int]]
) -> Iterator[tuple[str, int]]:
    """Names and sizes of the regular files below a folder; links are followed, but in no circle."""
    try:
        facts = os.stat(folder)
        entries = list(os.scandir(folder))
    except OSError:
        return
    here = (facts.st_dev, facts.st_ino)
    if here in above:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _files(entry.path, f"{prefix}{entry.name}/", above | {here})
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat().st_size
        except OSError:
            continue
