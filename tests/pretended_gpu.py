"""A GPU that is not there: tensors that say they are on ``cuda``, and are computed with on the CPU.

As on a real one, what lies there and what lies on the host do not mix, random numbers for it do not
come from the host's generators, and to read a value is to wait, which is refused. It rests on
`torch.overrides`: every function of PyTorch that Python calls while it is entered goes through it;
a function's own inner calls do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

GPU = torch.device("cuda", 0)
HOST = torch.device("cpu")


class Waits(RuntimeError):  # noqa: N818
    """The host would wait for a value."""


class Mixed(RuntimeError):  # noqa: N818
    """Tensors of two devices in one operation."""


METHODS = (
    "item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "__array__",
    "__contains__", "__complex__", "__repr__",
)  # fmt: skip
FUNCTIONS = (
    "nonzero", "masked_select", "equal", "allclose", "unique", "unique_consecutive", "bincount",
    "is_nonzero", "argwhere",
)  # fmt: skip
#: they give, or need, a value on the host
READING = {f"torch.Tensor.{name}" for name in METHODS + FUNCTIONS}
READING |= {f"torch.{name}" for name in FUNCTIONS}
#: they may have one tensor here and the other there
CROSSING = {"torch.Tensor.copy_", "torch.Tensor.data.__set__", "torch.Tensor.grad.__set__"}


class PretendedGPU(TorchFunctionMode):
    """While it is entered, ``cuda`` is a device."""

    def __init__(self) -> None:
        super().__init__()
        # kept alive, so that no address is used again
        self.memory: dict[int, torch.UntypedStorage] = {}

    def holds(self, tensor: Tensor) -> bool:
        """Tell whether a tensor lies there."""
        return tensor.untyped_storage().data_ptr() in self.memory

    def put(self, tensor: Tensor) -> Tensor:
        """Have a tensor, and all that share its memory, lie there."""
        if tensor.numel():
            storage = tensor.untyped_storage()
            self.memory[storage.data_ptr()] = storage
        return tensor

    def __torch_function__(
        self, func: Callable, types: Any, given: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name, options = resolve_name(func) or "", dict(kwargs or {})
        tensors = list(_tensors((given, options)))
        there = any(self.holds(t) for t in tensors)
        if name == "torch.Tensor.device.__get__":
            return GPU if there else func(*given, **options)
        if name in ("torch.Tensor.is_cpu.__get__", "torch.Tensor.is_cuda.__get__"):
            return there != name.startswith("torch.Tensor.is_cpu")
        if name == "torch.Tensor.pin_memory":
            return given[0].clone()
        if name in ("torch.Tensor.to", "torch.Tensor.cuda"):
            return self._moved(func, given, options, name.endswith("cuda"))
        if there and name:  # the others are not PyTorch's public ones
            self._check(name, given, tensors)
        wanted = _device(options.get("device"))
        if wanted is not None:
            options["device"] = HOST
            if wanted.type == "cuda" and options.get("generator") is not None:
                raise Mixed(f"{name} on a GPU by a generator of the host")
        found = func(*given, **options)
        if there if wanted is None else wanted.type == "cuda":
            for tensor in _tensors(found):
                self.put(tensor)
        return found

    def _check(self, name: str, given: tuple, tensors: list[Tensor]) -> None:
        masked = name in ("torch.Tensor.__getitem__", "torch.Tensor.__setitem__") and any(
            t.dtype == torch.bool for t in _tensors(given[1])
        )
        if name in READING or masked:
            raise Waits(f"{name} waits for the GPU")
        # a single number may come from the host
        apart = [t for t in tensors if t.ndim and t.numel() and not self.holds(t)]
        if apart and name not in CROSSING:
            raise Mixed(f"{name} of tensors on two devices, of shapes {[t.shape for t in tensors]}")

    def _moved(self, func: Callable, given: tuple, options: dict, there: bool) -> Tensor:
        """A copy, where it is to be moved; ``to`` another kind is an operation like others."""
        own, *rest = given
        named = [d for d in map(_device, (*rest, options.get("device"))) if d is not None]
        places = [d.type == "cuda" for d in named]
        places += [self.holds(t) for t in rest if isinstance(t, Tensor)]
        goal = there or (places[0] if places else self.holds(own))
        if self.holds(own) and not goal:
            raise Waits("a copy to the host waits for the GPU")
        rest = [HOST if _device(r) else r for r in rest]
        options = {k: HOST if k == "device" and v is not None else v for k, v in options.items()}
        found = own if there else func(own, *rest, **options)
        if goal == self.holds(own):
            return self.put(found) if goal else found
        return self.put(found.clone())


def _device(value: Any) -> torch.device | None:
    return torch.device(value) if isinstance(value, str | torch.device) else None


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
