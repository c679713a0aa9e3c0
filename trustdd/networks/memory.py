"""Memory kept for what is about to ask for it again, and moved without waiting."""

from __future__ import annotations

import ctypes
import functools
import sys

import torch
from torch import Tensor

#: parameters of glibc's ``mallopt``: largest block taken from the heap, heap kept when free, and
#: by how much the heap grows, in bytes
_MMAP_THRESHOLD = (-3, 32 * 2**20)
_TRIM_THRESHOLD = (-1, 2**31 - 1)
_TOP_PAD = (-2, 64 * 2**20)


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep what it frees, once for all; nothing but its speed changes.

    A tensor of a few hundred KiB lives for a millisecond. By default, glibc asks the system for the
    pages of every such tensor and gives them back after it, and each page is a fault: a quarter of
    the time of trajectory matching on small images was spent on them.

    Returns:
        Whether the C library has such settings: glibc has, others are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018 - musl has mallopt's name only
    except (OSError, AttributeError):
        return False
    return all(mallopt(*setting) == 1 for setting in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD))


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor; from the host to a GPU without waiting for what the GPU still has to do.

    The way goes through pinned memory, which torch keeps until the copy is done.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
