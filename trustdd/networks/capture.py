"""Replaying a function of tensors as a CUDA graph.

A small network's pass is some hundred kernels of a few microseconds each, and a host that starts
them one by one is slower than the GPU that runs them. A graph is started as one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]


class Replay(Protocol):
    """A recorded call: reads its inputs where they lay, writes its outputs where they lay."""

    def replay(self) -> None:
        """Do the recorded work again."""


#: records a call without doing its work: function → what replays it, and its outputs
Recorder = Callable[[Callable[[], Outputs]], tuple[Replay, Outputs]]


class Captured:
    """A function that is recorded when it is called a second time with inputs of the same shapes.

    The first call runs as it is, which also lets libraries set themselves up; the second records
    the function with inputs that stay where they are, and that graph is replayed then and from then
    on. On a CPU every call runs as it is.

    The function may change tensors in place that live outside of it (a network's parameters),
    as long as they stay the same tensors. It must not wait for the GPU, and must not draw random
    numbers. What it returns is overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Outputs], recorder: Recorder | None = None) -> None:
        """Wrap a function.

        Args:
            function: tensors, and keywords that can be hashed, → tensors.
            recorder: what records, instead of a CUDA graph on CUDA and nothing elsewhere.
        """
        self.function = function
        self.recorder = recorder
        self.failed = False
        self.known: dict[Hashable, tuple[Replay, list[Tensor], Outputs] | None] = {}

    def __call__(self, *inputs: Tensor, **constants: Hashable) -> Outputs:
        """Call the function, or replay it.

        Args:
            inputs: tensors; their values may differ from call to call.
            constants: keywords; calls with different ones are recorded apart.
        """
        recorder = self.recorder or _recorder(inputs)
        if recorder is None or self.failed:
            return self.function(*inputs, **constants)
        shapes = tuple((tuple(t.shape), t.dtype, t.device) for t in inputs)
        key = (shapes, tuple(sorted(constants.items(), key=lambda pair: pair[0])))
        if key not in self.known:
            self.known[key] = None
            return self.function(*inputs, **constants)
        found = self.known[key]
        if found is None:
            kept = [t.detach().clone() for t in inputs]
            try:
                graph, outputs = recorder(lambda: self.function(*kept, **constants))
            except RuntimeError as error:
                warnings.warn(f"every kernel is started by itself: {error}", stacklevel=2)
                self.failed = True
                return self.function(*inputs, **constants)
            found = self.known[key] = (graph, kept, outputs)
        else:
            for kept_one, given in zip(found[1], inputs, strict=True):
                kept_one.copy_(given)
        found[0].replay()
        return found[2]


def _recorder(inputs: Sequence[Tensor]) -> Recorder | None:
    if inputs and inputs[0].device.type == "cuda":
        return _cuda_graph
    return None


def _cuda_graph(function: Callable[[], Outputs]) -> tuple[Replay, Outputs]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph, outputs
