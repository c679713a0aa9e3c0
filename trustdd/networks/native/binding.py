"""Calling the compiled passes of a ConvNet: pieces of a batch, on as many threads as torch has."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from trustdd.networks.native.library import library
from trustdd.networks.sizes import Sizes
from trustdd.networks.soft_targets import SoftTargets
from trustdd.settings.errors import BadInput

#: channels come in vectors of at most so many
LANES = 16
#: of a thread's numbers, which should stay near its cache
WORK_BYTES = 4 * 2**20
#: as in ``plan.h``
MOST_BLOCKS = 16
#: what a thread's seconds go into, as in ``workspace.h``
KINDS = ("products", "transforms of tiles", "norm, ReLU and pooling")

_lock = threading.Lock()
_kept = torch.empty(0)
_seconds: dict[str, float] | None = None


class Plan(ctypes.Structure):
    """Sizes, as ``Plan`` in ``plan.h``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("channels", "image", "padding", "width", "depth")),
        ("classes", ctypes.c_int64),
        ("bf16", ctypes.c_int64),
        ("eps", ctypes.c_float),
    )


class Batch(ctypes.Structure):
    """What is to be done, as ``Batch`` in ``convnet.c``: numbers, then addresses."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("count", "lanes", "bytes")),
        *((name, ctypes.c_void_p) for name in ("images", "targets", "weights")),
        *((name, ctypes.c_void_p) for name in ("parameters", "direction", "logits", "embedded")),
        *((name, ctypes.c_void_p) for name in ("gradients", "by_images", "by_parameters", "spent")),
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
    """The compiled passes of one architecture, in float32 or with products of bfloat16 numbers."""

    def __init__(self, sizes: Sizes, low: bool) -> None:
        """Take an architecture for which they are `usable`.

        Args:
            sizes: of the network.
            low: whether to multiply in bfloat16.

        Raises:
            ValueError: there are no compiled passes for it.
        """
        found = library()
        usable = self.usable(sizes.width, sizes.depth, low)
        if found is None or not usable or sizes.networks > 1:
            raise BadInput(
                f"{sizes.networks} ConvNet of width {sizes.width} and depth {sizes.depth}; "
                "expected one that has compiled passes here"
            )
        self.library, self.sizes = found, sizes
        self.plan = Plan(
            sizes.channels, sizes.image, sizes.paddings[0], sizes.width, sizes.depth,
            sizes.classes, int(low), sizes.eps[0],
        )  # fmt: skip

    @staticmethod
    def usable(width: int, depth: int, low: bool) -> bool:
        """Tell whether there are compiled passes for a ConvNet of this width and depth.

        Channels must come in whole vectors, so the width is a multiple of 16.
        """
        if width % LANES or depth > MOST_BLOCKS:
            return False
        found = library()
        return found is not None and (not low or bool(found.trustdd_has_bf16()))

    @staticmethod
    def readable(tensors: Sequence[Tensor]) -> bool:
        """Tell whether tensors are of the kind that is read: plain float32 in this memory."""
        return all(
            type(t) in (Tensor, nn.Parameter) and t.is_cpu and t.dtype is torch.float32
            for t in tensors
        )

    def __call__(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        loss: SoftTargets | None = None,
        direction: Sequence[Tensor | None] | None = None,
        by_parameters: bool = True,
    ) -> Outputs:
        """Take a batch forward; with a loss, back; and along a direction, if there is one.

        Args:
            parameters: float32, on the CPU, in ``parameters()`` order.
            images: ``float32 [n, c, h, w]``, n > 0.
            loss: of their logits.
            direction: one tensor a parameter, ``None`` is no movement; in float32 only.
            by_parameters: whether the parameters' derivatives along it are wanted.

        Raises:
            ValueError: see `Sizes.check_with_loss`; or a direction without a loss, or in bfloat16.
        """
        if loss is None:
            self.sizes.check(parameters, images)
        else:
            self.sizes.check_with_loss(parameters, images, loss)
        if direction is not None:
            self.sizes.check_direction(direction, (), parameters[0])
        return self.run(parameters, images, loss, direction, by_parameters)

    def run(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        loss: SoftTargets | None = None,
        direction: Sequence[Tensor | None] | None = None,
        by_parameters: bool = True,
    ) -> Outputs:
        """The same, of what was held against the sizes already."""
        if direction is not None and (loss is None or self.plan.bf16):
            raise BadInput("a direction without a loss or in bf16; expected a loss, in float32")
        given = [*parameters, images, *([] if loss is None else [loss.targets, loss.weights])]
        if not self.readable([*given, *(d for d in direction or () if d is not None)]):
            raise BadInput("tensors of another kind; expected plain float32 tensors on the cpu")
        read = [_plain(p) for p in parameters]
        moved: list[Tensor] = []
        if direction is not None:
            pairs = zip(direction, read, strict=True)
            moved = [torch.zeros_like(p) if d is None else _plain(d) for d, p in pairs]
        of_loss = [] if loss is None else [_plain(loss.targets), _plain(loss.weights)]
        return self._called(read, _plain(images), of_loss, moved, by_parameters and bool(moved))

    def _called(
        self,
        parameters: list[Tensor],
        images: Tensor,
        loss: list[Tensor],
        direction: list[Tensor],
        by_parameters: bool,
    ) -> Outputs:
        """The same, of tensors that lie as they are read."""
        count = len(images)
        found = Outputs(
            logits=images.new_empty(count, self.sizes.classes),
            features=images.new_empty(count, 0 if loss else parameters[-2].shape[1]),
            gradients=[torch.zeros_like(p) for p in parameters] if loss else [],
            by_images=torch.empty_like(images) if direction else images.new_empty(0),
            by_parameters=[torch.zeros_like(p) for p in parameters] if by_parameters else [],
        )
        lanes = min(torch.get_num_threads(), count)
        spent = None if _seconds is None else images.new_zeros(lanes, len(KINDS)).double()
        # kept here, since a structure holds addresses only
        lists = [
            _addresses(tensors)
            for tensors in (parameters, direction, found.gradients, found.by_parameters)
        ]
        at = [None if own is None else ctypes.addressof(own) for own in lists]
        batch = Batch(
            count=count,
            lanes=lanes,
            bytes=WORK_BYTES,
            images=images.data_ptr(),
            targets=loss[0].data_ptr() if loss else None,
            weights=loss[1].data_ptr() if loss else None,
            parameters=at[0],
            direction=at[1],
            logits=found.logits.data_ptr(),
            embedded=None if loss else found.features.data_ptr(),
            gradients=at[2],
            by_images=found.by_images.data_ptr() if direction else None,
            by_parameters=at[3],
            spent=None if spent is None else spent.data_ptr(),
        )
        where = ctypes.addressof(self.plan), ctypes.addressof(batch)
        with _lock, record_function("trustdd::convnet"):
            room = _room(self.library.trustdd_room(*where))
            self.library.trustdd_run(*where, room.data_ptr())
        if spent is not None and _seconds is not None:
            for kind, seconds in zip(KINDS, spent.sum(0).tolist(), strict=True):
                _seconds[kind] += seconds
        return found


@contextlib.contextmanager
def counted() -> Iterator[dict[str, float]]:
    """Count the seconds that all threads spend in the compiled passes, by `KINDS`."""
    global _seconds
    _seconds = dict.fromkeys(KINDS, 0.0)
    try:
        yield _seconds
    finally:
        _seconds = None


def _plain(tensor: Tensor) -> Tensor:
    """The same numbers, behind each other as they are read."""
    if tensor.is_contiguous() and not tensor.is_neg():
        return tensor
    return tensor.detach().resolve_neg().contiguous()


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
            _kept = torch.empty(floats, dtype=torch.float32, device="cpu")
    return _kept


def _after_fork() -> None:
    """In a forked process nobody opens its parent's locks."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
