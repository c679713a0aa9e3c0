"""What an outer step costs, and how that grows: images per class, classes, pixels, outliers.

    python benchmarks/scale.py                        # CPU, two minutes
    python benchmarks/scale.py --device cuda --width 128 --real-batch 256

One thing is varied at a time, the rest stays at IPC 10, 10 classes, 32 px and as many outliers as
images. A step is the package's own (`trustdd.distillation`): two matching steps on images and
on outliers, and an epoch of network training between them. Each axis gets its least-squares line,
with R². Then the memory of a step at published settings, in processes of their own, beside a
training set of CIFAR-10's size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from speed import kib, machine

from trustdd.data.imagesets import ImageSet
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.gradient_matching import GradientMatching
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks.memory import keep_freed_memory
from trustdd.settings.experiment import Experiment

#: axis → its values; pixels are those of an image's side
AXES: dict[str, list[int]] = {
    "ipc": [1, 10, 20, 35, 50],
    "classes": [2, 10, 20, 35, 50],
    "image_size": [16, 32, 48, 64],
    "outlier_ipc": [1, 10, 20, 35, 50],
}
BASE = {"ipc": 10, "classes": 10, "image_size": 32, "outlier_ipc": 10}
#: IPC of the published settings whose memory is measured
PUBLISHED_IPC = (1, 10, 50)
TRAINING_IMAGES, POOL_IMAGES = 50_000, 9_469


def main() -> None:
    options = _options().parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    if options.measure:
        print(_published_peak(options.measure, options.device))
        return
    report: dict[str, Any] = {
        "machine": machine(options),
        "width": options.width, "real_batch": options.real_batch, "repeats": options.repeats,
        "axes": {}, "memory": [],
    }  # fmt: skip
    for axis, values in AXES.items():
        seconds = [_step_seconds(options, **{**BASE, axis: value}) for value in values]
        report["axes"][axis] = _line_through(axis, values, seconds)
        print(f"{axis:12} {report['axes'][axis]}", flush=True)
    for ipc in PUBLISHED_IPC:
        command = [sys.executable, __file__, "--threads", str(options.threads)]
        command += ["--device", options.device, "--measure", str(ipc)]
        finished = subprocess.run(command, capture_output=True, text=True, check=True)
        report["memory"].append({"ipc": ipc, **json.loads(finished.stdout.splitlines()[-1])})
        print(report["memory"][-1], flush=True)
    report["alt"] = _alt(report)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    _draw(report, options.output.with_suffix(".svg"))
    print(options.output)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--real-batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3, help="the least time counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("_build/benchmarks/scale.json"))
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    return parser


def _step_seconds(options: argparse.Namespace, **sizes: int) -> float:
    objective, state = _problem(
        options.device, options.width, options.real_batch, outer_loops=2, inner_loops=1,
        training=40 * sizes["classes"], pool=40 * sizes["classes"], **sizes,
    )  # fmt: skip
    times = []
    for iteration in range(options.repeats + 1):
        begun = time.perf_counter()
        objective.step(state, iteration)
        if options.device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def _problem(
    device: str, width: int, real_batch: int, *, outer_loops: int, inner_loops: int,
    training: int, pool: int, ipc: int, classes: int, image_size: int, outlier_ipc: int,
) -> tuple[GradientMatching, State]:  # fmt: skip
    """The package's step on images of noise, uint8 as they would be loaded."""
    draw = torch.Generator().manual_seed(0)
    experiment = Experiment(
        dataset="cifar10", data_root="data", method="dsa", outliers="oe", ipc=ipc,
        outlier_ipc=outlier_ipc, image_size=image_size, width=width, depth=3,
        real_batch=real_batch, outer_loops=outer_loops, inner_loops=inner_loops, device=device,
    )  # fmt: skip

    def stored(count: int) -> torch.Tensor:
        shape = (count, 3, image_size, image_size)
        return torch.randint(256, shape, dtype=torch.uint8, generator=draw)

    labels = torch.arange(training) % classes
    train = ImageSet("noise", stored(training), labels, tuple(map(str, range(classes))))
    data = InlierData("noise", train, train, (0.5,) * 3, (0.25,) * 3)
    groups = tuple(torch.arange(slot, pool, classes) for slot in range(classes))
    source = OutlierSource(stored(pool), groups, ())

    def synthetic(each: int) -> torch.Tensor:
        return torch.randn(classes * each, 3, image_size, image_size, generator=draw).to(device)

    objective = GradientMatching(Materials(experiment, data, source, torch.device(device)))
    return objective, State(synthetic(ipc), synthetic(outlier_ipc), None)


