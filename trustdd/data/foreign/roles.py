"""Which tensor of a file is what: images, labels, outliers, a learned learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from trustdd.data.inputs import Statistics
from trustdd.settings.errors import BadInput

#: words that public projects name their tensors by, of which the last part of a name is one
IMAGE_WORDS = (
    "images", "image", "imgs", "img", "data", "x", "inputs", "image_syn", "images_syn",
    "syn_images", "syn_data", "x_syn", "x_train",
)  # fmt: skip
LABEL_WORDS = (
    "labels", "label", "targets", "target", "y", "label_syn", "labels_syn", "syn_labels",
    "soft_labels", "soft_label", "y_syn", "y_train",
)  # fmt: skip
OUTLIER_WORDS = ("outliers", "outlier", "syn_outliers", "synthetic_outliers")
RATE_WORDS = ("lr", "syn_lr", "student_lr", "lr_syn", "learning_rate", "lrs")


@dataclass(frozen=True)
class Roles:
    """What was found, and where.

    Attributes:
        images: ``[n, …]``, as stored.
        labels: ``[n]`` or ``[n, k]`` as stored, or ``None`` where there are none.
        outliers: ``[m, …]``, as stored, or ``None``.
        rate: the learned learning rate, or ``None``.
        names: role → the place of its tensor, for the account.
        statistics: mean and std that the file says its images are normalised by.
        whitened: whether the file says that its images are ZCA-whitened.
    """

    images: Tensor
    labels: Tensor | None
    outliers: Tensor | None
    rate: float | None
    names: Mapping[str, str]
    statistics: Statistics | None = None
    whitened: bool = False


def find_roles(
    tensors: Mapping[str, Tensor],
    labels: Mapping[str, Tensor] | None,
    *,
    entry: str | None = None,
    file: str = "the file",
    labels_file: str = "the labels' file",
) -> Roles:
    """Tell a set's tensors apart, by their names and shapes.

    Images have four dimensions (or three, of grey images), labels one or two, and as many of them
    as there are images; the learned learning rate is a single number.

    Args:
        tensors: of the images' file, see `trustdd.data.foreign.containers.read_container`.
        labels: of a file of labels, or ``None``.
        entry: of a file that holds several sets, the beginning of the names of one.
        file: the images' file, for messages.
        labels_file: the labels' file, likewise.

    Raises:
        ValueError: there are no images, or more than one tensor could be them, or the labels;
            the message names them and the option that chooses.
    """
    if entry is not None:
        tensors = _entry(tensors, entry, file)
    outliers_name = next((k for k, t in tensors.items() if _word(k) in OUTLIER_WORDS), None)
    outliers = None if outliers_name is None else tensors[outliers_name]
    tensors = {k: t for k, t in tensors.items() if k != outliers_name}
    images_name = _images(tensors, file, entry)
    images = tensors[images_name]
    names = {"images": _place(file, images_name)}
    if outliers_name is not None:
        names["outliers"] = _place(file, outliers_name)
    statistics, whitened = _normalisation(tensors)
    beside = {k: t for k, t in tensors.items() if k != images_name}
    source, where = (beside, file) if labels is None else (labels, labels_file)
    label_name = _labels(source, images_name, len(images), where, alone=labels is not None)
    found = None
    if label_name is not None:
        found, names["labels"] = source[label_name], _place(where, label_name)
    rate_name = _rate({**beside, **(labels or {})})
    rate = None
    if rate_name is not None:
        held, of = (beside, file) if rate_name in beside else (labels or {}, labels_file)
        rate, names["student_lr"] = float(held[rate_name]), _place(of, rate_name)
    return Roles(images, found, outliers, rate, names, statistics, whitened)


def _entry(tensors: Mapping[str, Tensor], entry: str, file: str) -> dict[str, Tensor]:
    chosen = {k: t for k, t in tensors.items() if k == entry or k.startswith(f"{entry}.")}
    if not chosen:
        raise BadInput(f"{file}: no '{entry}'; expected one of {_listed(tensors)}")
    return chosen


def _images(tensors: Mapping[str, Tensor], file: str, entry: str | None) -> str:
    candidates = [k for k, t in tensors.items() if t.ndim == 4 and len(t)]
    # grey images come without a dimension of channels, too
    candidates = candidates or [k for k, t in tensors.items() if t.ndim == 3 and len(t)]
    if not candidates:
        raise BadInput(
            f"{file}: no tensor of images among {_listed(tensors)}; expected one of shape "
            "[n, c, h, w], [n, h, w, c], or [n, h, w] of grey images"
        )
    # the same name at different places is several sets, whatever it is
    named = [k for k in candidates if _word(k) in IMAGE_WORDS]
    if len(candidates) > 1 and len(named) != 1:
        groups = sorted({k.rpartition(".")[0] or k for k in candidates})
        raise BadInput(
            f"{file}: {len(candidates)} tensors could be the images: "
            f"{_listed({k: tensors[k] for k in candidates})}; choose one by --entry "
            f"{groups[0] if groups[0] != entry else candidates[0]}"
        )
    return named[0] if len(candidates) > 1 else candidates[0]


def _labels(
    tensors: Mapping[str, Tensor], images: str, count: int, file: str, *, alone: bool
) -> str | None:
    """The labels' name; `alone`: in a file of their own, where there have to be some."""
    fitting = [k for k, t in tensors.items() if t.ndim in (1, 2) and t.numel() > 1]
    beside = images.rpartition(".")[0]
    named = [k for k in fitting if _word(k) in LABEL_WORDS]
    equal = [k for k in named or fitting if len(tensors[k]) == count]
    # of several, that beside the images: data.0.0 and data.0.1
    near = [k for k in equal if k.rpartition(".")[0] == beside and not alone] or equal
    if len(near) == 1:
        return near[0]
    if len(near) > 1:
        raise BadInput(
            f"{file}: {len(near)} tensors could be the labels: "
            f"{_listed({k: tensors[k] for k in near})}; give a file that holds the labels alone"
        )
    if named or alone:
        raise BadInput(
            f"{file}: {_listed({k: tensors[k] for k in named} or tensors)} for {count} images; "
            f"expected labels of shape [{count}] or [{count}, classes]"
        )
    return None


def _rate(tensors: Mapping[str, Tensor]) -> str | None:
    single = [k for k, t in tensors.items() if t.numel() == 1 and _word(k) in RATE_WORDS]
    return single[0] if len(single) == 1 else None


def _normalisation(tensors: Mapping[str, Tensor]) -> tuple[Statistics | None, bool]:
    """What a file says of its images' normalisation: mean and std, or that they are whitened."""
    held = {word: t.flatten().double() for k, t in tensors.items()
            if (word := _word(k)) in ("mean", "std", "zca") and t.numel() in (1, 3)}  # fmt: skip
    whitened = "zca" in held and bool(held["zca"].any())
    if "mean" not in held or "std" not in held or len(held["mean"]) != len(held["std"]):
        return None, whitened
    if not bool(held["std"].gt(0).all()):
        return None, whitened
    return (tuple(held["mean"].tolist()), tuple(held["std"].tolist())), whitened


def _word(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _place(file: str, name: str) -> str:
    return f"{file}, '{name}'" if name else file


def _listed(tensors: Iterable[str] | Mapping[str, Tensor], most: int = 6) -> str:
    shown = []
    for name in tensors:
        shape = f" {list(tensors[name].shape)}" if isinstance(tensors, Mapping) else ""
        shown.append(f"'{name}'{shape}" if name else shape.strip())
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")
