"""How many times as fast as the plain way: every part of the method, both ways in one run.

    python benchmarks/speed.py                       # both settings, minutes on two cores
    python benchmarks/speed.py --settings digits --repeats 9
    python benchmarks/speed.py --device cuda

The plain way is `benchmarks/plain.py`. Each way has a process of its own, set up as its users would
set it up (the package keeps freed memory, see `networks.memory`; a plain program does not know of
that). They take turns, repeat by repeat, on the same numbers, and the ratio is taken within each
repeat; shown are its median and range. Before that, the first results are compared: distance and
gradients must agree. Where bfloat16 plays a part it takes its turn as well, and the cosine of its
gradient with the plain one is shown. Peak memory is measured in further processes, above what the
process held before.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import plain
import torch
from torch import Tensor

from trustdd import networks
from trustdd.data import augmentation
from trustdd.distillation.adjoint import unflatten_parameters
from trustdd.distillation.gradient_matching import GroupedMatching
from trustdd.distillation.trajectory_matching import trajectory_loss
from trustdd.networks.memory import keep_freed_memory
from trustdd.networks.native.binding import counted
from trustdd.networks.passes import logits_and_features
from trustdd.settings.defaults import DSA_STRATEGY, DSA_STRATEGY_DIGITS
from trustdd.settings.experiment import PRECISIONS
from trustdd.settings.randomness import stream
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit
from trustdd.students.recipe import Recipe

Work = Callable[[], Any]
#: who takes turns; `plain` is what the others are compared with
WAYS = ("plain", "ours", "bf16")
#: what the time is split into → parts of the names that PyTorch's profiler gives
KINDS = {
    "convolution": ("conv",),
    "norm, ReLU and pooling": (
        "group_norm", "threshold", "clamp_min", "avg_pool", "relu", "linear", "addmm", "aten::mm",
    ),
}  # fmt: skip
#: the compiled passes' name, and which of their seconds are which of those
COMPILED = "trustdd::convnet"
COMPILED_KINDS = {
    "products": "convolution", "transforms of tiles": "convolution",
    "norm, ReLU and pooling": "norm, ReLU and pooling",
}  # fmt: skip
STATUS = Path("/proc/self/status")
#: what a user starts → the program
STARTING = {
    "import trustdd": ["-c", "import trustdd"],
    "from trustdd import Experiment, load_profile": [
        "-c", "from trustdd import Experiment, load_profile",
    ],
    "from trustdd import distill, train_student, detect": [
        "-c", "from trustdd import distill, train_student, detect",
    ],
    "trustdd --help": ["-m", "trustdd", "--help"],
    "trustdd list": ["-m", "trustdd", "list"],
}  # fmt: skip


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
        self.matching = {p: GroupedMatching(self.ours, "layerwise", p) for p in PRECISIONS}
        self.descents = {
            (momentum, p): Descent(self.ours, self._recipe(1, momentum, p))
            for momentum in (0.0, 0.9)
            for p in PRECISIONS
        }
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

    def matching_ours(self, labelled: bool, precision: str = "float32") -> tuple[Tensor, ...]:
        synthetic = (self.synthetic if labelled else self.outliers).detach().requires_grad_()
        seen = [augment(own) for augment, own in zip(self.augments, synthetic, strict=True)]
        real = [augment(own) for augment, own in zip(self.augments, self.real, strict=True)]
        total = self.matching[precision](real, torch.cat(seen), self._targets(labelled))
        return total.detach(), torch.autograd.grad(total, synthetic)[0]

    def _targets(self, labelled: bool) -> Tensor:
        """What each class's images, or each slot's outliers, are to be taken for."""
        one_hot = torch.eye(self.setting.classes, device=self.device)
        return one_hot if labelled else one_hot.mean(1, keepdim=True).expand_as(one_hot)

    def against_float64(self, labelled: bool) -> dict[str, float]:
        """How far either way's gradient is from the plain way's in double precision.

        Of the synthetic images as augmented; relative, in the Euclidean norm.
        """
        s = self.setting
        labels = list(range(s.classes)) if labelled else None
        synthetic = self.synthetic if labelled else self.outliers
        with torch.no_grad():
            real = [a(own) for a, own in zip(self.augments, self.real, strict=True)]
            seen = torch.stack([a(own) for a, own in zip(self.augments, synthetic, strict=True)])
        as_it_is = [lambda images: images] * s.classes
        _, rough = plain.matching_step(self.plain, real, seen, labels, as_it_is)
        doubled = [own.double() for own in real]
        _, exact = plain.matching_step(
            copy.deepcopy(self.plain).double(), doubled, seen.double(), labels, as_it_is
        )
        leaf = seen.detach().requires_grad_()
        total = self.matching["float32"](real, leaf.flatten(0, 1), self._targets(labelled))
        (ours,) = torch.autograd.grad(total, leaf)
        return {
            way: float((found.double() - exact).norm() / exact.norm())
            for way, found in (("plain", rough), ("ours", ours))
        }

    def train_plain(self, epochs: int, momentum: float, real: bool = False) -> tuple[Tensor, ...]:
        self.reset()
        images, labels, outliers, augment = self._training(real)
        plain.train(self.plain, images, labels, outliers, epochs, augment, momentum=momentum)
        return ()

    def train_ours(
        self, epochs: int, momentum: float, real: bool = False, precision: str = "float32"
    ) -> tuple[Tensor, ...]:
        self.reset()
        images, labels, outliers, _ = self._training(real)
        fit(
            self.ours, images, labels, outliers, self._recipe(epochs, momentum, precision, real),
            self.draw, descent=self.descents[momentum, precision],
        )  # fmt: skip
        return ()

    def _recipe(self, epochs: int, momentum: float, precision: str, real: bool = False) -> Recipe:
        return Recipe(
            epochs=epochs, lr=0.01, momentum=momentum, weight_decay=5e-4, batch=256,
            outlier_weight=0.5, augmentation=None if real else self.setting.strategy,
            precision=precision,
        )  # fmt: skip

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
        from trustdd.students.detection import BATCH

        self.reset()
        logits = [logits_and_features(self.ours, batch)[0] for batch in self.tested.split(BATCH)]
        return (torch.cat(logits).softmax(1).max(1).values,)

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

    def parts(self) -> dict[str, dict[str, Work]]:
        """Name → the plain way, ours, and ours in bfloat16 where there is one."""
        s = self.setting

        def ways(name: str, *values: Any, low: bool = True) -> dict[str, Work]:
            ours = getattr(self, f"{name}_ours")
            found = {"plain": partial(getattr(self, f"{name}_plain"), *values),
                     "ours": partial(ours, *values)}  # fmt: skip
            return {**found, "bf16": partial(ours, *values, precision="bf16")} if low else found

        return {
            "matching step, InD images": ways("matching", True),
            "matching step, outliers": ways("matching", False),
            f"inner loop, {s.inner_epochs} epochs": ways("train", s.inner_epochs, 0.0),
            f"student, {s.student_epochs} epochs": ways("train", s.student_epochs, 0.9),
            f"detection, {s.tested:,} images": ways("detect", low=False),
            f"expert, {s.expert_images:,} images": ways("train", 1, 0.0, True),
            f"trajectory step, {s.student_steps} student steps": ways("trajectory", low=False),
        }


def main() -> None:
    options = _options().parse_args()
    if options.measure:
        setting, part, way = options.measure
        _ready(way, options)
        print(_peak_mib(Problem(SETTINGS[setting], torch.device("cpu")).parts()[part][way]))
        return
    on_cpu = not options.device.startswith("cuda")
    report: dict[str, Any] = {"machine": machine(options), "settings": {}}
    if on_cpu:
        report["starting"] = {name: _starting(command) for name, command in STARTING.items()}
    for name in options.settings:
        workers = {way: _Worker(name, way, options) for way in WAYS}
        rows = []
        for part, ways in workers["plain"].ask("parts"):
            taking = {way: workers[way] for way in ways}
            rows.append(_compare(part, taking, options.repeats))
            if on_cpu:
                rows[-1]["split"] = {w: worker.ask("split", part) for w, worker in taking.items()}
                if part.startswith("matching"):
                    rows[-1]["against_float64"] = workers["ours"].ask("float64", part)
                rows[-1]["peak_mib"] = {way: _peak_apart(name, part, way, options) for way in ways}
            print(f"{name:8} {_line(rows[-1])}", flush=True)
        for worker in workers.values():
            worker.close()
        report["settings"][name] = {"parts": rows}
        outer = [row for row in rows if row["part"].startswith("matching")]
        for way in ("ours", "bf16"):
            seconds = [sum(r["seconds"][w] for r in outer) for w in ("plain", way)]
            report["settings"][name][f"outer_step_{way}"] = round(seconds[0] / seconds[1], 2)
            print(f"{name:8} outer step, {way}: {seconds[0] / seconds[1]:.2f} times as fast")
        # after each setting, so that a stop loses no more than one
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(options.output)


class _Worker:
    """A process that takes one way's turns."""

    def __init__(self, setting: str, way: str, options: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, setting, way, options), daemon=True
        )
        self.process.start()
        theirs.close()

    def ask(self, what: str, part: str = "") -> Any:
        """Have something done: ``"parts"``, ``"first"``, ``"time"``, ``"split"``, ``"float64"``."""
        self.line.send((what, part))
        return self.line.recv()

    def close(self) -> None:
        self.line.close()
        self.process.join()


