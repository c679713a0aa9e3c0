"""The road of one experiment: distil, train a student, detect; each stage stored, none redone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import nn
from tqdm import tqdm

from trustdd.data.distilled_set import load_distilled
from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import outlier_source
from trustdd.distillation.loop import device_name, distill, peak_memory
from trustdd.settings.errors import BadInput
from trustdd.store.run import Run, read_tensors
from trustdd.store.stages import STAGES, check_stage, finished, stage_settings
from trustdd.students.detection import evaluate, report
from trustdd.students.training import (
    build_network,
    resolve_device,
    train_on_real,
    train_student,
    train_students,
)


def run_stage(stage: str, run: Run, progress: bool = True) -> None:
    """Do one stage of a run, unless it is done.

    Args:
        stage: ``"distill"``; ``"evaluate"`` (train a student and detect); ``"course"`` (students of
            the set as it was on its way), ``"transfer"`` (students of other architectures) or
            ``"detectors"`` (further detection scores of the student).
        run: the run; every stage reads what the one before it stored.
        progress: show bars.

    Raises:
        ValueError: unknown stage, the data is not there, or the stage before is not done.
    """
    needs = STAGES[check_stage(stage)].needs
    if finished(run, stage):
        return
    if needs and not finished(run, needs):
        raise BadInput(f"run {run.experiment.key}: stage '{stage}' needs '{needs}' to be done")
    if stage != "distill":
        _WORK[stage](run, progress)
    elif run.experiment.selection != "full":
        distill(run.experiment, run, progress)
    else:
        run.record("distill", [], 0.0, device="none")


def _evaluate(run: Run, progress: bool) -> None:
    experiment = run.experiment
    facts = {}
    begun = time.perf_counter()
    if experiment.selection == "full":
        data = load_inputs(experiment)
        source = outlier_source(experiment, data, resolve_device(experiment.device))
        facts["training_images"] = len(data.train)
        begun = time.perf_counter()
        student = train_on_real(experiment, data, source, progress=progress)
    else:
        distilled = load_distilled(run.path("distilled.safetensors"))
        student = train_student(distilled, experiment, progress=progress)
    trained = time.perf_counter() - begun
    evaluation = evaluate(student, experiment)
    run.write_tensors("student.safetensors", student.state_dict())
    run.write_tensors("logits.safetensors", evaluation.tensors())
    run.write_tensors("features.safetensors", evaluation.feature_tensors())
    run.write_tensors(
        "samples.safetensors",
        evaluation.sample_tensors(),
        {"classes": json.dumps([str(name) for name in load_inputs(experiment).classes])},
    )
    run.write_frame("report.csv", report(evaluation))
    files = [
        "student.safetensors", "logits.safetensors", "features.safetensors", "samples.safetensors",
        "report.csv",
    ]  # fmt: skip
    _record(run, "evaluate", files, begun, training_seconds=round(trained, 2), **facts)


def _course(run: Run, progress: bool) -> None:
    """Reports of students of the set as it was at each snapshot: ``snapshots.csv``."""
    begun = time.perf_counter()
    if not run.has("snapshots.safetensors"):
        raise BadInput(f"run {run.experiment.key}: no snapshots; expected a set that is distilled")
    last = load_distilled(run.path("distilled.safetensors"))
    tensors, _ = read_tensors(run.path("snapshots.safetensors"))
    on_the_way: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        _, at, name = key.split(".")
        value = float(tensor) if name == "student_lr" else tensor.float()
        on_the_way.setdefault(int(at), {})[name] = value
    frames = []
    order = sorted(on_the_way)
    sets = [replace(last, **on_the_way[iteration]) for iteration in order]
    students = train_students(sets, run.experiment, progress)
    for iteration, student in zip(order, students, strict=True):
        frames.append(report(evaluate(student, run.experiment)).assign(iteration=iteration))
    _write(run, "course", "snapshots.csv", frames, begun)


def _transfer(run: Run, progress: bool) -> None:
    """Reports of students of other architectures behind the student's own: ``transfer.csv``."""
    begun = time.perf_counter()
    experiment = run.experiment
    distilled = load_distilled(run.path("distilled.safetensors"))
    frames = [run.read_frame("report.csv").assign(network="convnet")]
    for network in tqdm(experiment.networks, desc="transfer", disable=not progress):
        student = train_student(distilled, experiment, network)
        frames.append(report(evaluate(student, experiment)).assign(network=network))
    _write(run, "transfer", "transfer.csv", frames, begun)


def _detectors(run: Run, progress: bool) -> None:
    """Further detection scores of the run's student: ``detectors.csv``."""
    # imports a library that takes seconds
    from trustdd.students.detectors import detector_report

    begun = time.perf_counter()
    frame = detector_report(load_student(run), run.experiment, progress=progress)
    _write(run, "detectors", "detectors.csv", [frame], begun)


_WORK: dict[str, Callable[[Run, bool], None]] = {
    "evaluate": _evaluate,
    "course": _course,
    "transfer": _transfer,
    "detectors": _detectors,
}


def load_student(run: Run) -> nn.Module:
    """Return a run's stored student, in eval mode, on the experiment's device.

    Raises:
        ValueError: the run has none yet.
    """
    if not finished(run, "evaluate"):
        raise BadInput(f"run {run.experiment.key}: no student yet; expected stage 'evaluate' done")
    tensors, _ = read_tensors(run.path("student.safetensors"))
    channels = tensors["features.0.weight"].shape[1]
    student = build_network(
        run.experiment, int(channels), len(tensors["classifier.bias"]), "student"
    )
    student.load_state_dict(tensors)
    return student.to(resolve_device(run.experiment.device)).eval()


def _write(run: Run, stage: str, name: str, frames: list[pd.DataFrame], begun: float) -> None:
    run.write_frame(name, pd.concat(frames, ignore_index=True))
    _record(run, stage, [name], begun)


def _record(run: Run, stage: str, files: list[str], begun: float, **facts: object) -> None:
    device = resolve_device(run.experiment.device)
    run.record(
        stage,
        files,
        time.perf_counter() - begun,
        device=device_name(device),
        settings=stage_settings(stage, run.experiment),
        **facts,
        **peak_memory(device),
    )
