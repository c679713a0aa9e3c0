"""Settings of the whole process that computing wants, and that somebody has to ask for."""

from __future__ import annotations

from typing import Any

import torch

from trustdd.networks.memory import keep_freed_memory
from trustdd.networks.native.library import compiler_version, library


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


def computing_facts() -> dict[str, Any]:
    """Return what, beside the machine, a result's bytes depend on: `threads` and `compiler`.

    The compiler is that of the compiled passes, and ``"none"`` where PyTorch does their work.
    """
    compiler = compiler_version() if library() is not None else "none"
    return {"threads": torch.get_num_threads(), "compiler": compiler}
