"""Run folders with made-up but realistic arrays, so that figures can be tested without distilling.

TEST DATA: the images are real digits, everything a student would say is drawn at random, with
effects of a chosen size built in (`ACCURACY`, `OOD_CONFIDENCE`), so that a test knows what a
figure must find. Files are written by the package's own code.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trustdd.data.distilled_set import DistilledSet
from trustdd.report.results import facts
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import (
    FORMAT,
    claim,
    expert_path,
    experts_directory,
    read_manifest,
    record_expert,
)
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.records import write_record
from trustdd.store.run import Run
from trustdd.store.tensors import write_tensors
from trustdd.students.detection import Evaluation, report, sample_place

#: how far the true class stands out in a student's logits, by where its images come from
SIGNAL = {"distilled": 4.6, "random": 3.6, "full": 6.5}
#: how far some class stands out in the logits of an OOD image, by outlier mode
OOD_CONFIDENCE = {"none": 3.4, "oe": 1.2, "poe": 1.0}
TEST_IMAGES, OOD_IMAGES, CLASSES, FEATURES = 200, 60, 10, 24
NETWORKS = ("convnet", "mlp", "lenet")
DETECTORS = ("odin", "knn")

#: every group the catalogue knows, at the least that shows an effect
PROFILE = """\
title: Fabricated
description: made-up arrays for tests
settings:
  digits:
    iterations: 20
    ood_limit: 60
    width: 16
    ood: [textures, gaussian, transposed_digits]
    mtt: {experts: 2, max_start_epoch: 3, expert_epochs: 2}
groups:
  main: {dataset: digits, ipc: 2, outliers: [none, oe, poe], seed: [0, 1, 2]}
  random_outliers:
    {dataset: digits, ipc: 2, outliers: [oe, poe], seed: [0, 1, 2], outlier_selection: random}
  random_images:
    {dataset: digits, ipc: 2, outliers: [none, poe], seed: [0, 1, 2], selection: random,
     outlier_selection: random}
  equal_budget: {dataset: digits, ipc: 4, outliers: none, seed: [0, 1, 2]}
  mtt: {dataset: digits, method: mtt, ipc: 2, outliers: [none, poe], seed: [0, 1]}
  course: {dataset: digits, ipc: 2, outliers: [none, oe, poe], seed: [0, 1, 2]}
  transfer: {dataset: digits, ipc: 2, outliers: [none, oe, poe], seed: [0, 1, 2]}
  full_data: {dataset: digits, ipc: 2, outliers: none, seed: [0, 1], selection: full}
  ablation_ipc: {dataset: digits, ipc: [1, 2], outliers: [none, poe], seed: [0, 1]}
  ablation_weight:
    {dataset: digits, ipc: 2, outliers: poe, outlier_weight: [0.1, 0.5], seed: [0, 1]}
  ablation_budget: {dataset: digits, ipc: 2, outliers: poe, outlier_ipc: [2, 4], seed: [0, 1]}
  ablation_corruptions:
    dataset: digits
    ipc: 2
    outliers: poe
    seed: [0, 1]
    corruptions: [[jigsaw], [invert], [invert, mosaic, speckle]]
"""


def write_profile(folder: Path, text: str = PROFILE, name: str = "fabricated") -> Path:
    """Write the profile's YAML into a folder and return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def fabricate(profile: Profile, root: Path, groups: Iterable[str] | None = None) -> list[Run]:
    """Write a finished run for every experiment of some groups (all where ``None``)."""
    chosen = profile.groups if groups is None else groups
    experiments = {e.key: e for group in chosen for e in profile.group(group)}
    return [fabricate_run(e, Run.of(e, profile.name, root)) for e in experiments.values()]


def fabricate_run(experiment: Experiment, run: Run) -> Run:
    """Write all files of a finished run."""
    # not from the key, whose hash changes with every field that is added to an experiment
    settings = {k: v for k, v in facts(run).items() if k != "key"}
    generator = np.random.default_rng(list(repr(settings).encode()))
    _distillation(experiment, run, generator)
    if experiment.method == "mtt":
        fabricate_experts(experiment, run.directory.parents[1])
    frame = _fabricate_student(experiment, run, generator, 0)
    for student in range(1, experiment.students):
        _fabricate_student(experiment, run, generator.spawn(1)[0], student)
    _further_reports(run, frame, generator)
    # a fixed past: provenance must come from the manifest, not from the day of the test
    for folder in (run, *run.parts()):
        manifest = folder.manifest()
        for stage in manifest.values():
            stage |= {"date": "2024-02-29", "commit": "0123456789ab"}
        write_record(folder.directory / "manifest.json", manifest)
    return run