def _ready(way: str, options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    if way != "plain":
        keep_freed_memory()


def _serve(line: Connection, setting: str, way: str, options: argparse.Namespace) -> None:
    """Answer a `_Worker`'s questions until it hangs up."""
    _ready(way, options)
    problem = Problem(SETTINGS[setting], torch.device(options.device))
    parts = problem.parts()
    while True:
        try:
            what, part = line.recv()
        except EOFError:
            return
        if what == "parts":
            line.send([(name, list(ways)) for name, ways in parts.items()])
        elif what == "first":
            line.send([tensor.cpu().numpy() for tensor in parts[part][way]()])
        elif what == "time":
            line.send(_seconds(parts[part][way], options.device))
        elif what == "split":
            line.send(_split(parts[part][way]))
        else:
            line.send(problem.against_float64("InD" in part))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("_build/benchmarks/speed.json"))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    return parser


def _compare(part: str, workers: dict[str, _Worker], repeats: int) -> dict[str, Any]:
    """Time all ways in turns, after one call of each to warm up and to compare."""
    first = {
        way: [torch.from_numpy(array) for array in worker.ask("first", part)]
        for way, worker in workers.items()
    }
    errors = [
        float((a - b).norm() / a.norm().clamp_min(1e-12))
        for a, b in zip(first["plain"], first["ours"], strict=True)
    ]
    times: dict[str, list[float]] = {way: [] for way in workers}
    for _ in range(repeats):
        for way, worker in workers.items():
            times[way].append(worker.ask("time", part))
    row: dict[str, Any] = {
        "part": part,
        "seconds": {way: round(statistics.median(t), 4) for way, t in times.items()},
        "ratio": {},
        # the first is a distance, the others gradients
        "relative_error": [errors[0], max(errors[1:], default=errors[0])] if errors else None,
    }
    for way in list(workers)[1:]:
        ratios = [a / b for a, b in zip(times["plain"], times[way], strict=True)]
        found = (statistics.median(ratios), min(ratios), max(ratios))
        row["ratio"][way] = [round(value, 2) for value in found]
    if "bf16" in workers and first["bf16"]:
        # of the gradient: the last of what a matching step returns
        exact, low = first["plain"][-1].flatten(), first["bf16"][-1].flatten()
        row["cosine"] = round(float(torch.cosine_similarity(exact, low, dim=0)), 5)
    return row


