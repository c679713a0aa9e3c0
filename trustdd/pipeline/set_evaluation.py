"""What a set is measured by: students of it, and of what the same storage gives without a method.

Everything is an experiment with a run of its own, under one protocol: the set as it is, with its
own outliers, with outliers drawn at random; as many random images, with and without random
outliers; for DD-Ranking's scores also with hard labels, with and without augmentation, and a
network trained on the whole training set. Replicates are seeds: of a seed, students of all arms
begin with the same weights, and whatever is random is drawn anew. Runs are kept, and shared between
sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trustdd.data.companions import Teacher, hard_companion, keep, random_companion
from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.inliers import check_inliers
from trustdd.data.inputs import load_inputs, whitens
from trustdd.data.ood import check_ood
from trustdd.pipeline.arms import (
    HARD,
    OTHER,
    OWN,
    RANDOM,
    RANDOM_BOTH,
    RANDOM_OTHER,
    WITH_OWN,
    WITH_RANDOM,
    augmented,
)
from trustdd.pipeline.completion import complete
from trustdd.pipeline.machine import check_machine
from trustdd.pipeline.work import load_student
from trustdd.settings.defaults import dataset_defaults
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import OUTLIERS, Experiment
from trustdd.settings.given import OWN_SETTINGS
from trustdd.settings.validation import check_choice, check_integer
from trustdd.store.files import results_root
from trustdd.store.run import Run

#: epochs on the whole training set, for the accuracy that a set is to recover
REAL_EPOCHS = 30
#: the name under which runs of sets are stored
STORE = "sets"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a set is measured.

    Attributes:
        settings: fields of the experiment that are asked for, over the set's own.
        students: replicates of every arm: seeds.
        outliers: the mode of outliers drawn at random, ``"none"``, ``"oe"`` or ``"poe"``; by
            default that of the set's own, or POE.
        scores: measure what DD-Ranking's scores need, too.
        real_epochs: of the network on the whole training set.

    Raises:
        ValueError: fewer than one of them, or an unknown mode.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    students: int = 1
    outliers: str | None = None
    scores: bool = True
    real_epochs: int = REAL_EPOCHS

    def __post_init__(self) -> None:
        check_integer("students", self.students, 1)
        check_integer("real_epochs", self.real_epochs, 1)
        if self.outliers is not None:
            check_choice("outliers", self.outliers, tuple(OUTLIERS))


@dataclass(frozen=True)
class MeasuredSet:
    """A set's arms, with their runs.

    Attributes:
        distilled: the set.
        path: its file.
        arms: name → its runs, a seed each.
        real: the run on the whole training set; ``None`` where no scores are asked for.
        augmentations: what the students of the set, and of the arms beside it, are augmented by.
    """

    distilled: DistilledSet
    path: Path
    arms: Mapping[str, tuple[Run, ...]]
    real: Run | None
    augmentations: tuple[str | None, str | None]

    @property
    def name(self) -> str:
        """What the set is called: by who read it in, else its file."""
        return str((self.distilled.origin or {}).get("name") or self.path.stem)

    @property
    def other(self) -> str:
        """How the arms with the other augmentation are named."""
        return augmented(self.augmentations[1])


def measure(path: Path, protocol: Protocol, progress: bool = True) -> MeasuredSet:
    """Train and test all students that a set's measures need; what is stored is not made again.

    Args:
        path: the set's file.
        protocol: how.
        progress: show bars.

    Raises:
        ValueError: no distilled set, settings that cannot be, or data that is not there.
    """
    distilled = load_distilled(path)
    base = base_experiment(path, distilled, protocol)
    mode = protocol.outliers or (
        distilled.experiment.outliers if _has_outliers(distilled) else "poe"
    )
    beside = outlier_settings(distilled, mode)
    for experiment in (base, base.but(outlier_selection="random", **beside)):
        check_machine(experiment)
        check_inliers(experiment)
        check_ood(experiment)
    soft, other = distilled.labels.ndim == 2, other_augmentation(base)
    real = _real(base, protocol) if protocol.scores or soft else None
    if real is not None:
        complete(real, STORE, progress)
    randoms = _random_files(distilled, base, protocol, real if soft else None)
    arms: dict[str, list[Experiment]] = {OWN: _seeds(base, protocol)}
    if _has_outliers(distilled):
        own = base.but(outlier_selection="given", **outlier_settings(distilled, ""))
        arms[WITH_OWN] = _seeds(own, protocol)
    arms[RANDOM] = _seeds(base, protocol, randoms)
    if mode != "none":
        drawn = base.but(outlier_selection="random", **beside)
        arms[WITH_RANDOM] = _seeds(drawn, protocol)
        arms[RANDOM_BOTH] = _seeds(drawn, protocol, randoms)
    if protocol.scores:
        if soft:
            hard = keep(hard_companion(distilled), _folder(), f"{path.stem}-hard")
            arms[HARD] = _seeds(base.but(given=str(hard)), protocol)
        changed = base.but(augmentation=other)
        arms[OTHER.format(augmented(other))] = _seeds(changed, protocol)
        arms[RANDOM_OTHER.format(augmented(other))] = _seeds(changed, protocol, randoms)
    runs = {
        name: tuple(complete(e, STORE, progress) for e in wanted) for name, wanted in arms.items()
    }
    return MeasuredSet(
        distilled, path, runs, None if real is None else Run.of(real, STORE),
        (base.augmentation, other),
    )  # fmt: skip


def base_experiment(path: Path, distilled: DistilledSet, protocol: Protocol) -> Experiment:
    """The experiment of a set by itself, without outliers, as a protocol asks for it.

    Raises:
        ValueError: settings that cannot be, or that are no setting of a set that is given.
    """
    fixed = {"selection", "given", "given_sha256", "outliers", "outlier_selection", "outlier_ipc",
             "ipc", "dataset", "image_size", "zca", "students"}  # fmt: skip
    wrong = sorted(fixed & set(protocol.settings))
    if wrong:
        raise BadInput(f"{', '.join(wrong)} for a set that is given; expected other settings")
    return Experiment.from_dict({**protocol.settings, "selection": "given", "given": str(path)})


def outlier_settings(distilled: DistilledSet, mode: str) -> dict[str, Any]:
    """Settings of outliers beside a set: as many as its own, weighed as they are, if it has some.

    Args:
        distilled: the set.
        mode: of the outliers; the set's own where empty.
    """
    stored = distilled.experiment
    if distilled.outliers is None:
        return {"outliers": mode}
    mode = mode or stored.outliers
    found: dict[str, Any] = {
        "outliers": mode,
        "outlier_ipc": max(1, len(distilled.outliers) // distilled.classes),
        "outlier_weight": stored.outlier_weight,
    }
    if mode == stored.outliers == "poe" and stored.corruptions:
        found["corruptions"] = stored.corruptions
    if mode == stored.outliers == "oe" and stored.outlier_pool:
        found["outlier_pool"] = stored.outlier_pool
    return found


def other_augmentation(base: Experiment) -> str | None:
    """None for a set whose students are augmented; the data set's for one whose are not."""
    return None if base.augmentation else dataset_defaults(base.dataset).augmentation


