"""Two states of the passes against each other: are the bytes the same, and the speed?

    python benchmarks/against.py HEAD~1                # the working tree against a commit
    python benchmarks/against.py main --random 60 --turns 9

For whoever changes the compiled passes (or PyTorch's, with TRUSTDD_NATIVE=0). Each state has a
process of its own. First both take the same batches through networks of random sizes (forward,
back, and along a direction, in both precisions, on one thread and several), and their results are
compared by hash. Then they take turns on fixed sizes; each turn's time is the CPU's own, the least
of a few calls, and the ratio is taken within a turn. Shown are its median and range; a ratio above
1 means that the working tree is slower.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: what is timed: channels, size, width, depth, classes, images
TIMED = {
    "digits": (1, 16, 32, 2, 10, 64),
    "cifar10": (3, 32, 128, 3, 10, 128),
    "imagenette": (3, 128, 64, 5, 10, 4),
}
#: what is done with a batch
DEEDS = ("outputs", "gradients", "bf16", "products")
#: of a turn, in seconds
TURN = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", help="a commit to compare the working tree with")
    parser.add_argument("--random", type=int, default=40, help="networks of random sizes")
    parser.add_argument("--turns", type=int, default=7, help="0: compare only")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", options.revision, "trustdd"],
            cwd=root,
            capture_output=True,
            check=True,
        )
        subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
        before, after = _State(Path(folder)), _State(root)
        differ = _compare(before, after, options)
        if options.turns:
            _race(before, after, options.turns)
        for state in (before, after):
            state.close()
    sys.exit(1 if differ else 0)


def _compare(before: _State, after: _State, options: argparse.Namespace) -> int:
    draw, differ = random.Random(options.seed), 0
    for i in range(options.random):
        problem = {
            "sizes": _sizes(draw), "threads": draw.choice([1, 1, 2, 3]), "seed": i,
            "deeds": [d for d in DEEDS if draw.random() < 0.7] or ["gradients"],
        }  # fmt: skip
        found = [state.ask("hash", problem) for state in (before, after)]
        for deed in problem["deeds"]:
            if found[0][deed] != found[1][deed]:
                differ += 1
                print(f"not the same bytes: {deed} of {problem}")
    print(f"{options.random} networks of random sizes: {differ} results of other bytes")
    return differ


def _sizes(draw: random.Random) -> tuple[int, ...]:
    """Channels, size, width, depth, classes and images of a network."""
    size = draw.choice([8, 11, 15, 16, 17, 23, 28, 30, 32, 33, 48])
    side = size + 4 if size == 28 else size
    depth = draw.randint(1, min(4, side.bit_length() - 1))
    width = draw.choice([16, 32, 48, 64, 96, 128, 24])
    return draw.choice([1, 2, 3, 4]), size, width, depth, draw.randint(2, 12), draw.randint(1, 19)


def _race(before: _State, after: _State, turns: int) -> None:
    print(f"{'':12}{'':10}  before, ms   ratio   from … to")
    for name, sizes in TIMED.items():
        for deed in DEEDS:
            problem = {"sizes": sizes, "threads": 1, "seed": 0, "deeds": [deed]}
            pairs = []
            for turn in range(turns + 1):
                states = (before, after) if turn % 2 else (after, before)
                seconds = {state: state.ask("time", problem) for state in states}
                pairs.append((seconds[before], seconds[after]))
            pairs = pairs[1:]  # the first turn warms up
            ratios = [b / a for a, b in pairs]
            print(
                f"{name:12}{deed:10}  {1e3 * min(a for a, _ in pairs):10.2f}"
                f"{statistics.median(ratios):8.3f}   {min(ratios):.3f} … {max(ratios):.3f}"
            )


class _State:
    """A process that has one state of the package."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        assert Path(self.ask("where", {})).is_relative_to(root)

    def ask(self, what: str, problem: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, problem]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _serve() -> None:
    """Answer a `_State`'s questions until it hangs up."""
    import torch

    import trustdd
    from trustdd.networks.architectures import build
    from trustdd.networks.memory import keep_freed_memory
    from trustdd.networks.passes import Passes, SoftTargets

    keep_freed_memory()

    def work(problem: dict[str, Any]) -> dict[str, Any]:
        channels, size, width, depth, classes, count = problem["sizes"]
        draw = torch.Generator().manual_seed(problem["seed"])
        network = build("convnet", channels, classes, size, width, depth, draw)
        parameters = [p.detach() for p in network.parameters()]
        for p in parameters:
            p += 0.1 * torch.randn(p.shape, generator=draw)
        images = torch.randn(count, channels, size, size, generator=draw)
        loss = SoftTargets.of(torch.randint(classes, (count,), generator=draw), classes)
        direction = [torch.randn(p.shape, generator=draw) for p in parameters]
        direction[-1] = None  # type: ignore[call-overload]
        passes, low = Passes(network), Passes(network, "bf16")
        torch.set_num_threads(problem["threads"])
        return {
            "outputs": lambda: passes.outputs(parameters, images),
            "gradients": lambda: passes.gradients(parameters, images, loss),
            "bf16": lambda: low.gradients(parameters, images, loss),
            "products": lambda: passes.products(parameters, images, loss, direction),
        }

    def hashes(problem: dict[str, Any]) -> dict[str, str]:
        known = work(problem)
        return {deed: _hash(known[deed]()) for deed in problem["deeds"]}

    def seconds(problem: dict[str, Any]) -> float:
        (deed,) = problem["deeds"]
        call, spent = work(problem)[deed], []
        call()
        until = time.perf_counter() + TURN
        while len(spent) < 3 or time.perf_counter() < until:
            begun = time.process_time()
            call()
            spent.append(time.process_time() - begun)
        return min(spent)

    answers = {"hash": hashes, "time": seconds, "where": lambda _: trustdd.__file__}
    for line in sys.stdin:
        what, problem = json.loads(line)
        print(json.dumps(answers[what](problem)), flush=True)


def _hash(results: Any) -> str:
    """Of all tensors in nested tuples and lists."""
    if isinstance(results, list | tuple):
        return hashlib.sha256("".join(map(_hash, results)).encode()).hexdigest()
    return hashlib.sha256(results.contiguous().numpy().tobytes()).hexdigest()


if __name__ == "__main__":
    _serve() if sys.argv[1:] == ["--serve"] else main()