def _split(work: Work) -> dict[str, float]:
    """Shares of the time that operations of one kind take, of one call."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled, counted() as inside:
        work()
    spent = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in profiled.key_averages():
        if event.key == COMPILED:
            # by their threads' own counts; what is not counted is all else
            threads = torch.get_num_threads()
            for kind, seconds in inside.items():
                spent[COMPILED_KINDS[kind]] += seconds * 1e6 / threads
            rest = event.self_cpu_time_total - sum(inside.values()) * 1e6 / threads
            spent["all else"] += max(rest, 0.0)
            continue
        kinds = [kind for kind, names in KINDS.items() if any(n in event.key for n in names)]
        spent[kinds[0] if kinds else "all else"] += event.self_cpu_time_total
    return {kind: round(time / sum(spent.values()), 3) for kind, time in spent.items()}


def _peak_apart(setting: str, part: str, way: str, options: argparse.Namespace) -> int | None:
    """Peak memory of one way of one part, in a process of its own, in MiB."""
    command = [sys.executable, __file__, "--threads", str(options.threads), "--measure"]
    finished = subprocess.run([*command, setting, part, way], capture_output=True, text=True)
    return int(finished.stdout) if finished.returncode == 0 and finished.stdout.strip() else None


def _peak_mib(work: Work) -> str:
    """Resident memory that a call adds at its peak; an empty line where that cannot be read."""
    if not STATUS.is_file():
        return ""
    # 5: the peak starts anew from what is resident now
    Path("/proc/self/clear_refs").write_text("5")
    before = kib("VmRSS")
    work()
    return str((kib("VmHWM") - before) // 1024)


def kib(name: str) -> int:
    """A line of this process's status, as Linux keeps it: `VmRSS`, or `VmHWM` at its peak."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def _starting(command: list[str]) -> float:
    """The least wall time of a few starts of a command, in seconds."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - begun)
    return round(min(times), 3)


def _seconds(work: Callable[[], Any], device: str) -> float:
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What it ran on, and when."""
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
    words = [f"plain {row['seconds']['plain']:.3f} s"]
    for way, (middle, least, most) in row["ratio"].items():
        seconds = row["seconds"][way]
        words.append(f"{way} {seconds:.3f} s, {middle:.2f} times as fast ({least:.2f}–{most:.2f})")
    if row["relative_error"] is not None:
        first, last = row["relative_error"]
        words.append(f"relative error {first:.1e} and {last:.1e}")
    if "cosine" in row:
        words.append(f"bf16 cosine {row['cosine']:.4f}")
    if "peak_mib" in row:
        words.append("peak MiB " + "/".join(str(v) for v in row["peak_mib"].values()))
    return f"{row['part']}: {'; '.join(words)}"


if __name__ == "__main__":
    main()
