"""Out-of-distribution data: the test sets of a suite, and the pool of real outliers for OE.

A name is one of the embedded sets (`trustdd.data.embedded`), a dataset known by name
(`trustdd.data.named`), a folder of images under ``data_root``, or ``folder:PATH``. A name
followed by ``:without=A,B`` leaves classes out. ``textures`` is DTD; for the grey datasets
(digits, MNIST, Fashion-MNIST) it is the embedded ``texture_crops``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from trustdd.data.array_files import ArrayFiles
from trustdd.settings.defaults import DATASETS
from trustdd.data.embedded import EMBEDDED, embedded_images
from trustdd.settings.experiment import Experiment
from trustdd.data.folders import ImageFolder, has_images
from trustdd.data.imagesets import ImageSet, shared_subset
from trustdd.data.inliers import inlier_channels, inlier_sources
from trustdd.data.named import (
    DOWNLOAD_COMMAND,
    NAMED,
    not_found,
    plain_folder,
    unlabelled_images,
)
from trustdd.settings.errors import MissingData
from trustdd.settings.errors import BadInput

#: names for common choices
ALIASES = {
    "imagenette_no_dog_truck": "imagenette:without=n02102040,n03417042",
    "dtd": "textures",
}
#: InD datasets for which `textures` means the embedded crops, not DTD
GREY = tuple(name for name, facts in DATASETS.items() if facts.channels == 1)
#: (InD dataset, other dataset) → classes of the other that the InD dataset has as well; they
#: are always left out. CIFAR-10 and CIFAR-100 against each other stay whole, as the field does.
SHARED_CLASSES = {
    ("cifar10", "imagenette"): ("n02102040", "n03417042"),  # dog, truck
}


@dataclass(frozen=True)
class _Found:
    """A name made out: an embedded set's name, or files."""

    name: str
    embedded: str = ""
    files: ImageFolder | ArrayFiles | None = None


def load_ood_suite(experiment: Experiment) -> dict[str, ImageSet]:
    """Load the OOD test sets of an experiment.

    Returns:
        Name → images, in the order of ``experiment.ood``; ``uint8`` at the InD size and
        channels; at most ``experiment.ood_limit`` of each (a subset that depends on the set
        alone: every student sees the same images). Of a dataset with splits, the test split.

    Raises:
        ValueError: as `check_ood`.
    """
    found = _suite(experiment)
    _check_apart(experiment, found)
    channels = inlier_channels(experiment)
    return {f.name: _load(experiment, f, channels, experiment.ood_limit) for f in found}


def load_outlier_pool(experiment: Experiment) -> ImageSet:
    """Load the pool of real outliers for OE: ``uint8`` at the InD size and channels.

    Of a dataset with splits, the training split.

    Raises:
        ValueError: the experiment has no pool, the pool is not there, or it is also in the
            OOD suite.
    """
    pool = _pool(experiment)
    _check_apart(experiment, _suite(experiment), pool)
    return _load(experiment, pool, inlier_channels(experiment), 0)


def check_ood(experiment: Experiment) -> None:
    """Check, without loading them, the OOD sets and (for OE) the outlier pool.

    Raises:
        ValueError: a name is unknown (the nearest ones are offered); sets are not there (all
            of them in one message, with how to get them); a set holds no readable image; a
            set is the InD dataset itself; the pool is also in the suite.
    """
    found = _suite(experiment)
    draws = experiment.outliers == "oe" and experiment.outlier_selection != "given"
    pool = _pool(experiment) if draws else None
    for one in [*found, *([pool] if pool else [])]:
        if one.files is not None:
            one.files.check_readable()
    _check_apart(experiment, found, pool)


def known_names() -> tuple[str, ...]:
    """Names that an OOD set or a pool can have, whatever lies on disk."""
    return tuple(dict.fromkeys((*EMBEDDED, *NAMED, *ALIASES)))


def _suite(experiment: Experiment) -> list[_Found]:
    """Make out every name of the suite; those that are missing are named at once."""
    found: list[_Found] = []
    missing: dict[str, MissingData] = {}
    for name in experiment.ood:
        try:
            found.append(_find(experiment, name, "test", "OOD set"))
        except MissingData as error:
            missing[name] = error
    if not missing:
        return found
    here = ", ".join(f.name for f in found) or "none of the others"
    if len(missing) == 1:
        (message,) = map(str, missing.values())
        raise MissingData(f"{message}; of this suite there is: {here}")
    root = experiment.data_root or "DATA_ROOT"
    raise MissingData(
        f"OOD sets {', '.join(missing)}: not found"
        + (f" under {root}" if experiment.data_root else " without data_root")
        + f"; get each as an image folder {root}/NAME or with "
        f"`{DOWNLOAD_COMMAND.format(name='NAME', root=root)}`, or choose others with ood "
        f"(of this suite there is: {here}; embedded: photos, texture_crops, gaussian, uniform)"
    )