def _fabricate_student(
    experiment: Experiment, run: Run, generator: np.random.Generator, student: int
) -> pd.DataFrame:
    """Write what testing one student leaves, and return its report."""
    evaluation = _evaluation(experiment, generator)
    part = run.part("evaluate", student)
    part.write_tensors("logits.safetensors", evaluation.tensors())
    part.write_tensors("features.safetensors", evaluation.feature_tensors())
    part.write_tensors(
        "samples.safetensors",
        evaluation.sample_tensors(),
        {"classes": json.dumps([str(n) for n in range(CLASSES)])},
    )
    frame = report(evaluation)
    part.write_frame("report.csv", frame)
    files = ["logits.safetensors", "features.safetensors", "report.csv", "samples.safetensors"]
    training = 40.0 if experiment.selection == "full" else 3.0
    run.record(
        "evaluate", files, training + 2.0, training_seconds=training, device="cpu, 1 threads",
        peak_memory_mib=600, training_images=1437, student=student,
    )  # fmt: skip
    return frame


def fabricate_experts(experiment: Experiment, folder: Path, epochs: int = 4) -> Path:
    """Write the experts of an experiment below a profile's results: parameters on a line.

    Expert i of seed s starts at the origin and has moved (1 + i + s) · (1, 1 + 1/2, …) at every
    one of 4 parameters, so that a test knows each distance; accuracies rise from 10% by 20% an
    epoch, less 2% with outliers.
    """
    directory = experts_directory(experiment, folder)
    claim(directory, experiment)
    way = torch.tensor([0.0, *(1 / e for e in range(1, epochs + 1))]).cumsum(0)
    rise = 0.1 + 0.2 * torch.arange(epochs + 1.0) - 0.02 * (experiment.outliers != "none")
    for index in range(experiment.experts):
        tensors = {
            "parameters": (1.0 + index + experiment.seed) * way[:, None].expand(-1, 4),
            "train_loss": 2.0 * 0.5 ** torch.arange(float(epochs)),
            "train_accuracy": rise[1:] - 0.01,
            "test_accuracy": rise,
        }
        path = expert_path(directory, index)
        write_tensors(path, {k: t.contiguous() for k, t in tensors.items()}, {"format": FORMAT})
        record_expert(path, 1.5, "cpu", "source")
    # a fixed past, as in a run's manifest
    manifest = {**read_manifest(directory), "date": "2024-02-29", "commit": "0123456789ab"}
    write_record(directory / "manifest.json", manifest)
    return directory


def _distillation(experiment: Experiment, run: Run, generator: np.random.Generator) -> None:
    if experiment.selection == "full":
        run.record("distill", [], 0.0, device="none")
        return
    images, labels = _digits(int(experiment.ipc))
    m = 10 * experiment.outlier_ipc
    outliers = generator.random((m, 1, 16, 16)) if m else None
    start = _set(images, labels, outliers, experiment)
    moved = images + generator.normal(0, 0.08, images.shape)
    shifted = None if outliers is None else outliers + generator.normal(0, 0.1, outliers.shape)
    _set(moved, labels, shifted, experiment).save(run.path("distilled.safetensors"))
    start.save(run.path("initial.safetensors"))
    steps = np.arange(1, experiment.iterations + 1)
    fall = 30 * np.exp(-steps / 8) + 20 + generator.normal(0, 0.6, len(steps))
    curves = {"iteration": steps, "loss_in": fall, "loss_out": fall * 0.6 if m else np.nan}
    run.write_frame("curves.csv", pd.DataFrame(curves))
    files = ["distilled.safetensors", "initial.safetensors", "curves.csv"]
    run.record("distill", files, 30.0, device="cpu, 1 threads", peak_memory_mib=700)


def _digits(ipc: int) -> tuple[np.ndarray, np.ndarray]:
    """`ipc` real digits of each class at 16 px, in [0, 1], sorted by class."""
    from sklearn.datasets import load_digits

    source = load_digits()
    chosen = [np.flatnonzero(source.target == label)[:ipc] for label in range(CLASSES)]
    small = source.images[np.concatenate(chosen)] / 16.0
    images = np.kron(small, np.ones((2, 2)))[:, None]
    return images, np.repeat(np.arange(CLASSES), ipc)


