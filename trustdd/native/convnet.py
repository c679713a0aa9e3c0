"""Calling the compiled passes of a ConvNet: pieces of a batch, on as many threads as torch has."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import record_function

from trustdd.native.library import library

#: channels come in vectors of at most so many
LANES = 16
#: of a thread's numbers, which should stay near its cache
WORK_BYTES = 4 * 2**20
MOST_BLOCKS = 16

_lock = threading.Lock()
_buffers: dict[str, Tensor] = {}


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
        features: penultimate, ``[n, d]``.
        gradients: one tensor a parameter, in ``parameters()`` order; empty without a loss.
    """

    logits: Tensor
    features: Tensor
    gradients: list[Tensor]


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
    ) -> Outputs:
        """Take a batch forward and, with a loss ``Σ_i w_i · CE(target_i, ·)``, back.

        Args:
            parameters: float32, on the CPU, in ``parameters()`` order.
            images: ``float32 [n, c, h, w]``, n > 0.
            targets: distributions, ``[n, k]``.
            weights: ``[n, 1]``.
        """
        plan, call = self.plan, self.library
        parameters = [p.detach().contiguous() for p in parameters]
        images = images.detach().contiguous()
        count = len(images)
        logits = torch.empty(count, plan.classes)
        features = torch.empty(count, parameters[-2].shape[1])
        rows = [images, logits, features]
        if targets is not None and weights is not None:
            rows += [targets.contiguous(), weights.contiguous()]
        backward = len(rows) > 3
        places = [(t.data_ptr(), t.stride(0) * t.element_size()) for t in rows]
        threads = min(torch.get_num_threads(), count)
        bounds = self._bounds(count, threads, backward)
        addresses = _addresses(parameters)
        with _lock, record_function("trustdd::convnet"):
            prepared = _buffer("prepared", call.trustdd_prepared_floats(self.address))
            sums = _buffer("sums", call.trustdd_sums_floats(self.address), threads, backward)
            size = call.trustdd_work_floats(self.address, bounds[1] - bounds[0], backward)
            work = _buffer("work", size, threads)
            call.trustdd_prepare(self.address, addresses, prepared.data_ptr())

            def take(lane: int) -> None:
                for first, last in list(itertools.pairwise(bounds))[lane::threads]:
                    own = [address + first * stride for address, stride in places]
                    call.trustdd_piece(
                        self.address, addresses, prepared.data_ptr(), last - first, own[0],
                        *(own[3:] if backward else (None, None)), own[1], own[2],
                        sums[lane].data_ptr() if backward else None, work[lane].data_ptr(),
                    )  # fmt: skip

            others = [_pool(threads - 1).submit(take, lane) for lane in range(1, threads)]
            try:
                take(0)
            finally:
                # whatever interrupts this thread, the others still use the buffers
                wait(others)
            for other in others:
                other.result()
            if not backward:
                return Outputs(logits, features, [])
            total = sums[0]
            for lane in range(1, threads):
                total += sums[lane]
            gradients = [torch.zeros_like(p) for p in parameters]
            call.trustdd_finish(self.address, total.data_ptr(), _addresses(gradients))
        return Outputs(logits, features, gradients)

    def _bounds(self, count: int, threads: int, backward: bool) -> list[int]:
        """Where pieces begin and end: few enough images each, equally many for every thread."""
        floats = self.library.trustdd_work_floats(self.address, 1, backward)
        most = max(1, WORK_BYTES // 4 // floats)
        pieces = -(-count // most)
        pieces = min(count, -(-pieces // threads) * threads)
        # the first pieces are the largest: they decide how much room is needed
        each, more = divmod(count, pieces)
        return [piece * each + min(piece, more) for piece in range(pieces + 1)]


def _addresses(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])


def _buffer(name: str, floats: int, rows: int = 1, zero: bool = False) -> Tensor:
    """Room that is kept from call to call: pages that are asked for anew cost their clearing."""
    if name not in _buffers or _buffers[name].numel() < rows * floats:
        # made outside of inference mode, so that it may be used inside and outside of it
        with torch.inference_mode(False):
            _buffers[name] = torch.empty(rows * floats)
    found = _buffers[name][: rows * floats].view(rows, floats)
    return found.zero_() if zero else found


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "trustdd")


def _after_fork() -> None:
    """A forked process has none of its parent's threads, and nobody to open its locks."""
    global _lock
    _lock = threading.Lock()
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
