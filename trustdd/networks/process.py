"""Settings of the whole process that computing wants, and that somebody has to ask for."""

from __future__ import annotations

import torch

from trustdd.networks.memory import keep_freed_memory


def prepare_process() -> None:
    """Set this process up for computing: called where distilling, training or detecting begins.

    It changes settings that belong to everything in the process, so it is never a side effect of
    something else: cuDNN takes deterministic algorithms only, for the same experiment gives the
    same bytes; and the C library keeps freed memory (`keep_freed_memory`). To call it again changes
    nothing.
    """
    # no algorithm that adds in any order
    torch.backends.cudnn.deterministic = True
    keep_freed_memory()
