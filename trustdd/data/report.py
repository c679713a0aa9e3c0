"""Which datasets are here, where, and how to get the missing ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from trustdd.data.array_files import ArrayFiles
from trustdd.data.embedded import EMBEDDED, POOL_SIZE, SET_SIZE, digits
from trustdd.data.folders import ImageFolder, has_images, image_folder, split_folder
from trustdd.data.named import (
    NAMED,
    NamedDataset,
    labelled_split,
    unlabelled_images,
)
from trustdd.settings.errors import BadInput, MissingData

COLUMNS = ("dataset", "role", "present", "where", "images", "how_to_get")


def data_report(data_root: str | Path | None = None) -> pd.DataFrame:
    """List every dataset that can be named, and every further image folder of `data_root`.

    Args:
        data_root: the folder that holds datasets; without it, only what is embedded is here.

    Returns:
        A frame with the columns ``dataset``, ``role`` (``"InD, OOD, pool"`` or a part of
        these), ``present`` (bool), ``where``, ``images`` (files found, broken ones among
        them) and ``how_to_get`` (empty where it is here; what is wrong, where it is damaged).
    """
    rows = [_embedded(name) for name in ("digits", *EMBEDDED)]
    root = Path(data_root) if data_root else None
    rows += [_named(facts, root) for facts in NAMED.values()]
    if root is not None and root.is_dir():
        known = {folder.split("/")[0] for facts in NAMED.values() for folder in facts.folders}
        known |= {place.split("/")[0] for facts in NAMED.values() for place in facts.places}
        for folder in sorted(root.iterdir()):
            hidden = folder.name.startswith(".")
            if folder.name not in known and not hidden and has_images(folder):
                rows.append(_own_folder(folder))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _embedded(name: str) -> tuple[str, str, bool, str, int, str]:
    (train, _), (test, test_labels) = digits(16)
    sizes = {
        "digits": len(train) + len(test),
        "photo_pool": POOL_SIZE,
        "transposed_digits": int((test_labels != 0).sum()),
    }
    role = {"digits": "InD", "photo_pool": "pool, OOD"}.get(name, "OOD, pool")
    return name, role, True, "embedded", sizes.get(name, SET_SIZE), ""


def _named(facts: NamedDataset, root: Path | None) -> tuple[str, str, bool, str, int, str]:
    role = ", ".join(facts.roles)
    missing = (facts.name, role, False, "", 0, facts.how_to_get(root or "DATA_ROOT"))
    if root is None or not root.is_dir():
        return missing
    sources: list[ImageFolder | ArrayFiles] = []
    try:
        if "InD" in facts.roles:
            sources = [labelled_split(facts.name, root, split) for split in ("train", "test")]
        else:
            sources = [unlabelled_images(facts.name, root, "test", "OOD set")]
        for source in sources:
            source.check_readable()
    except MissingData:
        return missing
    except BadInput as error:
        where = str(sources[0].directory) if sources else str(root)
        return facts.name, role, False, where, 0, str(error)
    first = sources[0]
    whole = (first.dataset if isinstance(first, ImageFolder) else None) or first.directory
    return facts.name, role, True, str(whole), sum(len(source) for source in sources), ""


def _own_folder(folder: Path) -> tuple[str, str, bool, str, int, str]:
    splits = [split_folder(folder, split) for split in ("train", "test")]
    role = "InD, OOD, pool" if all(splits) else "OOD, pool"
    images = image_folder(folder.name, folder)
    try:
        images.check_readable()
    except BadInput as error:
        return folder.name, role, False, str(folder), 0, str(error)
    return folder.name, role, True, str(folder), len(images), ""
