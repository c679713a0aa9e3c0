"""Calling the compiled passes of a ConvNet: pieces of a batch, on as many threads as torch has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import record_function

from trustdd.networks.native.library import library

#: channels come in vectors of at most so many
LANES = 16
#: of a thread's numbers, which should stay near its cache
WORK_BYTES = 4 * 2**20
MOST_BLOCKS = 16
#: what a thread's seconds go into, as in ``convnet.c``
KINDS = ("products", "transforms of tiles", "norm, ReLU and pooling")

_lock = threading.Lock()
_kept = torch.empty(0)
_seconds: dict[str, float] | None = None


class _Plan(ctypes.Structure):
    """Sizes, as ``Plan`` in ``convnet.c``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("channels", "image", "padding", "width", "depth")),
        ("classes", ctypes.c_int64),
        ("bf16", ctypes.c_int64),
        ("eps", ctypes.c_float),
    )


@dataclass(frozen=True)
class Outputs:
    """What a pass gives.

    Attributes:
        logits: ``[n, k]``.
        features: penultimate, ``[n, d]``, of a pass without a loss; otherwise empty.
        gradients: one tensor a parameter, in ``parameters()`` order; empty without a loss.
        by_images: with a direction, the derivative along it of the loss's gradient with respect to
            the images, ``[n, c, h, w]``; otherwise empty.
        by_parameters: the same with respect to the parameters, one tensor each; or empty.
    """

    logits: Tensor
    features: Tensor
    gradients: list[Tensor]
    by_images: Tensor
    by_parameters: list[Tensor]


class NativeConvNet:
    """The compiled passes of one architecture, in float32 or with products of bfloat16 numbers.

    Channels must come in whole vectors, so `width` is a multiple of 16.
    """

    def __init__(
        self, channels: int, image_size: int, padding: int, width: int, depth: int, classes: int,
        eps: float, low: bool,
    ) -> None:  # fmt: skip
        """See `usable`; `padding` is the first convolution's, `eps` the norms', `low` bfloat16."""
        found = library()
        assert found is not None
        self.library = found
        self.plan = _Plan(channels, image_size, padding, width, depth, classes, int(low), eps)
        self.address = ctypes.addressof(self.plan)

    @staticmethod
    def usable(width: int, depth: int, low: bool) -> bool:
        """Tell whether there are compiled passes for a ConvNet of this width and depth."""
        if width % LANES or depth > MOST_BLOCKS:
            return False
        found = library()
        return found is not None and (not low or bool(found.trustdd_has_bf16()))

    def __call__(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
        direction: Sequence[Tensor | None] | None = None,
        by_parameters: bool = True,
    ) -> Outputs:
        """Take a batch forward; with a loss, back; and along a direction, if there is one.

        Args:
            parameters: float32, on the CPU, in ``parameters()`` order.
            images: ``float32 [n, c, h, w]``, n > 0.
            targets: distributions, ``[n, k]``; the loss is ``Σ_i w_i · CE(target_i, ·)``.
            weights: ``[n, 1]``.
            direction: one tensor a parameter, ``None`` is no movement; in float32 only.
            by_parameters: whether the parameters' derivatives along it are wanted.
        """
        plan, call = self.plan, self.library
        parameters = [p.detach().contiguous() for p in parameters]
        moved = None
        if direction is not None:
            pairs = zip(direction, parameters, strict=True)
            moved = [torch.zeros_like(p) if d is None else d.contiguous() for d, p in pairs]
        images = images.detach().contiguous()
        count = len(images)
        logits = torch.empty(count, plan.classes)
        features = torch.empty(count, parameters[-2].shape[1] if targets is None else 0)
        gradients = [] if targets is None else [torch.zeros_like(p) for p in parameters]
        by_images = torch.empty_like(images) if moved else images.new_empty(0)
        by_all = [torch.zeros_like(p) for p in parameters] if moved and by_parameters else []
        loss = [] if targets is None or weights is None else [targets, weights]
        loss = [t.contiguous() for t in loss]
        lanes = min(torch.get_num_threads(), count)
        spent = None if _seconds is None else torch.zeros(lanes, len(KINDS), dtype=torch.float64)
        with _lock, record_function("trustdd::convnet"):
            room = _room(call.trustdd_room(
                self.address, count, lanes, bool(loss), moved is not None, WORK_BYTES
            ))  # fmt: skip
            call.trustdd_run(
                self.address, _addresses(parameters), count, images.data_ptr(),
                *([t.data_ptr() for t in loss] or (None, None)), logits.data_ptr(),
                features.data_ptr() or None, _addresses(gradients), _addresses(moved or []),
                by_images.data_ptr(), _addresses(by_all), lanes, WORK_BYTES,
                None if spent is None else spent.data_ptr(), room.data_ptr(),
            )  # fmt: skip
        if spent is not None and _seconds is not None:
            for kind, seconds in zip(KINDS, spent.sum(0).tolist(), strict=True):
                _seconds[kind] += seconds
        return Outputs(logits, features, gradients, by_images, by_all)


@contextlib.contextmanager
def counted() -> Iterator[dict[str, float]]:
    """Count the seconds that all threads spend in the compiled passes, by `KINDS`."""
    global _seconds
    _seconds = dict.fromkeys(KINDS, 0.0)
    try:
        yield _seconds
    finally:
        _seconds = None


def _addresses(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p] | None:
    if not tensors:
        return None
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])


def _room(floats: int) -> Tensor:
    """Room that is kept from call to call: pages that are asked for anew cost their clearing."""
    global _kept
    if len(_kept) < floats:
        # made outside of inference mode, so that it may be used inside and outside of it
        with torch.inference_mode(False):
            _kept = torch.empty(floats)
    return _kept


def _after_fork() -> None:
    """In a forked process nobody opens its parent's locks."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