def _has_outliers(distilled: DistilledSet) -> bool:
    return distilled.outliers is not None


def _folder() -> Path:
    return results_root() / STORE / "made"


def _seeds(
    experiment: Experiment, protocol: Protocol, files: list[Path] | None = None
) -> list[Experiment]:
    """An experiment at every seed, each with a given set of its own where there are files."""
    return [
        experiment.but(
            seed=experiment.seed + i, **({} if files is None else {"given": str(files[i])})
        )
        for i in range(protocol.students)
    ]


def _real(base: Experiment, protocol: Protocol) -> Experiment:
    """Training on the whole training set, of the network and under the test of a set's students."""
    whitened = {"method": "mtt", "zca": True} if whitens(base) else {}
    same = ("dataset", "image_size", "width", "depth", "augmentation", "precision", "seed", "ood",
            "ood_limit", "data_root", "device")  # fmt: skip
    return Experiment.from_dict(
        {
            **{name: getattr(base, name) for name in same}, **whitened,
            "selection": "full", "training_epochs": protocol.real_epochs,
        }
    )  # fmt: skip


def _random_files(
    distilled: DistilledSet, base: Experiment, protocol: Protocol, real: Experiment | None
) -> list[Path]:
    """A set of random images for each seed, stored; labelled by the network of `real`, if any."""
    data = load_inputs(base)
    teacher = None if real is None else _teacher(Run.of(real, STORE))
    whitened = {"method": "mtt", "zca": True} if whitens(base) else {}
    own = {name: getattr(base, name) for name in (*OWN_SETTINGS, "data_root")} | whitened
    found = []
    for seed in range(base.seed, base.seed + protocol.students):
        drawn = Experiment.from_dict({**own, "selection": "random", "seed": seed})
        companion = random_companion(distilled, data, drawn, teacher)
        found.append(keep(companion, _folder(), f"random-{base.dataset}"))
    return found


def _teacher(run: Run) -> Teacher:
    network = load_student(run)

    @torch.inference_mode()
    def labelled(images: Tensor) -> Tensor:
        device = next(network.parameters()).device
        logits = [network(piece.to(device)).float().cpu() for piece in images.split(64)]
        return torch.cat(logits).softmax(1)

    return labelled