def _pool(experiment: Experiment) -> _Found:
    if not experiment.outlier_pool:
        raise BadInput(
            f"outliers '{experiment.outliers}' draws from no outlier pool; expected outliers 'oe'"
        )
    return _find(experiment, experiment.outlier_pool, "train", "outlier pool")


def _find(experiment: Experiment, name: str, split: str, role: str) -> _Found:
    base, left_out = _parse(ALIASES.get(name, name))
    root = Path(experiment.data_root) if experiment.data_root else None
    if name == "textures" and experiment.dataset in GREY:
        base = "texture_crops"
    if base in EMBEDDED:
        if left_out:
            raise BadInput(f"{role} '{name}': '{base}' has no classes to leave out")
        return _Found(name, embedded=base)
    files: ImageFolder | ArrayFiles
    if base.startswith("folder:"):
        directory = Path(base.removeprefix("folder:")).expanduser()
        if not directory.is_dir():
            raise BadInput(f"{role} '{name}': no such folder")
        files = plain_folder(name, directory, split)
    elif base in NAMED and root is None:
        raise not_found(NAMED[base], None, role)
    elif root is not None and (base in NAMED or has_images(root / base)):
        files = unlabelled_images(base, root, split, role)
    else:
        raise _unknown(name, base, root, role)
    if isinstance(files, ImageFolder):
        shared = SHARED_CLASSES.get((experiment.dataset, base), ())
        left_out = {*left_out, *(set(shared) & set(files.classes))}
        files = files.without(left_out) if left_out else files
    elif left_out:
        raise BadInput(f"{role} '{name}': classes can be left out of an image folder only")
    return _Found(name, files=files)


def _parse(name: str) -> tuple[str, set[str]]:
    """Split ``NAME:without=A,B`` into the name and the classes to leave out."""
    base, _, left_out = name.partition(":without=")
    return base, {c.strip() for c in left_out.split(",") if c.strip()}


def _unknown(name: str, base: str, root: Path | None, role: str) -> ValueError:
    folders = [p.name for p in root.iterdir() if p.is_dir()] if root and root.is_dir() else []
    known = [*known_names(), *sorted(f for f in folders if not f.startswith("."))]
    near = difflib.get_close_matches(base, known, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(dict.fromkeys(near))}" if near else ""
    where = f"a folder of images {root / base}" if root else "with data_root, a folder in it"
    return BadInput(
        f"{role} '{name}' is unknown{hint}; expected one of {', '.join(known_names())}, {where}, "
        "or folder:PATH"
    )


def _check_apart(experiment: Experiment, suite: list[_Found], pool: _Found | None = None) -> None:
    """Raise where two sets hold the same images: InD, each OOD set, and the pool.

    Raises:
        ValueError: naming both.
    """
    inliers = [
        _Found(experiment.dataset, files=source) for source in inlier_sources(experiment).values()
    ]
    for i, one in enumerate(suite):
        for other in suite[:i]:
            if _overlap(one, other):
                raise BadInput(
                    f"OOD sets '{other.name}' and '{one.name}' are the same images"
                    f"{_spot(one)}; expected each once"
                )
    for role, found in [("OOD set", f) for f in suite] + ([("outlier pool", pool)] if pool else []):
        if any(_overlap(found, other) for other in inliers):
            raise BadInput(
                f"{role} '{found.name}' holds the InD dataset '{experiment.dataset}'{_spot(found)}"
            )
    for one in suite:
        if pool and _overlap(pool, one):
            raise BadInput(
                f"outlier pool '{pool.name}' is also in the OOD suite, as '{one.name}'"
                f"{_spot(pool)}; expected a pool that shares no image with a test set"
            )


def _overlap(one: _Found, other: _Found) -> bool:
    if one.files is None or other.files is None:
        return one.embedded == other.embedded != ""
    here, there = one.files.place(), other.files.place()
    return here == there or here in there.parents or there in here.parents


def _spot(found: _Found) -> str:
    return f" ({found.files.directory})" if found.files is not None else ""


def _load(experiment: Experiment, found: _Found, channels: int, limit: int) -> ImageSet:
    size = experiment.image_size
    if found.files is None:
        images = embedded_images(found.embedded, size, channels, experiment.dataset)
        chosen = shared_subset(len(images), limit, found.embedded)
        return ImageSet(found.name, images if chosen is None else images[chosen])
    # by the folder's own name, so that the subset is the same wherever the folder lies
    chosen = shared_subset(len(found.files), limit, found.files.name.rsplit("/", 1)[-1])
    return ImageSet(found.name, found.files.load(size, channels, chosen)[0])
