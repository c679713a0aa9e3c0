"""What experiments would take, judged by the benchmark at CIFAR-10, IPC 10, width 128.

Everything that passes through the network counts by its images: of a matching step the real ones,
which are its bulk, and of an epoch or a student step the synthetic ones. Distribution matching
takes real images forwards only, as detection does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trustdd.settings.defaults import METHODS, dataset_defaults
from trustdd.settings.demand import IMAGES
from trustdd.settings.experiment import Experiment

#: the benchmark's setting, and how much of everything its seconds are for
BENCHMARK = "cifar10"
SYNTHETIC_IMAGES, STUDENT_STEPS, STUDENT_EPOCHS, EXPERT_IMAGES = 100, 3, 2, 1024
TESTED_IMAGES = 1024
#: how many times as long as an image's way through the network, by compiled passes, the gradient of
#: a synthetic image's embedding takes, by PyTorch's operations
EMBEDDING_GRADIENT = 7
#: of a dataset that is not known by name
TRAINING_IMAGES = 50_000

#: ``settings`` of a report of ``benchmarks/speed.py``
Speeds = Mapping[str, Any]


def expected_hours(experiment: Experiment, speeds: Speeds) -> float | None:
    """Return the hours that an experiment takes; the benchmark says so of its own setting alone.

    The experts of trajectory matching are counted in full, though experiments may share them.

    Args:
        experiment: the settings.
        speeds: ``settings`` of a report of ``benchmarks/speed.py``.

    Returns:
        Hours; ``None`` where the benchmark has not this setting: another dataset, width or size.
    """
    facts = dataset_defaults(BENCHMARK)
    same = (experiment.dataset, experiment.width, experiment.image_size) == (
        BENCHMARK, facts.width, facts.image_size,
    )  # fmt: skip
    if not same or BENCHMARK not in speeds:
        return None
    return (_run_seconds(experiment, speeds) + expert_seconds(experiment, speeds)) / 3600


def estimated_hours(experiment: Experiment, speeds: Speeds, experts_alone: bool = False) -> float:
    """Return about how many hours an experiment takes, whatever its dataset and network.

    The benchmark's seconds are scaled by the multiplications that an image takes. That is rough:
    small networks take longer than that, since they keep no processor busy.

    Args:
        experiment: the settings.
        speeds: ``settings`` of a report of ``benchmarks/speed.py`` that has CIFAR-10's.
        experts_alone: count the training of the experts, and nothing else.
    """
    scale = multiplications(experiment) / multiplications(Experiment(dataset=BENCHMARK))
    seconds = expert_seconds(experiment, speeds)
    if not experts_alone:
        seconds += _run_seconds(experiment, speeds)
    return seconds * scale / 3600


def multiplications(experiment: Experiment) -> int:
    """Return the multiplications of an image's way through an experiment's ConvNet."""
    side = 32 if experiment.image_size == 28 else experiment.image_size
    channels, total = dataset_defaults(experiment.dataset).channels, 0
    for _ in range(experiment.depth):
        total += side * side * 9 * channels * experiment.width
        side, channels = side // 2, experiment.width
    return total


def expert_seconds(experiment: Experiment, speeds: Speeds) -> float:
    """Return the seconds that an experiment's experts take, if it has any."""
    if experiment.selection != "distilled" or not _by_trajectories(experiment):
        return 0.0
    epoch = _parts(speeds)["expert"] * _training_images(experiment) / EXPERT_IMAGES
    epochs = experiment.experts * experiment.expert_length
    return epochs * epoch * (1 + _beside(experiment))


def _run_seconds(experiment: Experiment, speeds: Speeds) -> float:
    parts, facts = _parts(speeds), dataset_defaults(experiment.dataset)
    beside = _beside(experiment)
    if experiment.selection == "full":
        epoch = parts["expert"] * _training_images(experiment) / EXPERT_IMAGES * (1 + beside)
        return epoch * experiment.training_epochs * experiment.students
    # the benchmark's epochs and student steps are of images and as many outliers
    classes = facts.classes or 10
    share = experiment.ipc * classes / SYNTHETIC_IMAGES * (1.0 if beside else 0.5)
    seconds = parts["student"] / STUDENT_EPOCHS * share * experiment.training_epochs
    seconds *= experiment.students
    if experiment.selection != "distilled":
        return seconds
    iterations = experiment.iterations
    if _by_trajectories(experiment):
        step = parts["trajectory step"] / STUDENT_STEPS * share
        return seconds + iterations * experiment.student_steps * step
    if METHODS[experiment.method].matched == "mean embedding":
        forward = parts["detection"] / TESTED_IMAGES
        passed = classes * (experiment.real_batch + EMBEDDING_GRADIENT * experiment.ipc)
        return seconds + iterations * passed * (1 + beside) * forward
    real = experiment.real_batch / dataset_defaults(BENCHMARK).real_batch * classes / 10
    matching = parts["matching step"] * real * (1 + beside)
    inner = parts["inner loop"] * share * experiment.inner_loops
    outer = experiment.outer_loops
    return seconds + iterations * (outer * matching + (outer - 1) * inner)


def _parts(speeds: Speeds) -> dict[str, float]:
    return {row["part"].split(",")[0]: row["seconds"]["ours"] for row in speeds[BENCHMARK]["parts"]}


def _by_trajectories(experiment: Experiment) -> bool:
    return METHODS[experiment.method].objective.startswith("trajectory")


def _beside(experiment: Experiment) -> bool:
    return experiment.outliers != "none"


def _training_images(experiment: Experiment) -> int:
    if experiment.dataset == BENCHMARK:
        return TRAINING_IMAGES
    return IMAGES.get(experiment.dataset, TRAINING_IMAGES)
