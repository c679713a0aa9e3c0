"""A distilled set of another project as one of ours, with an account of how it was read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.feeding import restated
from trustdd.data.foreign.containers import read_container
from trustdd.data.foreign.image_files import read_images
from trustdd.data.foreign.labels import nearest_mean_agreement, reordered, to_labels
from trustdd.data.foreign.pixels import Decision, account, channels_first, find_range, undone
from trustdd.data.foreign.roles import find_roles
from trustdd.data.inliers import InlierData, class_count, inlier_channels, load_inliers
from trustdd.data.inputs import Statistics, whitened_data
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.files import sha256


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a foreign set is to be read; what is not said is found, or asked for by an error.

    Attributes:
        range_: one of ``trustdd.data.foreign.pixels.RANGES``.
        statistics: of normalised images: a name, or mean and std.
        channels: ``"first"`` or ``"last"``.
        label_kind: one of ``trustdd.data.foreign.labels.KINDS``.
        first_label: the number of the first class.
        sorted_by_class: without labels: as many images of one class behind each other as of the
            next.
        classes: names of the classes in the set's own order, where it is not the data set's.
        entry: which of several sets in a file.
        student_lr: the learned learning rate, where no file says it.
        outliers: ``"oe"`` or ``"poe"``: what the file's outliers are.
        resize: fit images of a folder that have another size.
        name: what the set is called in tables; the file's name by default.
        terms: under which terms it was published, for its card.
        settings: further settings of the experiment: how students are trained on it.
    """

    range_: str | None = None
    statistics: str | Statistics | None = None
    channels: str | None = None
    label_kind: str | None = None
    first_label: int = 0
    sorted_by_class: bool = False
    classes: Sequence[str] | None = None
    entry: str | None = None
    student_lr: float | None = None
    outliers: str | None = None
    resize: bool = False
    name: str = ""
    terms: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """A set as it was read.

    Attributes:
        distilled: the set.
        decisions: what was decided, and why.
        classes: names of the data set's classes.
    """

    distilled: DistilledSet
    decisions: tuple[Decision, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Stored:
    """What a file or folder holds, as stored."""

    images: Tensor
    labels: Tensor | None
    outliers: Tensor | None
    rate: float | None
    decisions: tuple[Decision, ...]
    files: Mapping[str, str]
    folder: bool = False
    statistics: Statistics | None = None
    whitened: bool = False


def import_set(
    path: Path,
    labels: Path | None,
    *,
    dataset: str,
    data_root: str | None = None,
    image_size: int | None = None,
    reading: Reading | None = None,
) -> Imported:
    """Read a set of another project.

    Args:
        path: a file of tensors (``trustdd.data.foreign.containers.SUFFIXES``), or a folder of
            images.
        labels: a file of labels, where they lie in one of their own.
        dataset: the data set that it was distilled from.
        data_root: the folder that holds it.
        image_size: height and width; the data set's by default.
        reading: how to read it.

    Returns:
        The set, the decisions, and the class names.

    Raises:
        ValueError: what is wrong or ambiguous, in one line that names the option which decides.
    """
    reading = reading or Reading()
    base = {"dataset": dataset, "data_root": data_root, "image_size": image_size}
    settings = dict(reading.settings)
    plain = Experiment.from_dict({**settings, **base})
    channels, size = inlier_channels(plain), plain.image_size
    stored = None if path.is_dir() else _from_file(path, labels, reading)
    if stored is not None:
        images, layout = channels_first(stored.images, channels, reading.channels)
        _check_size(images, size, dataset)
        _check_numbers(stored, class_count(plain))
    data = load_inliers(plain)
    if stored is None:
        stored = _from_folder(path, labels, data, reading, size)
        images, layout = stored.images, Decision("channels", "first", "pictures")
    statistics, of_range = _range_of(images, stored, data, reading)
    found, of_labels = to_labels(
        stored.labels, len(images), data.classes, kind=reading.label_kind,
        first=0 if stored.folder else reading.first_label, sorted_=reading.sorted_by_class,
    )  # fmt: skip
    found, of_order = reordered(found, None if stored.folder else reading.classes, data.classes)
    hard = found.argmax(1) if found.ndim == 2 else found
    experiment = Experiment.from_dict(
        {
            **settings, **base, "selection": "given", "image_size": size,
            "given_sha256": _joint_hash(stored.files), "zca": statistics is None,
            "ipc": int(hard.bincount().max()), **_outlier_settings(stored, reading, len(data.classes)),
        }
    )  # fmt: skip
    rate = reading.student_lr if reading.student_lr is not None else stored.rate
    decisions = (
        *stored.decisions, layout, of_range, of_labels, of_order,
        _agreement(images, statistics, hard, data),
        Decision("student_lr", "none" if rate is None else f"{rate:g}", _rate_reason(reading, rate)),
        _augmentation(experiment, settings),
    )  # fmt: skip
    outliers = None
    if stored.outliers is not None:
        outliers, _ = channels_first(stored.outliers, channels, reading.channels)
        _check_size(outliers, size, dataset)
    fed = [
        None if part is None else _fed(part, statistics, data) for part in (images, outliers)
    ]
    assert fed[0] is not None
    distilled = DistilledSet(
        fed[0], found, fed[1], rate, experiment, data.mean, data.std,
        origin={
            "name": reading.name or _name(path), "files": dict(stored.files),
            "read": dict(account(decisions)), "terms": reading.terms,
        },
    )  # fmt: skip
    if statistics is None:
        distilled = distilled.with_pictures(whitened_data(data))
    return Imported(distilled, decisions, data.classes)


def _from_file(path: Path, labels: Path | None, reading: Reading) -> _Stored:
    tensors = read_container(path)
    beside = None if labels is None else read_container(labels)
    roles = find_roles(
        tensors, beside, entry=reading.entry, file=path.name,
        labels_file="" if labels is None else labels.name,
    )  # fmt: skip
    shapes = {"images": roles.images, "labels": roles.labels, "outliers": roles.outliers}
    decisions = [
        Decision(role, roles.names[role], f"{_type(t)} {list(t.shape)}")
        for role, t in shapes.items()
        if t is not None
    ]
    files = {p.name: sha256(p) for p in (path, labels) if p is not None}
    return _Stored(
        roles.images, roles.labels, roles.outliers, roles.rate, tuple(decisions), files,
        statistics=roles.statistics, whitened=roles.whitened,
    )  # fmt: skip


def _from_folder(
    path: Path, labels: Path | None, data: InlierData, reading: Reading, size: int
) -> _Stored:
    if reading.range_ not in (None, "bytes") or reading.statistics is not None:
        raise BadInput("a folder of images with --range or --statistics; expected pictures as such")
    read = read_images(
        path, data.classes, data.channels, size, order=reading.classes,
        first=reading.first_label, resize=reading.resize,
    )  # fmt: skip
    found, files = read.labels, {f"{path.name}/": read.sha256}
    if labels is not None:
        beside = read_container(labels)
        found = find_roles({"images": read.images}, beside, labels_file=labels.name).labels
        files[labels.name] = sha256(labels)
    first = Decision("images", f"{path.name}/", f"{len(read.images)} pictures")
    folders = labels is None and found is not None
    return _Stored(
        read.images, found, read.outliers, None, (first, *read.decisions), files, folders
    )  # fmt: skip


def _range_of(
    images: Tensor, stored: _Stored, data: InlierData, reading: Reading
) -> tuple[Statistics | None, Decision]:
    """As asked for; else as the file says; else as the numbers tell."""
    asked = reading.range_ is not None or reading.statistics is not None
    if asked or not (stored.whitened or stored.statistics):
        return find_range(images, data, range_=reading.range_, statistics=reading.statistics)
    if stored.whitened:
        found, decision = find_range(images, data, range_="zca")
    else:
        found, decision = find_range(images, data, statistics=stored.statistics)
    return found, replace(decision, why=decision.why.replace("asked for", "the file says so", 1))


def _fed(images: Tensor, statistics: Statistics | None, data: InlierData) -> Tensor:
    """Images as networks are fed them; those that came so stay as they are, to the bit."""
    values = images.float()
    if statistics is None:
        return values
    return restated(values, statistics, (data.mean, data.std))


def _check_size(images: Tensor, size: int, dataset: str) -> None:
    height, width = images.shape[-2:]
    if (height, width) != (size, size):
        raise BadInput(
            f"images of {width} x {height} px; expected {size} x {size}, as {dataset} has them"
            + (f", or --image-size {height}" if height == width else "")
        )


def _check_numbers(stored: _Stored, classes: int) -> None:
    """What can be told before the data set is decoded."""
    count = len(stored.images)
    if count < classes:
        raise BadInput(f"{count} images; expected at least one for each of the {classes} classes")
    if stored.labels is not None and len(stored.labels) != count:
        raise BadInput(f"{len(stored.labels)} labels for {count} images; expected as many")


def _outlier_settings(stored: _Stored, reading: Reading, classes: int) -> dict[str, Any]:
    if stored.outliers is None:
        if reading.outliers is not None:
            raise BadInput(f"--outliers {reading.outliers}; expected a file that holds outliers")
        return {}
    if reading.outliers is None:
        raise BadInput(
            f"{len(stored.outliers)} outliers in the file; give --outliers oe (real images) or poe "
            "(corrupted ones of the data set)"
        )
    each = max(1, len(stored.outliers) // classes)
    return {"outliers": reading.outliers, "outlier_ipc": each}


def _agreement(
    images: Tensor, statistics: Statistics | None, labels: Tensor, data: InlierData
) -> Decision:
    assert data.train.labels is not None
    pixels = (
        whitened_data(data).whitening.pictures(images.float())
        if statistics is None
        else undone(images.float(), statistics)
    )
    share = nearest_mean_agreement(pixels, labels, data.train.images, data.train.labels)
    chance = 1 / len(data.classes)
    doubt = "; no more than chance: check their order on the preview" if share <= chance else ""
    return Decision(
        "agreement",
        f"{round(share * len(labels))} of {len(labels)}",
        f"lie nearest to the mean training image of their own class (chance {chance:.0%}){doubt}",
    )


def _rate_reason(reading: Reading, rate: float | None) -> str:
    if reading.student_lr is not None:
        return "asked for: students are trained at it"
    return "in the file: students are trained at it" if rate is not None else "the experiment's"


def _augmentation(experiment: Experiment, settings: Mapping[str, Any]) -> Decision:
    why = "asked for" if "augmentation" in settings else "the data set's; --augmentation changes it"
    return Decision("augmentation", experiment.augmentation or "none", why)


def _joint_hash(files: Mapping[str, str]) -> str:
    """One hash of all files: that of the only one, or of their hashes in order."""
    hashes = list(files.values())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _name(path: Path) -> str:
    return path.stem or path.name


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