def _set(
    images: np.ndarray, labels: np.ndarray, outliers: np.ndarray | None, experiment: Experiment
) -> DistilledSet:
    mean, std = (0.3,), (0.35,)
    normalised = [
        None if part is None else torch.tensor((part - mean[0]) / std[0], dtype=torch.float32)
        for part in (images, outliers)
    ]
    assert normalised[0] is not None
    return DistilledSet(
        normalised[0], torch.tensor(labels), normalised[1], None, experiment, mean, std
    )


def _evaluation(experiment: Experiment, generator: np.random.Generator) -> Evaluation:
    """Logits and features of a student that does not exist."""
    signal = SIGNAL[experiment.selection] * (1 + 0.05 * np.log(experiment.ipc))
    labels = generator.integers(0, CLASSES, TEST_IMAGES)
    logits = signal * np.eye(CLASSES)[labels] + generator.normal(0, 1.2, (TEST_IMAGES, CLASSES))
    reach = OOD_CONFIDENCE[experiment.outliers]
    if experiment.outliers != "none":
        reach += 1.6 * (experiment.outlier_selection == "random")
        reach += 0.3 * abs(np.log(experiment.outlier_weight / 0.5))
        reach += 0.25 * max(0, 4 - len(experiment.corruptions)) * (experiment.outliers == "poe")
        reach -= 0.2 * np.log(experiment.outlier_ipc / 2)
    ood, features = {}, {}
    centres = np.random.default_rng(7).normal(0, 2, (CLASSES, FEATURES))
    features["in"] = centres[labels] + generator.normal(0, 1, (TEST_IMAGES, FEATURES))
    for place, name in enumerate(experiment.ood):
        guess = generator.integers(0, CLASSES, OOD_IMAGES)
        height = np.maximum(0.2, reach + 0.3 * (place - 1))
        noise = generator.normal(0, 1.0, (OOD_IMAGES, CLASSES))
        ood[name] = height * np.eye(CLASSES)[guess] + noise
        features[name] = height / 4 * centres[guess] + generator.normal(
            0, 1, (OOD_IMAGES, FEATURES)
        )

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32)

    of_ood = {k: tensor(v) for k, v in ood.items()}
    size = experiment.image_size
    samples = generator.integers(0, 256, (len(ood), 1, size, size), dtype=np.uint8)
    return Evaluation(
        tensor(logits), torch.tensor(labels), of_ood,
        {k: tensor(v) for k, v in features.items()}, torch.tensor(labels),
        dict(zip(ood, map(torch.from_numpy, samples), strict=True)),
        {name: sample_place(values) for name, values in of_ood.items()},
    )  # fmt: skip


def _further_reports(run: Run, frame: pd.DataFrame, generator: np.random.Generator) -> None:
    """Reports of students and scores that do not exist, each a shift of the run's own report."""
    msp = frame[frame["score"] == "msp"]
    snapshots = [
        _shifted(frame, -0.15 * (1 - step / 20), generator).assign(iteration=step)
        for step in (0, 2, 5, 10, 15)
    ]
    detectors = [
        _shifted(msp, 0.02 * (place - 1), generator).assign(score=name)
        for place, name in enumerate(DETECTORS)
    ]
    transfer = [
        _shifted(frame, -0.04 * place, generator).assign(network=name)
        for place, name in enumerate(NETWORKS)
    ]
    for stage, name, parts in (
        ("course", "snapshots.csv", snapshots), ("detectors", "detectors.csv", detectors),
        ("transfer", "transfer.csv", transfer),
    ):  # fmt: skip
        run.part(stage).write_frame(name, pd.concat(parts, ignore_index=True))
        run.record(stage, [name], 0.0, device="cpu, 1 threads")


def _shifted(frame: pd.DataFrame, by: float, generator: np.random.Generator) -> pd.DataFrame:
    moved = frame.copy()
    shift = by + generator.normal(0, 0.004)
    larger, smaller = ["auroc", "aupr_in", "aupr_out", "accuracy"], ["fpr95", "fpr95_in"]
    moved[larger] = (moved[larger] + shift).clip(0, 1)
    moved[smaller] = (moved[smaller] - shift).clip(0, 1)
    return moved


def stored_profile(base: Path) -> Path:
    """The path of the profile's YAML, with every run finished beside it.

    Args:
        base: pytest's base folder. Workers of one session share what lies above theirs: the
            first one writes the runs, the others wait for it.
    """
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_up"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fabricated.yaml"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            fabricate(load_profile(write_profile(folder, name="unfinished")), folder)
            (folder / "unfinished").rename(folder / "fabricated")
            write_profile(folder)
    return path


if __name__ == "__main__":
    import sys

    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    fabricate(load_profile(write_profile(target)), target)