def _line_through(axis: str, values: list[int], seconds: list[float]) -> dict[str, Any]:
    """Least-squares line of seconds against the axis, image sizes as pixels."""
    x = torch.tensor([v**2 if axis == "image_size" else v for v in values], dtype=torch.float64)
    y = torch.tensor(seconds, dtype=torch.float64)
    design = torch.stack([torch.ones_like(x), x], 1)
    intercept, slope = torch.linalg.lstsq(design, y[:, None]).solution.flatten().tolist()
    residual = ((y - intercept - slope * x) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    return {
        "values": values, "seconds": [round(s, 4) for s in seconds],
        "intercept": round(intercept, 4), "slope": round(slope, 8),
        "r2": round(1 - float(residual), 4),
    }  # fmt: skip


def _draw(report: dict[str, Any], path: Path) -> None:
    """One panel for each axis: what was measured, and the line through it."""
    from trustdd.report import style

    labels = {"ipc": "images per class", "classes": "classes", "image_size": "pixels of an image",
              "outlier_ipc": "outliers per class slot"}  # fmt: skip
    with style.applied():
        least = min(axis["r2"] for axis in report["axes"].values())
        title = f"Seconds of an outer step against one size at a time (lines: R² ≥ {least:.3f})"
        figure = style.canvas(style.PAGE, 1.6, title)
        panels = style.panels(figure, len(report["axes"]), len(report["axes"]))
        for panel, (name, axis) in zip(panels, report["axes"].items(), strict=True):
            x = [v**2 if name == "image_size" else v for v in axis["values"]]
            ends = [0, max(x)]
            line = [axis["intercept"] + axis["slope"] * v for v in ends]
            panel.plot(ends, line, color=style.FAINT, linewidth=0.8)
            panel.plot(x, axis["seconds"], "o", color=style.INK, markersize=3.5)
            panel.set_xlabel(labels[name])
            panel.set_ylim(bottom=0)
        panels[0].set_ylabel("seconds a step")
        machine_ = report["machine"]
        style.finish(figure, f"width {report['width']}, {report['real_batch']} real images a class "
                             f"· {machine_['device']}")  # fmt: skip
        figure.savefig(path, metadata={"Date": None})


def _alt(report: dict[str, Any]) -> str:
    parts = [
        f"{name.replace('_', ' ')} {axis['values'][0]} to {axis['values'][-1]}: "
        f"{axis['seconds'][0]:.2f} to {axis['seconds'][-1]:.2f} s, R² {axis['r2']:.3f}"
        for name, axis in report["axes"].items()
    ]
    return "Four panels, seconds of a step against one size each. " + "; ".join(parts) + "."


def _published_peak(ipc: int, device: str) -> str:
    """Peak memory of the process, in MiB, over a step of two matching steps at an IPC."""
    objective, state = _problem(
        device, 128, 256, outer_loops=2, inner_loops=1, training=TRAINING_IMAGES,
        pool=POOL_IMAGES, ipc=ipc, classes=10, image_size=32, outlier_ipc=ipc,
    )  # fmt: skip
    before = kib("VmRSS")
    begun = time.perf_counter()
    objective.step(state, 0)
    found = {"before_mib": before // 1024, "peak_mib": kib("VmHWM") // 1024}
    if device != "cpu":
        found["gpu_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return json.dumps({**found, "seconds": round(time.perf_counter() - begun, 2)})


if __name__ == "__main__":
    main()
