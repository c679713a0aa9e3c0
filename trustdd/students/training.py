"""Training students, and whatever else an experiment trains, as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trustdd.data.feeding import as_fed
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.networks import architectures
from trustdd.networks.convnet import ConvNet
from trustdd.networks.process import prepare_process
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.students.fitting import fit, fit_together
from trustdd.students.recipe import student_recipe

if TYPE_CHECKING:
    from trustdd.data.distilled_set import DistilledSet


def resolve_device(name: str) -> torch.device:
    """Turn ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"`` into a device; nothing else changes.

    Raises:
        ValueError: a GPU is asked for that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput(f"device '{name}'; this machine offers cpu only")
    number = int(name.partition(":")[2] or 0)
    if name.startswith("cuda") and number >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise BadInput(f"device '{name}'; this machine offers cpu, and cuda:0 to cuda:{last}")
    return torch.device(name)


def build_network(
    experiment: Experiment, channels: int, classes: int, *purpose: str | int, name: str = "convnet"
) -> nn.Module:
    """A fresh network of the experiment's size, its weights drawn for a named purpose."""
    return architectures.build(
        name,
        channels=channels,
        classes=classes,
        image_size=experiment.image_size,
        width=experiment.width,
        depth=experiment.depth,
        generator=stream(experiment.seed, *purpose),
    )


def train_student(
    distilled: DistilledSet,
    experiment: Experiment,
    network: str = "convnet",
    progress: bool = False,
    student: int = 0,
) -> nn.Module:
    """Train a student on a distilled set as the experiment says.

    SGD with momentum and weight decay, ×0.1 on the learning rate after half of the epochs;
    with trajectory matching's learned student learning rate where the set has one. The last
    epoch's network is returned, never the best on test data.

    Args:
        distilled: the set; its outliers, if any, enter by ``λ · uniform-CE``. One that was
            normalised by other statistics than the experiment's data is normalised anew, see
            `trustdd.data.feeding.as_fed`.
        experiment: the settings (`training_*`, `outlier_weight`, `augmentation`, `seed`).
        network: ``"convnet"`` or another name of ``networks.NETWORKS``.
        progress: show a bar.
        student: which of the set's students; each has weights and draws of its own.

    Returns:
        The trained network in eval mode, on the experiment's device.

    Raises:
        ValueError: unknown network, a device that is not there, images of another shape than the
            experiment's, or outliers that it gives no weight.
    """
    prepare_process()
    device = resolve_device(experiment.device)
    distilled = as_fed(distilled, experiment)
    return _train(
        experiment,
        network,
        (distilled.images.to(device), distilled.labels.to(device)),
        None if distilled.outliers is None else distilled.outliers.to(device),
        channels=distilled.images.shape[1],
        classes=distilled.classes,
        student_lr=distilled.student_lr,
        student=student,
        bar=tqdm(total=experiment.training_epochs, desc="student", disable=not progress),
    )


def train_students(
    distilled: Sequence[DistilledSet],
    experiment: Experiment,
    progress: bool = False,
    student: int = 0,
) -> list[nn.Module]:
    """Train a ConvNet on each of several sets, from the same weights, as `train_student` does.

    On a GPU, sets of one size and learning rate are trained on at once; the students are those of
    `train_student` but for rounding.

    Args:
        distilled: the sets.
        experiment: the settings.
        progress: show a bar.
        student: which of each set's students, as for `train_student`.

    Returns:
        The trained networks in eval mode, in the sets' order.
    """
    prepare_process()
    device = resolve_device(experiment.device)
    distilled = [as_fed(own, experiment) for own in distilled]
    outliers = [s.outliers.to(device) for s in distilled if s.outliers is not None]
    alike = {(s.images.shape, s.labels.shape, None if s.outliers is None else s.outliers.shape,
              s.student_lr) for s in distilled}  # fmt: skip
    if device.type != "cuda" or len(distilled) < 2 or len(alike) > 1:
        return [
            train_student(own, experiment, progress=progress, student=student) for own in distilled
        ]
    return _train_together(distilled, outliers or None, experiment, device, progress, student)


def _train_together(
    distilled: Sequence[DistilledSet],
    outliers: list[Tensor] | None,
    experiment: Experiment,
    device: torch.device,
    progress: bool,
    student: int = 0,
) -> list[nn.Module]:
    channels, classes = distilled[0].images.shape[1], distilled[0].classes
    students = []
    for _ in distilled:
        network = build_network(
            experiment, channels, classes, *_purpose("student", "convnet", student)
        ).to(device)
        assert isinstance(network, ConvNet)
        students.append(network)
    with tqdm(total=experiment.training_epochs, desc="students", disable=not progress) as bar:
        fit_together(
            students,
            [own.images.to(device) for own in distilled],
            [own.labels.to(device) for own in distilled],
            outliers,
            student_recipe(experiment, distilled[0].student_lr),
            [_draws(experiment, "convnet", student) for _ in distilled],
            progress=bar,
        )
    return [network.eval() for network in students]


def train_on_real(
    experiment: Experiment,
    data: InlierData,
    source: OutlierSource | None,
    network: str = "convnet",
    progress: bool = False,
    student: int = 0,
) -> nn.Module:
    """Train a network on the whole training set, the ceiling a distilled set is measured by.

    Images stay uint8 until their batch; outliers are drawn anew for every step, as many as
    there are InD images in it.

    Args:
        experiment: the settings, as for `train_student`.
        data: the InD data.
        source: where outliers come from, or ``None``.
        network: name of the architecture.
        progress: show a bar.
        student: which one, as for `train_student`.

    Returns:
        The trained network in eval mode.
    """
    prepare_process()
    device = resolve_device(experiment.device)
    assert data.train.labels is not None
    return _train(
        experiment,
        network,
        (data.train.images.to(device), data.train.labels.to(device)),
        None if source is None else source.mixed,
        channels=data.channels,
        classes=len(data.classes),
        normalise=data.normalise,
        student=student,
        bar=tqdm(total=experiment.training_epochs, desc="full data", disable=not progress),
    )


def _train(
    experiment: Experiment,
    network: str,
    known: tuple[Tensor, Tensor],
    outliers: Tensor | Callable[[int, torch.Generator], Tensor] | None,
    *,
    channels: int,
    classes: int,
    bar: tqdm,
    student: int,
    student_lr: float | None = None,
    normalise: Callable[[Tensor], Tensor] | None = None,
) -> nn.Module:
    """Train a fresh network as an experiment's students are, on whatever images and outliers."""
    images, labels = known
    purpose = _purpose("student", network, student)
    trained = build_network(experiment, channels, classes, *purpose, name=network)
    trained.to(images.device)
    with bar:
        fit(
            trained,
            images,
            labels,
            outliers,
            student_recipe(experiment, student_lr),
            _draws(experiment, network, student),
            normalise=normalise,
            progress=bar,
        )
    return trained.eval()


def _draws(experiment: Experiment, network: str, student: int) -> torch.Generator:
    return stream(experiment.seed, *_purpose("student training", network, student))


def _purpose(what: str, network: str, student: int) -> tuple[str | int, ...]:
    """Name a student's draws; those of the first carry no number."""
    return (what, network, student) if student else (what, network)
