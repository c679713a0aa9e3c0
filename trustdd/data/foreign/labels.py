"""What stored labels mean: classes or distributions, counted from where, in whose order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trustdd.data.foreign.pixels import Decision
from trustdd.data.set_checks import DISTRIBUTION_TOLERANCE
from trustdd.settings.errors import BadInput

KINDS = ("hard", "distribution", "logits")


def to_labels(
    labels: Tensor | None,
    count: int,
    classes: Sequence[str],
    *,
    kind: str | None = None,
    first: int = 0,
    sorted_: bool = False,
) -> tuple[Tensor, Decision]:
    """Turn stored labels into classes or distributions.

    Args:
        labels: ``[n]`` or ``[n, k]`` as stored, or ``None`` where there are none.
        count: of the images.
        classes: names of the data set's classes.
        kind: one of `KINDS`, or ``None`` to find it.
        first: the number of the first class.
        sorted_: without labels, as many images of one class behind each other as of the next.

    Returns:
        ``int64 [n]`` from 0, or ``float32 [n, k]``; and the decision.

    Raises:
        ValueError: there are none and `sorted_` is not asked for; as many as are no labels of that
            many images and classes; labels that start at 1; numbers that could be several kinds.
    """
    if labels is None:
        return _in_order(count, len(classes), sorted_)
    if sorted_:
        raise BadInput("labels and --sorted-by-class; expected one of them")
    if len(labels) != count:
        raise BadInput(f"{len(labels)} labels for {count} images; expected as many")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        return _hard(labels, len(classes), kind, first)
    if labels.ndim != 2 or labels.shape[1] != len(classes):
        raise BadInput(
            f"labels of shape {list(labels.shape)}; expected [{count}] classes, or "
            f"[{count}, {len(classes)}] numbers, one a class"
        )
    return _soft(labels, kind)


def reordered(
    labels: Tensor, order: Sequence[str] | None, classes: Sequence[str]
) -> tuple[Tensor, Decision]:
    """Bring labels from a set's own order of classes to the data set's.

    Args:
        labels: classes ``int64 [n]``, or distributions ``[n, k]``.
        order: names of the classes in the set's own order; ``None`` where it is the data set's.
        classes: names in the data set's order.

    Raises:
        ValueError: other names than the data set's.
    """
    if order is None:
        shown = ", ".join(classes[:4]) + (", …" if len(classes) > 4 else "")
        return labels, Decision("order", f"the data set's: {shown}", "no other was given")
    if sorted(order) != sorted(classes):
        raise BadInput(
            f"--classes {','.join(order)}; expected each of {', '.join(classes)} once, in the "
            "order that the set's labels count them in"
        )
    place = torch.tensor([list(classes).index(name) for name in order])
    why = "given by --classes"
    if labels.ndim == 1:
        return place[labels], Decision("order", ", ".join(order), why)
    moved = torch.empty_like(labels)
    moved[:, place] = labels
    return moved, Decision("order", ", ".join(order), why)


def nearest_mean_agreement(
    pixels: Tensor, labels: Tensor, train: Tensor, train_labels: Tensor
) -> float:
    """Share of a set's images that lie nearest to the mean training image of their own class.

    A rough check of the order of labels: far below what another order gives, it is wrong.

    Args:
        pixels: the set's images, ``[n, c, h, w]`` in [0, 1].
        labels: ``int64 [n]``.
        train: the training images, ``uint8 [m, c, h, w]``.
        train_labels: ``int64 [m]``.
    """
    means = torch.stack(
        [train[train_labels == c].float().mean(0) / 255 for c in range(int(train_labels.max()) + 1)]
    )
    nearest = torch.cdist(pixels.float().flatten(1), means.flatten(1)).argmin(1)
    return float((nearest == labels).double().mean())


def _in_order(count: int, classes: int, sorted_: bool) -> tuple[Tensor, Decision]:
    if not sorted_:
        raise BadInput(
            "no labels; give a file of them behind that of the images, or --sorted-by-class where "
            "as many images of one class lie behind each other as of the next"
        )
    if count % classes:
        raise BadInput(
            f"{count} images --sorted-by-class; expected a multiple of the {classes} classes"
        )
    labels = torch.arange(classes).repeat_interleave(count // classes)
    return labels, Decision("labels", f"hard, {count // classes} a class, sorted", "asked for")


def _hard(labels: Tensor, classes: int, kind: str | None, first: int) -> tuple[Tensor, Decision]:
    if kind not in (None, "hard"):
        raise BadInput(
            f"labels of shape {list(labels.shape)} as --label-kind {kind}; expected "
            f"[{len(labels)}, {classes}]"
        )
    values = labels.double()
    if not bool((values == values.round()).all()):
        raise BadInput(
            f"labels from {float(values.min()):.4g} to {float(values.max()):.4g}, not whole; "
            "expected classes"
        )
    low, high = int(values.min()), int(values.max())
    if first == 0 and low == 1 and high == classes:
        raise BadInput(
            f"labels start at 1 and end at {high}; expected 0 to {classes - 1}, or give "
            "--first-label 1"
        )
    shifted = labels.long() - first
    if low - first < 0 or high - first >= classes:
        raise BadInput(
            f"labels from {low} to {high}; expected {first} to {first + classes - 1}, as the data "
            f"set has {classes} classes"
        )
    counts = torch.bincount(shifted, minlength=classes)
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        raise BadInput(
            f"no image of class {', '.join(map(str, missing[:10]))}; expected at least one of each "
            f"of the {classes} classes"
        )
    each = f"{int(counts.min())} to {int(counts.max())}"
    each = each.split(" to ")[0] if int(counts.min()) == int(counts.max()) else each
    return shifted, Decision("labels", f"hard, {each} a class", f"whole numbers, {low} to {high}")


def _soft(labels: Tensor, kind: str | None) -> tuple[Tensor, Decision]:
    values = labels.double()
    if not bool(torch.isfinite(values).all()):
        raise BadInput("labels hold NaN or infinity; expected classes or distributions")
    sums = values.sum(1)
    sound = float(values.min()) >= 0 and float((sums - 1).abs().max()) <= DISTRIBUTION_TOLERANCE
    if kind == "hard" or (kind is None and sound and bool((values.amax(1) == 1).all())):
        why = "asked for: the likeliest of each" if kind else "every row is one 1 and zeros"
        chosen = values.argmax(1)
        return _checked(chosen, labels.shape[1]), Decision("labels", "hard", why)
    if kind == "logits":
        why = "asked for: turned into distributions by a softmax"
        return values.softmax(1).float(), Decision("labels", "distributions", why)
    if sound:
        why = "no value below 0, and every row sums to 1"
        return values.float(), Decision("labels", "distributions", why)
    low, high = float(values.min()), float(values.max())
    found = (
        f"labels from {low:.4g} to {high:.4g} whose rows sum to {float(sums.min()):.4g} to "
        f"{float(sums.max()):.4g}"
    )
    if kind == "distribution":
        raise BadInput(f"{found}, as --label-kind distribution; expected rows that sum to 1")
    raise BadInput(
        f"{found}: no distributions; give --label-kind logits (they go through a softmax) or "
        "--label-kind hard (the likeliest class)"
    )


def _checked(labels: Tensor, classes: int) -> Tensor:
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise BadInput(
            f"no image of class {', '.join(map(str, missing[:10]))}; expected at least one of each "
            f"of the {classes} classes"
        )
    return labels
