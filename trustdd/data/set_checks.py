"""What makes a distilled set one: checks of its tensors, each with one clear error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trustdd.settings.defaults import dataset_defaults
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment

#: how far from 1 a distribution may sum, for labels that went through half precision
DISTRIBUTION_TOLERANCE = 1e-2


def check_images(name: str, images: Tensor, experiment: Experiment) -> Tensor:
    """Return normalised images as ``float32``.

    Args:
        name: what they are, for the message: ``"images"`` or ``"outliers"``.
        images: ``[n, c, h, w]`` with n ≥ 1, floating point and finite; c the dataset's channels,
            h = w the experiment's size.
        experiment: the settings that they were made under.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    size = experiment.image_size
    channels = _channels(experiment, images)
    shape = tuple(images.shape)
    if shape[1:] != (channels, size, size) or shape[0] < 1:
        raise BadInput(
            f"{name} of shape {_shape(images)}; expected [n, {channels}, {size}, {size}], n ≥ 1, "
            f"as {experiment.dataset} at {size} px has them"
        )
    if not images.is_floating_point():
        raise BadInput(f"{name} of type {_type(images)}; expected floating point, normalised")
    values = images.float()
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
        raise BadInput(f"{name}: {bad} of {shape[0]} hold NaN or infinity; expected finite values")
    return values


def check_labels(labels: Tensor, count: int, experiment: Experiment) -> Tensor:
    """Return labels as ``int64 [n]``, or distributions over classes as ``float32 [n, k]``.

    Args:
        labels: classes from 0, every one of them at least once; or distributions: no value below
            0, each row's sum 1 (to `DISTRIBUTION_TOLERANCE`, and then made so), every class
            somebody's likeliest.
        count: of the images.
        experiment: names the dataset, whose number of classes is known unless it is a folder.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    known = dataset_defaults(experiment.dataset).classes
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise BadInput(
            f"labels of shape {_shape(labels)} for {count} images; expected [{count}] integers, or "
            f"[{count}, {known or 'classes'}] distributions"
        )
    if labels.ndim == 2:
        return _distributions(labels, known, experiment.dataset)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise BadInput(f"labels of type {_type(labels)}; expected integers")
    values = labels.long()
    low, high = int(values.min()), int(values.max())
    top = (known or high + 1) - 1
    if low < 0 or high > top:
        counted = " (counted from 1?)" if low == 1 and known and high == known else ""
        raise BadInput(f"labels from {low} to {high}{counted}; expected 0 to {top}")
    counts = torch.bincount(values, minlength=top + 1)
    _refuse_missing((counts == 0).nonzero().flatten().tolist(), top + 1)
    return values


def check_statistics(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    """Return a normalisation's mean or std as floats.

    Args:
        name: ``"mean"`` or ``"std"``; the latter is above 0.
        values: one finite number a channel.
        channels: of the images.

    Raises:
        ValueError: naming what was given and what is expected.
    """
    numbers = not isinstance(values, str | bytes) and isinstance(values, Sequence)
    if not numbers or len(values) != channels or not all(map(_is_finite, values)):
        raise BadInput(f"{name} {values!r}; expected {channels} finite numbers, one a channel")
    if name == "std" and min(values) <= 0:
        raise BadInput(f"std {list(values)!r}; expected numbers > 0")
    return tuple(float(v) for v in values)


def check_student_lr(value: float | None) -> float | None:
    """Return a learned learning rate as a float > 0, or ``None``.

    Raises:
        ValueError: naming the value.
    """
    if value is None:
        return None
    if not _is_finite(value) or value <= 0:
        raise BadInput(f"student_lr {value!r}; expected a finite number > 0")
    return float(value)


def check_weighted(outliers: Tensor | None, experiment: Experiment) -> None:
    """Refuse outliers under an experiment whose loss gives them no weight.

    Raises:
        ValueError: saying which setting does so.
    """
    if outliers is None or (experiment.outliers != "none" and experiment.outlier_weight > 0):
        return
    setting = (
        "outliers 'none'" if experiment.outliers == "none" else
        f"outlier_weight {experiment.outlier_weight:g}"
    )  # fmt: skip
    raise BadInput(
        f"{len(outliers)} outliers under an experiment with {setting}, which gives them no weight; "
        "expected outliers oe or poe with outlier_weight > 0, or a set without outliers"
    )


def _channels(experiment: Experiment, images: Tensor) -> int:
    """A named dataset's; those of a folder are what the images have, where that is 1 or 3."""
    facts = dataset_defaults(experiment.dataset)
    found = images.shape[1] if images.ndim == 4 else 0
    return found if not facts.name and found in (1, 3) else facts.channels


def _distributions(labels: Tensor, known: int, dataset: str) -> Tensor:
    if known and labels.shape[1] != known:
        raise BadInput(
            f"labels of shape {_shape(labels)}; expected distributions over the {known} classes of "
            f"{dataset}"
        )
    if not labels.is_floating_point():
        raise BadInput(f"labels of shape {_shape(labels)} and type {_type(labels)}; expected "
                         "distributions in floating point")  # fmt: skip
    values = labels.float()
    if not bool(torch.isfinite(values).all()):
        raise BadInput("labels hold NaN or infinity; expected distributions")
    sums = values.sum(1, keepdim=True)
    if float(values.min()) < 0 or float((sums - 1).abs().max()) > DISTRIBUTION_TOLERANCE:
        raise BadInput(
            f"labels from {float(values.min()):.3g} to {float(values.max()):.3g} whose rows sum to "
            f"{float(sums.min()):.3g} to {float(sums.max()):.3g}; expected distributions: no value "
            "below 0, rows that sum to 1"
        )
    _refuse_missing((values.amax(0) <= 0).nonzero().flatten().tolist(), values.shape[1])
    # a row that sums to 1 already stays as it is, to the bit
    off = (sums - 1).abs() > 1e-6
    return torch.where(off, values / sums, values)


def _refuse_missing(missing: list[int], classes: int) -> None:
    if missing:
        some = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        raise BadInput(
            f"no image of class {some}; expected at least one of each of the {classes} classes"
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
