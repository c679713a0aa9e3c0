"""How many times as fast as the plain way: every part of the method, both ways in one run.

    python benchmarks/speed.py                       # both settings, minutes on two cores
    python benchmarks/speed.py --settings digits --repeats 9
    python benchmarks/speed.py --device cuda

The plain way is `benchmarks/plain.py`. The two take turns, repeat by repeat, on the same numbers,
and the ratio is taken within each repeat; shown are its median and range. Before that, the first
results are compared: distance and gradients must agree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import plain
import torch
from torch import Tensor

from trustdd import augmentation, networks
from trustdd.adjoint import unflatten_parameters
from trustdd.defaults import DSA_STRATEGY, DSA_STRATEGY_DIGITS
from trustdd.gradient_matching import grouped_matching_loss
from trustdd.memory import keep_freed_memory
from trustdd.randomness import stream
from trustdd.training import fit
from trustdd.trajectory_matching import trajectory_loss

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """Sizes of a published or a shrunk setting."""

    channels: int
    size: int
    width: int
    depth: int
    ipc: int
    real_batch: int
    strategy: str
    inner_epochs: int
    student_epochs: int
    expert_images: int
    tested: int
    student_steps: int
    classes: int = 10


SETTINGS = {
    # CIFAR-10 at IPC 10 as published
    "cifar10": Setting(3, 32, 128, 3, 10, 256, DSA_STRATEGY, 1, 2, 1024, 1024, 3),
    # this book's digits
    "digits": Setting(1, 16, 32, 2, 2, 64, DSA_STRATEGY_DIGITS, 10, 30, 1201, 2048, 10),
}


class Problem:
    """One setting's network and data, drawn once for both ways."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        s = self.setting = setting
        self.device = device
        size = (s.channels, s.classes, s.size, s.width, s.depth)
        draw = stream(0, "benchmark")
        self.ours = networks.build(
            "convnet", channels=s.channels, classes=s.classes, image_size=s.size, width=s.width,
            depth=s.depth, generator=draw,
        ).to(device)  # fmt: skip
        self.plain = plain.PlainConvNet(*size).to(device)
        self.reset()
        shape = (s.channels, s.size, s.size)

        def images(*count: int) -> Tensor:
            return torch.randn(*count, *shape, generator=draw).to(device)

        self.real = images(s.classes, s.real_batch)
        self.synthetic = images(s.classes, s.ipc)
        self.outliers = images(s.classes, s.ipc)
        self.labels = torch.arange(s.classes, device=device).repeat_interleave(s.ipc)
        self.expert_images = images(s.expert_images)
        self.expert_labels = torch.arange(s.expert_images, device=device) % s.classes
        self.tested = images(s.tested)
        draws = [augmentation.draw(s.strategy, 1, shape, draw, True) for _ in range(s.classes)]
        self.augments = [partial(augmentation.apply, draw=d) for d in draws]
        self.draw = draw
        start = torch.cat([p.detach().reshape(-1) for p in self.ours.parameters()])
        noise = torch.randn(len(start), generator=draw).to(device)
        target = start + 0.01 * noise
        self.start = unflatten_parameters(self.ours, start)
        self.target = unflatten_parameters(self.ours, target)

    def reset(self) -> None:
        """Give both networks the same weights."""
        if not hasattr(self, "weights"):
            self.weights = [p.detach().clone() for p in self.ours.parameters()]
        for network in (self.ours, self.plain):
            for parameter, weight in zip(network.parameters(), self.weights, strict=True):
                parameter.data.copy_(weight)

    def augment(self, images: Tensor) -> Tensor:
        return augmentation.augment(images, self.setting.strategy, self.draw)

    # each returns numbers that must agree; none where the draws differ

    def matching_plain(self, labelled: bool) -> tuple[Tensor, ...]:
        labels = list(range(self.setting.classes)) if labelled else None
        synthetic = self.synthetic if labelled else self.outliers
        return plain.matching_step(self.plain, self.real, synthetic, labels, self.augments)

    def matching_ours(self, labelled: bool) -> tuple[Tensor, ...]:
        synthetic = (self.synthetic if labelled else self.outliers).detach().requires_grad_()
        seen = [augment(own) for augment, own in zip(self.augments, synthetic, strict=True)]
        real = [augment(own) for augment, own in zip(self.augments, self.real, strict=True)]
        one_hot = torch.eye(self.setting.classes, device=self.device)
        targets = one_hot if labelled else one_hot.mean(1, keepdim=True).expand_as(one_hot)
        total = grouped_matching_loss(self.ours, real, torch.cat(seen), targets)
        return total.detach(), torch.autograd.grad(total, synthetic)[0]

    def train_plain(self, epochs: int, momentum: float, real: bool = False) -> tuple[Tensor, ...]:
        self.reset()
        images, labels, outliers, augment = self._training(real)
        plain.train(self.plain, images, labels, outliers, epochs, augment, momentum=momentum)
        return ()

    def train_ours(self, epochs: int, momentum: float, real: bool = False) -> tuple[Tensor, ...]:
        self.reset()
        images, labels, outliers, _ = self._training(real)
        fit(
            self.ours, images, labels, outliers, epochs=epochs, lr=0.01, momentum=momentum,
            weight_decay=5e-4, batch=256, outlier_weight=0.5, generator=self.draw,
            augmentation=None if real else self.setting.strategy,
        )  # fmt: skip
        return ()

    def _training(self, real: bool) -> tuple[Tensor, Tensor, Tensor | None, plain.Augment]:
        if real:
            return self.expert_images, self.expert_labels, None, lambda images: images
        known, unknown = self.synthetic.flatten(0, 1), self.outliers.flatten(0, 1)
        return known, self.labels, unknown, self.augment

    def detect_plain(self) -> tuple[Tensor, ...]:
        self.reset()
        return (plain.detect(self.plain, self.tested),)

    @torch.inference_mode()
    def detect_ours(self) -> tuple[Tensor, ...]:
        from trustdd.detection import BATCH

        self.reset()
        parts = [self.ours(batch).softmax(1).max(1).values for batch in self.tested.split(BATCH)]
        return (torch.cat(parts),)

    def trajectory_plain(self) -> tuple[Tensor, ...]:
        rate = torch.tensor(0.01, device=self.device)
        distance, gradients = plain.trajectory_step(
            self.plain, self.start, self.target, self.synthetic.flatten(0, 1), self.labels, rate,
            self.setting.student_steps, self.outliers.flatten(0, 1),
        )  # fmt: skip
        return (distance, *gradients)

    def trajectory_ours(self) -> tuple[Tensor, ...]:
        learned = [
            t.detach().requires_grad_()
            for t in (self.synthetic.flatten(0, 1), self.outliers.flatten(0, 1),
                      torch.tensor(0.01, device=self.device))
        ]  # fmt: skip
        loss = trajectory_loss(
            self.ours, self.start, self.target, learned[0], self.labels, learned[2],
            self.setting.student_steps, learned[1], 0.5,
        )  # fmt: skip
        return (loss.detach(), *torch.autograd.grad(loss, learned))

    def parts(self) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
        """Name → the plain way and ours."""
        s = self.setting

        def both(name: str, *values: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
            return (partial(getattr(self, f"{name}_plain"), *values),
                    partial(getattr(self, f"{name}_ours"), *values))  # fmt: skip

        return {
            "matching step, InD images": both("matching", True),
            "matching step, outliers": both("matching", False),
            f"inner loop, {s.inner_epochs} epochs": both("train", s.inner_epochs, 0.0),
            f"student, {s.student_epochs} epochs": both("train", s.student_epochs, 0.9),
            f"detection, {s.tested:,} images": both("detect"),
            f"expert, {s.expert_images:,} images": both("train", 1, 0.0, True),
            f"trajectory step, {s.student_steps} student steps": both("trajectory"),
        }


def main() -> None:
    options = _options().parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    report: dict[str, Any] = {"machine": _machine(options), "settings": {}}
    for name in options.settings:
        problem = Problem(SETTINGS[name], torch.device(options.device))
        rows = []
        for part, (slow, fast) in problem.parts().items():
            rows.append(_compare(part, slow, fast, options))
            print(f"{name:8} {_line(rows[-1])}", flush=True)
        report["settings"][name] = {"parts": rows}
        outer = [row for row in rows if row["part"].startswith("matching")]
        ratio = sum(r["plain_seconds"] for r in outer) / sum(r["seconds"] for r in outer)
        report["settings"][name]["outer_step_ratio"] = round(ratio, 2)
        print(f"{name:8} outer step, images and outliers: {ratio:.2f} times as fast", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(options.output)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("_build/benchmarks/speed.json"))
    return parser


def _compare(
    part: str, slow: Callable[[], Any], fast: Callable[[], Any], options: argparse.Namespace
) -> dict[str, Any]:
    """Time both ways in turns, after one call of each to warm up and to compare."""
    errors = [
        float((a - b).norm() / a.norm().clamp_min(1e-12))
        for a, b in zip(slow(), fast(), strict=True)
    ]
    times: list[tuple[float, float]] = []
    for _ in range(options.repeats):
        times.append((_seconds(slow, options.device), _seconds(fast, options.device)))
    ratios = [a / b for a, b in times]
    return {
        "part": part,
        "plain_seconds": round(statistics.median(a for a, _ in times), 4),
        "seconds": round(statistics.median(b for _, b in times), 4),
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
        "relative_error": max(errors) if errors else None,
    }


def _seconds(work: Callable[[], Any], device: str) -> float:
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    if options.device.startswith("cuda"):
        device = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        device = f"{models[0] if models else platform.processor()}, {options.threads} threads"
    return {
        "device": device, "torch": torch.__version__, "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"), "repeats": options.repeats,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    error = "" if row["relative_error"] is None else f", relative error {row['relative_error']:.1e}"
    return (
        f"{row['part']}: plain {row['plain_seconds']:.3f} s, ours {row['seconds']:.3f} s, "
        f"{row['ratio']:.2f} times as fast ({row['least']:.2f}–{row['most']:.2f}){error}"
    )


if __name__ == "__main__":
    main()
