"""What distillation changes from one iteration to the next, and what a checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class State:
    """What distillation changes, and all that a checkpoint has to hold.

    Attributes:
        images: the synthetic images ``[n, c, h, w]``, normalised.
        outliers: the synthetic outliers ``[m, c, h, w]`` or ``None``.
        student_lr: trajectory matching's learned learning rate, a scalar, or ``None``.
        momentum: SGD momentum buffers by tensor name.
        iteration: iterations done.
        losses: ``(loss_in, loss_out)`` of each; NaN where a part is not there.
        snapshots: iteration → the set at that time, in half precision.
    """

    images: Tensor
    outliers: Tensor | None
    student_lr: Tensor | None = None
    momentum: dict[str, Tensor] = field(default_factory=dict)
    iteration: int = 0
    losses: list[tuple[float, float]] = field(default_factory=list)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def descend(self, name: str, gradient: Tensor, lr: float, momentum: float) -> None:
        """One SGD step with momentum on the tensor `name`, as ``torch.optim.SGD`` takes it."""
        buffer = self.momentum.get(name)
        buffer = gradient.clone() if buffer is None else buffer.mul_(momentum).add_(gradient)
        self.momentum[name] = buffer
        getattr(self, name).sub_(buffer, alpha=lr)

    def not_finite(self) -> list[str]:
        """Names of the tensors that hold an infinite number or none at all."""
        learned = {
            "images": self.images, "outliers": self.outliers, "student_lr": self.student_lr,
        }  # fmt: skip
        return [
            name
            for name, tensor in learned.items()
            if tensor is not None and not bool(torch.isfinite(tensor).all())
        ]

    def keep_snapshot(self) -> None:
        """Remember the set as it is now."""
        tensors = {"images": self.images, "outliers": self.outliers}
        self.snapshots[self.iteration] = {
            k: t.detach().half().cpu() for k, t in tensors.items() if t is not None
        }
        if self.student_lr is not None:
            self.snapshots[self.iteration]["student_lr"] = self.student_lr.detach().cpu().clone()

    def stand_still(self, iterations: int, marks: Collection[int]) -> None:
        """Let iterations pass in which nothing moves, with a snapshot before each of `marks`."""
        while self.iteration < iterations:
            if self.iteration in marks:
                self.keep_snapshot()
            self.losses.append((math.nan, math.nan))
            self.iteration += 1

    def tensors(self) -> dict[str, Tensor]:
        """Everything as named tensors."""
        named: dict[str, Tensor] = {"images": self.images}
        if self.outliers is not None:
            named["outliers"] = self.outliers
        if self.student_lr is not None:
            named["student_lr"] = self.student_lr
        named |= {f"momentum.{k}": t for k, t in self.momentum.items()}
        named |= snapshot_tensors(self.snapshots)
        named["losses"] = torch.tensor(self.losses, dtype=torch.float64).reshape(-1, 2)
        return named

    @classmethod
    def of(cls, tensors: dict[str, Tensor], device: torch.device) -> State:
        """Rebuild a state from `tensors`."""
        losses = [(float(a), float(b)) for a, b in tensors["losses"]]
        moved = {k: tensors[k].to(device) for k in ("images", "outliers") if k in tensors}
        prefix = "momentum."
        buffers = {k: t.to(device) for k, t in tensors.items() if k.startswith(prefix)}
        student_lr = tensors.get("student_lr")
        return cls(
            images=moved["images"],
            outliers=moved.get("outliers"),
            student_lr=None if student_lr is None else student_lr.to(device),
            momentum={k.removeprefix(prefix): t for k, t in buffers.items()},
            iteration=len(losses),
            losses=losses,
            snapshots=snapshots_of(tensors),
        )


def snapshot_tensors(snapshots: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    """Snapshots as named tensors ``snapshot.ITERATION.NAME``."""
    return {
        f"snapshot.{i}.{name}": tensor
        for i, snapshot in sorted(snapshots.items())
        for name, tensor in snapshot.items()
    }


def snapshots_of(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The snapshots among named tensors, as `snapshot_tensors` names them."""
    snapshots: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("snapshot."):
            _, iteration, name = key.split(".")
            snapshots.setdefault(int(iteration), {})[name] = tensor
    return snapshots
