"""Peak memory, time and gradients of trajectory matching: the adjoint and the unrolled graph.

    python benchmarks/trajectory_memory.py                                  # CPU, two minutes
    python benchmarks/trajectory_memory.py --device cuda --ipc 50 --steps 5 10 20 30 50

Every point runs in a process of its own, since a process's peak memory never falls. On a CPU
memory and time are measured in different processes: one whose allocator gives back at once
what is freed, so that the peak is what was in use, and one whose allocator is as it comes;
the time is processor time, on one thread by default. A point that runs out of memory is
reported as failed. The table goes to the terminal, all numbers to a JSON file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

METHODS = ("adjoint", "unrolled")


def main() -> None:
    options = _options().parse_args()
    if options.point:
        print(json.dumps(_measure(json.loads(options.point))))
        return
    settings = {
        "ipc": options.ipc, "classes": options.classes, "image_size": options.image_size,
        "width": options.width, "depth": options.depth, "outliers": not options.no_outliers,
        "device": options.device, "threads": options.threads, "repeats": options.repeats,
    }  # fmt: skip
    points = []
    for steps in options.steps:
        for method in METHODS:
            point = {**settings, "steps": steps, "method": method}
            measured = _point(point, tight=options.device == "cpu")
            if options.device == "cpu" and "failed" not in measured:
                timed = steps == options.time_at
                measured["seconds"] = _point(point).get("seconds") if timed else None
            points.append(measured)
            print(f"{method:>9} {steps:>4} steps: {_shown(points[-1])}", file=sys.stderr)
    agreement = _point({**settings, "method": "compare", "steps": 5, "ipc": 1, "width": 32})
    report = {"settings": settings, "points": points, "agreement": agreement}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(_table(report))
    print(f"\n{options.output}")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--time-at", type=int, default=4, help="steps to time on a CPU")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--no-outliers", action="store_true", help="InD images alone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1, help="timed repeats; the least counts")
    default = Path("_build/benchmarks/trajectory_memory.json")
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    return parser


def _point(point: dict[str, Any], tight: bool = False) -> dict[str, Any]:
    """Measure one point in a process of its own; `tight` makes glibc return freed memory."""
    command = [sys.executable, __file__, "--point", json.dumps(point)]
    tightly = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "0"}
    environment = {**os.environ, **(tightly if tight else {})}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment)
    facts = {"method": point["method"], "steps": point["steps"]}
    if finished.returncode:
        last = (finished.stderr.strip().splitlines() or ["killed"])[-1]
        return {
            **facts,
            "failed": last if "memory" in last else f"exit {finished.returncode}: {last}",
        }
    return {**facts, **json.loads(finished.stdout.splitlines()[-1])}


def _measure(point: dict[str, Any]) -> dict[str, Any]:
    import torch

    torch.set_num_threads(point["threads"])
    if point["method"] == "compare":
        return _compare(point)
    problem = _Problem(point, torch.float32)
    problem.gradients(point["method"], 1)  # warms up kernels, and the memory they ask for
    before = _peak_mib(point["device"])
    seconds = []
    for _ in range(point["repeats"]):
        begun = _clock(point["device"])
        problem.gradients(point["method"], point["steps"])
        seconds.append(_clock(point["device"]) - begun)
    parameters = sum(p.numel() for p in problem.start) * 4 / 2**20
    return {
        "peak_mib": round(_peak_mib(point["device"]), 1),
        "one_step_peak_mib": round(before, 1),
        "parameter_vectors_mib": round(parameters * point["steps"], 1),
        "seconds": round(min(seconds), 3),
    }


def _compare(point: dict[str, Any]) -> dict[str, Any]:
    """Largest relative difference of the two gradients in float64: augmented, in batches."""
    import torch

    problem = _Problem(point, torch.float64)
    schedule = problem.schedule(point["steps"])
    values = [problem.gradients(method, point["steps"], schedule) for method in METHODS]
    differences = {
        name: float((a - b).abs().max() / b.abs().max())
        for name, a, b in zip(problem.names, *values, strict=True)
    }
    return {"float64_largest_relative_difference": differences}


class _Problem:
    """A student between two parameter lists, as CIFAR-sized as the options say."""

    def __init__(self, point: dict[str, Any], dtype: Any) -> None:
        import torch

        from trustdd.networks.convnet import ConvNet

        generator = torch.Generator().manual_seed(0)
        size, classes = point["image_size"], point["classes"]
        count = point["ipc"] * classes

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=dtype).to(point["device"])

        self.network = ConvNet(3, classes, size, width=point["width"], depth=point["depth"])
        self.network.to(point["device"], dtype)
        shapes = [p.shape for p in self.network.parameters()]
        fans = [s[1:].numel() if len(s) > 1 else 1 for s in shapes]
        self.start = [
            normal(*s) / fan**0.5 if len(s) > 1 else torch.ones_like(normal(*s))
            for s, fan in zip(shapes, fans, strict=True)
        ]
        self.target = [p + 0.02 * normal(*p.shape) for p in self.start]
        self.images = normal(count, 3, size, size).requires_grad_()
        self.labels = (torch.arange(count) % classes).to(point["device"])
        self.student_lr = torch.tensor(0.01, dtype=dtype, device=point["device"])
        self.student_lr.requires_grad_()
        self.outliers = None
        if point["outliers"]:
            self.outliers = normal(count, 3, size, size).requires_grad_()
        self.names = ("images", "student_lr", *(("outliers",) if point["outliers"] else ()))

    def schedule(self, steps: int) -> Any:
        import torch

        from trustdd.distillation.trajectory_matching import draw_schedule

        return draw_schedule(
            steps, self.images, self.outliers, torch.Generator().manual_seed(1),
            batch=len(self.images) // 2, strategy="color_crop_cutout_flip_scale_rotate",
        )  # fmt: skip

    def gradients(self, method: str, steps: int, schedule: Any = None) -> tuple[Any, ...]:
        import torch

        from trustdd.distillation.trajectory_matching import trajectory_loss

        loss = trajectory_loss(
            self.network, self.start, self.target, self.images, self.labels, self.student_lr,
            steps, self.outliers, 0.5, schedule=schedule, memory=method,
        )  # fmt: skip
        leaves = [self.images, self.student_lr]
        return torch.autograd.grad(
            loss, leaves + ([] if self.outliers is None else [self.outliers])
        )


def _clock(device: str) -> float:
    """Processor seconds on a CPU, which others may be using too; wall seconds on a GPU."""
    if device == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def _peak_mib(device: str) -> float:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    import torch

    return torch.cuda.max_memory_allocated() / 2**20


def _shown(point: dict[str, Any]) -> str:
    if "failed" in point:
        return str(point["failed"])
    seconds = "" if point["seconds"] is None else f", {point['seconds']:.2f} s"
    return f"{point['peak_mib']:.0f} MiB{seconds}"


def _table(report: dict[str, Any]) -> str:
    rows = [
        "student     peak memory [MiB]          time [s]      time",
        "steps      adjoint   unrolled   adjoint  unrolled   ratio",
    ]
    by = {(p["method"], p["steps"]): p for p in report["points"]}
    for steps in sorted({p["steps"] for p in report["points"]}):
        pair = [by[method, steps] for method in METHODS]
        cells = [f"{steps:<7}"]
        cells += [f"{p['peak_mib']:>10.0f}" if "peak_mib" in p else "    failed" for p in pair]
        cells += [f"{p['seconds']:>9.2f}" if p.get("seconds") else "        –" for p in pair]
        if all(p.get("seconds") for p in pair):
            cells.append(f"{pair[0]['seconds'] / pair[1]['seconds']:>7.2f}")
        rows.append(" ".join(cells))
    differences = report["agreement"].get("float64_largest_relative_difference", {})
    shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
    rows.append(f"largest relative difference of gradients in float64: {shown or 'failed'}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
