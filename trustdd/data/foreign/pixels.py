"""What the numbers of stored images mean: their layout, their range, how they were normalised.

Each decision comes with its reason. What cannot be told from the numbers is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trustdd.data.inliers import InlierData
from trustdd.data.inputs import Statistics, whitened_data
from trustdd.data.whitening import MAX_VALUES
from trustdd.settings.defaults import TRAJECTORY_STATISTICS
from trustdd.settings.errors import BadInput

RANGES = ("unit", "bytes", "symmetric", "normalised", "zca")
#: how far below 0 or above 1 a value may be that came from a pixel by rounding
ROUNDING = 0.02
#: statistics that public projects normalise by, whatever the data set
USUAL = {"imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


@dataclass(frozen=True)
class Decision:
    """What was decided about one property of a file, and why.

    Attributes:
        what: the property.
        value: what was decided.
        why: the reason, in words.
    """

    what: str
    value: str
    why: str


def known_statistics(data: InlierData) -> dict[str, Statistics]:
    """Statistics that images of a data set may have been normalised by, by name.

    ``dataset``: this package's; ``trajectory``: those of trajectory matching's code where it has
    its own, which gradient and distribution matching's code shares; ``imagenet``.
    """
    found = {"dataset": (data.mean, data.std)}
    if data.name in TRAJECTORY_STATISTICS:
        found["trajectory"] = TRAJECTORY_STATISTICS[data.name]
    if data.channels == 3:
        found |= USUAL
    return {name: own for i, (name, own) in enumerate(found.items())
            if own not in list(found.values())[:i]}  # fmt: skip


def channels_first(
    images: Tensor, channels: int, order: str | None
) -> tuple[Tensor, Decision]:
    """Bring images to ``[n, c, h, w]``.

    Args:
        images: ``[n, c, h, w]``, ``[n, h, w, c]``, or ``[n, h, w]`` of grey images.
        channels: of the data set.
        order: ``"first"`` or ``"last"``; ``None`` to find it.

    Raises:
        ValueError: neither dimension has that many channels, or both do.
    """
    shape = list(images.shape)
    if images.ndim == 3:
        if channels != 1:
            raise BadInput(f"images of shape {shape} have no dimension of {channels} channels")
        return images.unsqueeze(1), Decision("channels", "none stored", f"{shape} is grey")
    fits = {"first": shape[1] == channels, "last": shape[3] == channels}
    if order is not None and not fits[order]:
        place = "second" if order == "first" else "last"
        raise BadInput(
            f"images of shape {shape} with channels {order}; expected {channels} in the {place} "
            "dimension"
        )
    if order is None and all(fits.values()):
        raise BadInput(
            f"images of shape {shape}: either the second or the last dimension could be the "
            "channels; give --channels first or --channels last"
        )
    if not any(fits.values()):
        raise BadInput(
            f"images of shape {shape}; expected {channels} channels, in the second or the last "
            "dimension, as the data set has them"
        )
    chosen = order or ("first" if fits["first"] else "last")
    why = "asked for" if order else f"{shape} has {channels} there alone"
    moved = images if chosen == "first" else images.permute(0, 3, 1, 2).contiguous()
    return moved, Decision("channels", chosen, why)


def find_range(
    images: Tensor,
    data: InlierData,
    *,
    range_: str | None = None,
    statistics: str | Statistics | None = None,
) -> tuple[Statistics | None, Decision]:
    """Find what turns stored numbers into pixels in [0, 1].

    Args:
        images: ``[n, c, h, w]``, any type.
        data: the data set, for its statistics and its whitening.
        range_: one of `RANGES`, or ``None`` to find it.
        statistics: of normalised images: a name of `known_statistics`, or mean and std; ``None``
            to find them.

    Returns:
        Mean and std, so that a pixel is ``number · std + mean``, or ``None`` where the numbers are
        ZCA-whitened; and the decision. Pixels may leave [0, 1], as those of a distilled set do.

    Raises:
        ValueError: NaN or infinite values, numbers that do not fit the range asked for, or numbers
            that several ranges or statistics could explain.
    """
    values = images.double()
    if not bool(torch.isfinite(values).all()):
        bad = int((~torch.isfinite(values)).flatten(1).any(1).sum())
        raise BadInput(f"{bad} of {len(values)} images hold NaN or infinity; expected numbers")
    low, high = float(values.min()), float(values.max())
    shown = f"values from {low:.4g} to {high:.4g}"
    if low == high:
        raise BadInput(f"images whose every value is {low:.4g}; expected images")
    if statistics is not None:
        if range_ not in (None, "normalised"):
            raise BadInput(f"--range {range_} with statistics; expected --range normalised")
        return _normalised(values, data, statistics)
    if range_ is None:
        plain, why = _plain_range(images, low, high)
        if plain is not None:
            return _affine(plain, data.channels), Decision("range", _NAMES[plain], f"{shown}: {why}")
        return _found(values, data, shown)
    if range_ == "normalised":
        return _found(values, data, shown, zca=False)
    if range_ == "zca":
        why = f"asked for; {_share(_unwhitened(values, data))} of the values lie in [0, 1] once the "
        return None, Decision("range", _NAMES["zca"], f"{why}whitening of {data.name} is undone")
    chosen = _affine(range_, data.channels)
    pixels = undone(values, chosen)
    if float(pixels.min()) < -ROUNDING or float(pixels.max()) > 1 + ROUNDING:
        raise BadInput(f"{shown} with --range {range_}; expected {_NAMES[range_]}")
    return chosen, Decision("range", _NAMES[range_], f"asked for; {shown}")


_NAMES = {
    "unit": "[0, 1]",
    "bytes": "[0, 255]",
    "symmetric": "[−1, 1]",
    "normalised": "normalised",
    "zca": "ZCA-whitened",
}
_AFFINE = {"unit": (0.0, 1.0), "bytes": (0.0, 1 / 255), "symmetric": (0.5, 0.5)}


def undone(values: Tensor, statistics: Statistics) -> Tensor:
    """Turn numbers ``[n, c, h, w]`` into pixels: ``number · std + mean``, channel by channel."""
    mean, std = (torch.tensor(v, dtype=values.dtype).view(-1, 1, 1) for v in statistics)
    return values * std + mean


def _affine(range_: str, channels: int) -> Statistics:
    mean, std = _AFFINE[range_]
    return (mean,) * channels, (std,) * channels


def _plain_range(images: Tensor, low: float, high: float) -> tuple[str | None, str]:
    """A range that needs no statistics, and why it is this one; ``None`` where it is another."""
    if not images.is_floating_point():
        if low >= 0 and high <= 255:
            return "bytes", "whole numbers"
        raise BadInput(
            f"images of {str(images.dtype).removeprefix('torch.')} from {low:.0f} to {high:.0f}; "
            "expected 0 to 255"
        )
    if low >= 0 and high <= 1:
        return "unit", "none below 0 or above 1"
    if low >= 0 and 32 < high <= 255:
        return "bytes", "none below 0, and far above 1"
    return None, ""


def _normalised(
    values: Tensor, data: InlierData, statistics: str | Statistics
) -> tuple[Statistics, Decision]:
    known = known_statistics(data)
    if isinstance(statistics, str):
        if statistics not in known:
            raise BadInput(f"statistics '{statistics}'; expected one of {', '.join(known)}")
        name, chosen = statistics, known[statistics]
    else:
        name, chosen = "those given", statistics
        if len(chosen[0]) != data.channels or len(chosen[1]) != data.channels:
            raise BadInput(
                f"a mean of {len(chosen[0])} and a std of {len(chosen[1])} numbers; expected "
                f"{data.channels} of each, one a channel of {data.name}"
            )
    share = _share(undone(values, chosen))
    why = f"asked for; {share} of the values lie in [0, 1] once it is undone"
    return chosen, Decision("range", f"normalised by {_said(name, chosen)}", why)


def _found(
    values: Tensor, data: InlierData, shown: str, zca: bool = True
) -> tuple[Statistics | None, Decision]:
    """Find what the numbers were normalised by: what turns them into pixels and nothing else does.

    Pixels of photographs and drawings reach 0 and 1 and never leave them: undone by other
    statistics they leave that range or stop short of it. A set that was distilled may have left it;
    then nothing fits, and it has to be asked for.
    """
    known = known_statistics(data)
    candidates = known if not zca else {**known, "symmetric": _affine("symmetric", data.channels)}
    fitting = [name for name, own in candidates.items() if _fills(undone(values, own))]
    why = f"{shown}: undone by it they fill [0, 1], by no other"
    if len(fitting) == 1:
        name = fitting[0]
        said = f"normalised by {_said(name, candidates[name])}"
        return candidates[name], Decision("range", _NAMES.get(name, said), why)
    if zca and not fitting and _could_be_whitened(data) and _fills(_unwhitened(values, data)):
        return None, Decision("range", _NAMES["zca"], f"{shown}: unwhitened they fill [0, 1]")
    shares = ", ".join(f"{_share(undone(values, own))} by {name}" for name, own in known.items())
    raise BadInput(
        f"{shown}: normalised, but by what? Undone, {shares} of them lie in [0, 1]. Give "
        f"--statistics {' or '.join(known)}, or --mean and --std, or --range symmetric or zca"
    )


def _fills(pixels: Tensor) -> bool:
    low, high = pixels.amin((0, 2, 3)), pixels.amax((0, 2, 3))
    inside = bool((low > -ROUNDING).all()) and bool((high < 1 + ROUNDING).all())
    return inside and bool((low < ROUNDING).any()) and bool((high > 1 - ROUNDING).any())


def _could_be_whitened(data: InlierData) -> bool:
    return data.channels * data.image_size**2 <= MAX_VALUES


def _unwhitened(values: Tensor, data: InlierData) -> Tensor:
    return whitened_data(data).whitening.pictures(values.float()).double()


def _share(pixels: Tensor) -> str:
    inside = (pixels >= -1e-3) & (pixels <= 1 + 1e-3)
    return f"{float(inside.double().mean()):.1%}"


def _said(name: str, statistics: Statistics) -> str:
    mean, std = (", ".join(f"{v:.4g}" for v in values) for values in statistics)
    return f"{name} (mean {mean}; std {std})"


def account(decisions: Sequence[Decision]) -> Mapping[str, dict[str, str]]:
    """Return decisions as JSON values, property → value and reason."""
    return {d.what: {"value": d.value, "why": d.why} for d in decisions}
