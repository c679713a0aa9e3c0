"""What a job of the graph asks a cluster for: a GPU or none, memory, time. Its experiments decide.

All of it follows from two counts, the operations of the experiment and the numbers that one batch
keeps, so that the machine the graph is started from plays no part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trustdd.settings.defaults import dataset_defaults
from trustdd.settings.experiment import Experiment

#: images of the training splits, where the whole of one is trained on; folders count as the largest
TRAINING_IMAGES = {
    "digits": 1_300, "cifar10": 50_000, "cifar100": 50_000, "svhn": 73_000, "mnist": 60_000,
    "fashionmnist": 60_000, "imagenette": 9_500,
}  # fmt: skip
#: images of a test set
TEST_IMAGES = 10_000
#: passes of the network that a gradient costs, forwards and back
GRADIENT = 3
#: the same where the gradient itself is to be differentiated
SECOND_GRADIENT = 6

#: floating-point operations of a second, low enough for the slower machines of a cluster: of one
#: thread, and of a GPU
THREAD_SPEED, GPU_SPEED = 5e10, 1e12
#: operations of an image below which a network is too small to fill a GPU
GPU_NETWORK = 1e7
#: operations of a run below which a GPU is not worth waiting for
GPU_WORK = 1e12

#: minutes that a job has for its start, its data and what was not foreseen
START_MINUTES = 30
#: MB of a process with torch and its data, and of what CUDA adds
BASE_MEMORY, CUDA_MEMORY = 4_000, 4_000
#: tensors of a block's size that are kept for the way back
KEPT_TENSORS = 4


@dataclass(frozen=True)
class Needs:
    """What a job asks for.

    Attributes:
        gpu: 0 or 1.
        mem_mb: main memory in MB.
        runtime: the most minutes that it may take.
    """

    gpu: int
    mem_mb: int
    runtime: int


def needs(
    tasks: Iterable[tuple[str, Experiment]], *, gpus: bool, hours: float, threads: int = 1
) -> Needs:
    """Say what a job asks for that does stages of experiments, one after the other.

    Args:
        tasks: stages as `operations` knows them, each with an experiment; not empty.
        gpus: whether there are GPUs to ask for.
        hours: no job may take longer; one that was stopped goes on from its checkpoint.
        threads: of a process.
    """
    tasks = list(tasks)
    gpu = int(gpus and any(wants_gpu(e) for _, e in tasks))
    speed = GPU_SPEED if gpu else THREAD_SPEED * threads
    seconds = sum(operations(stage, e) for stage, e in tasks) / speed
    memory = BASE_MEMORY + CUDA_MEMORY * gpu + max(batch_megabytes(e) for _, e in tasks)
    return Needs(gpu, round(memory), int(min(hours * 60, START_MINUTES + seconds / 60)))


def wants_gpu(experiment: Experiment) -> bool:
    """Tell whether a GPU is worth asking for: a network that fills it, and work that lasts."""
    if experiment.device != "auto":
        return experiment.device != "cpu"
    total = operations("distill", experiment) + operations("evaluate", experiment)
    return network_operations(experiment) >= GPU_NETWORK and total >= GPU_WORK


def work(experiments: Iterable[Experiment]) -> int:
    """Estimate, in billions of operations, what experiments cost: the longest job starts first."""
    return round(
        sum(operations(stage, e) for e in experiments for stage in ("distill", "evaluate")) / 1e9
    )


def operations(stage: str, experiment: Experiment) -> float:
    """Estimate the floating-point operations of one stage of an experiment.

    Args:
        stage: ``"distill"``, ``"experts"`` (those of one seed and outlier mode, all of them), or
            any other: students trained on the set and tested.
        experiment: its settings.
    """
    e = experiment
    classes = _classes(e)
    synthetic = classes * (e.ipc + e.outlier_ipc)
    parts = 1 if e.outliers == "none" else 2
    if stage == "experts":
        epochs = e.max_start_epoch + e.expert_epochs
        images: float = e.experts * epochs * training_images(e) * parts * GRADIENT
    elif stage == "distill" and e.selection == "full":
        images = 0
    elif stage == "distill":
        distilled = (e.selection == "distilled") + (
            e.outliers != "none" and e.outlier_selection == "distilled"
        )
        if not distilled:
            images = 0
        elif e.method == "mtt":
            seen = min(e.synthetic_batch or synthetic, synthetic) * parts
            images = e.iterations * e.student_steps * seen * SECOND_GRADIENT
        else:
            real = e.real_batch * GRADIENT + e.ipc * SECOND_GRADIENT
            matched = distilled * classes * real
            trained = e.inner_loops * synthetic * GRADIENT
            images = e.iterations * e.outer_loops * (matched + trained)
    else:
        trained = training_images(e) * parts if e.selection == "full" else synthetic
        students = {"course": 5, "transfer": 1 + len(e.networks)}.get(stage, 1)
        tested = TEST_IMAGES * (1 + len(e.ood))
        images = students * (e.training_epochs * trained * GRADIENT + tested)
    return images * network_operations(e)


def network_operations(experiment: Experiment) -> float:
    """Count the operations of the ConvNet's convolutions on one image, forwards."""
    side, total = experiment.image_size, 0
    channels, width = dataset_defaults(experiment.dataset).channels, experiment.width
    for _ in range(experiment.depth):
        total += 2 * 9 * channels * width * side * side
        channels, side = width, side // 2
    return float(total)


def batch_megabytes(experiment: Experiment) -> float:
    """Estimate what one batch of real images keeps for its way back, in MB."""
    side, numbers = experiment.image_size, 0
    for _ in range(experiment.depth):
        numbers += experiment.width * side * side
        side //= 2
    batch = max(experiment.real_batch, experiment.training_batch, experiment.expert_batch)
    return 4 * KEPT_TENSORS * numbers * batch / 1e6


def training_images(experiment: Experiment) -> int:
    """How many images the training split has, about."""
    return TRAINING_IMAGES.get(experiment.dataset, max(TRAINING_IMAGES.values()))


def _classes(experiment: Experiment) -> int:
    # of a folder's classes nothing is known before it is read
    return dataset_defaults(experiment.dataset).classes or 10
