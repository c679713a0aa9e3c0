"""What an experiment asks of a machine: the memory it needs at the very least.

Sizes are of what has to be there at once whatever way it is computed, so nothing is refused that
could have worked; much that passes may still be slow, or too large in the end.
"""

from __future__ import annotations

import os
from pathlib import Path

from trustdd.settings.defaults import METHODS, dataset_defaults
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment

FLOAT = 4
#: training and test images of the named datasets, which are held as bytes
IMAGES = {
    "digits": 1_797, "cifar10": 60_000, "cifar100": 60_000, "svhn": 99_289, "mnist": 70_000,
    "fashionmnist": 70_000, "imagenette": 13_394,
}  # fmt: skip
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
#: where Linux says how much memory a container may use
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)  # fmt: skip


def memory_parts(experiment: Experiment) -> dict[str, int]:
    """Return what takes memory, in words that name the settings → bytes at least."""
    e, facts = experiment, dataset_defaults(experiment.dataset)
    classes, pixels = facts.classes or 2, facts.channels * e.image_size**2
    weights = network_weights(e)
    found = {
        f"the images of {e.dataset} at image_size {e.image_size}":
            IMAGES.get(e.dataset, e.ipc * classes) * pixels,
        # the weights, their gradients, and the activations of one image with theirs
        f"a network of width {e.width} and depth {e.depth} at image_size {e.image_size}":
            2 * FLOAT * (weights + e.width * e.image_size**2),
    }  # fmt: skip
    if e.selection != "full":
        # a distilled image has a gradient and a momentum
        held = 3 if e.selection == "distilled" else 1
        found[f"synthetic images of ipc {e.ipc}"] = held * FLOAT * e.ipc * classes * pixels
        held = 3 if e.outlier_selection == "distilled" else 1
        found[f"synthetic outliers of outlier_ipc {e.outlier_ipc}"] = (
            held * FLOAT * e.outlier_ipc * classes * pixels
        )
    if e.selection == "distilled" and METHODS[e.method].objective.startswith("trajectory"):
        found[f"an expert of {e.expert_length} epochs"] = FLOAT * weights * (e.expert_length + 1)
        found[f"a student's {e.student_steps} student_steps"] = FLOAT * weights * e.student_steps
    return found


def network_weights(experiment: Experiment) -> int:
    """Return how many parameters a `ConvNet` of an experiment's size has."""
    facts, width, depth = dataset_defaults(experiment.dataset), experiment.width, experiment.depth
    side = (32 if experiment.image_size == 28 else experiment.image_size) >> depth
    blocks = 9 * width * (facts.channels + (depth - 1) * width) + 3 * width * depth
    return blocks + (width * side * side + 1) * (facts.classes or 2)


def machine_memory() -> int:
    """Return this machine's memory in bytes, or what a container may use of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in CONTAINER_LIMITS:
        try:
            memory = min(memory, int(path.read_text()))
        except (OSError, ValueError):  # no such limit, or "max"
            continue
    return memory


def check_memory(experiment: Experiment, memory: int | None = None) -> None:
    """Refuse an experiment that cannot fit into memory.

    Args:
        experiment: the settings.
        memory: in bytes; by default the machine's.

    Raises:
        ValueError: it needs more; what takes the most is named with its settings.
    """
    parts = memory_parts(experiment)
    memory = machine_memory() if memory is None else memory
    needed = sum(parts.values())
    if needed > memory:
        largest = max(parts, key=lambda name: parts[name])
        raise BadInput(
            f"{experiment.dataset} at these settings needs {in_units(needed)} of memory at least, "
            f"{in_units(parts[largest])} for {largest}; this machine has {in_units(memory)}"
        )


def in_units(size: int) -> str:
    """Return a size in words: ``3.2 GB``."""
    power = 0
    while size >= 1000 ** (power + 1) and power < len(UNITS) - 1:
        power += 1
    value = size / 1000**power
    return f"{value:.3g} {UNITS[power]}" if value < 1000 else f"{value:,.0f} {UNITS[power]}"
