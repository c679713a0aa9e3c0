"""The road of one experiment: distil, train students, detect; each stage stored, none redone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import nn
from tqdm import tqdm

from trustdd.data.distilled_set import load_distilled
from trustdd.data.inputs import load_inputs
from trustdd.data.ood import load_ood_suite
from trustdd.data.outliers import outlier_source
from trustdd.distillation.loop import device_name, distill, peak_memory
from trustdd.distillation.state import snapshots_of
from trustdd.networks.process import computing_facts
from trustdd.settings.errors import BadInput
from trustdd.store.run import Run
from trustdd.store.stages import STAGES, check_stage
from trustdd.store.tensors import read_tensors
from trustdd.students.detection import evaluate, report
from trustdd.students.training import (
    build_network,
    resolve_device,
    train_on_real,
    train_student,
    train_students,
)


def run_stage(
    stage: str,
    run: Run,
    progress: bool = True,
    student: int | None = None,
    images_of: Run | None = None,
) -> None:
    """Do one stage of a run, unless it is done.

    Args:
        stage: ``"distill"``; ``"evaluate"`` (train students and detect); ``"course"`` (students of
            the set as it was on its way), ``"transfer"`` (students of other architectures) or
            ``"detectors"`` (further detection scores of the students).
        run: the run; every stage reads what the one before it stored.
        progress: show bars.
        student: with which student, done again where it is stored; by default with each of
            ``run.experiment.students`` that it is not stored of.
        images_of: where a set is distilled, the run that has its images, see
            `trustdd.distillation.loop.distill`.

    Raises:
        ValueError: unknown stage, the data is not there, or the stage before is not done.
    """
    needs = STAGES[check_stage(stage)].needs
    if student is None and run.finished(stage):
        return
    if needs and not run.finished(needs):
        raise BadInput(f"run {run.experiment.key}: stage '{stage}' needs '{needs}' to be done")
    if STAGES[stage].by_student:
        students = range(run.experiment.students) if student is None else (student,)
        for index in students:
            if student is not None or run.stored_part(stage, index) is None:
                _check_data(run)
                _WORK[stage](run, index, progress)
    elif run.experiment.selection != "full":
        distill(run.experiment, run, progress, images_of)
    else:
        run.record("distill", [], 0.0, device="none")


def _check_data(run: Run) -> None:
    """Refuse to test a set on other data than it was distilled of.

    Raises:
        BadInput: the images under the dataset's name are other ones now.
    """
    known = run.manifest()["distill"].get("data", {}).get("train")
    if known is not None and load_inputs(run.experiment).train.fingerprint != known:
        raise BadInput(
            f"run {run.experiment.key}: the images of '{run.experiment.dataset}' are other ones "
            f"than it was distilled of; expected these, or a run made anew: remove {run.directory}"
        )


def _seen(run: Run) -> dict[str, Any]:
    """Fingerprints of the data that a student was tested on."""
    suite = load_ood_suite(run.experiment)
    return {
        "test": load_inputs(run.experiment).test.fingerprint,
        "ood": {name: images.fingerprint for name, images in suite.items()},
    }


def _evaluate(run: Run, index: int, progress: bool) -> None:
    experiment, part = run.experiment, run.part("evaluate", index)
    begun = time.perf_counter()
    student, facts = _student(run, index, progress)
    evaluation = evaluate(student, experiment)
    part.write_tensors("student.safetensors", student.state_dict())
    part.write_tensors("logits.safetensors", evaluation.tensors())
    part.write_tensors("features.safetensors", evaluation.feature_tensors())
    part.write_tensors(
        "samples.safetensors",
        evaluation.sample_tensors(),
        {"classes": json.dumps([str(name) for name in load_inputs(experiment).classes])},
    )
    part.write_frame("report.csv", report(evaluation))
    _record(run, "evaluate", index, STAGES["evaluate"].files, begun, **facts)


def _student(run: Run, index: int, progress: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Train a run's student; its training time in seconds, and of real data the images."""
    experiment = run.experiment
    begun = time.perf_counter()
    facts: dict[str, Any] = {}
    if experiment.selection == "full":
        data = load_inputs(experiment)
        source = outlier_source(experiment, data, resolve_device(experiment.device))
        facts["training_images"] = len(data.train)
        begun = time.perf_counter()
        student = train_on_real(experiment, data, source, progress=progress, student=index)
    else:
        distilled = load_distilled(run.path("distilled.safetensors"))
        student = train_student(distilled, experiment, progress=progress, student=index)
    return student, {**facts, "training_seconds": round(time.perf_counter() - begun, 2)}


def _course(run: Run, index: int, progress: bool) -> None:
    """Reports of students of the set as it was at each snapshot: ``snapshots.csv``."""
    begun = time.perf_counter()
    if not run.has("snapshots.safetensors"):
        raise BadInput(f"run {run.experiment.key}: no snapshots; expected a set that is distilled")
    last = load_distilled(run.path("distilled.safetensors"))
    tensors, _ = read_tensors(run.path("snapshots.safetensors"))
    on_the_way: dict[int, dict[str, Any]] = {
        at: {k: float(v) if k == "student_lr" else v.float() for k, v in kept.items()}
        for at, kept in snapshots_of(tensors).items()
    }
    frames = []
    order = sorted(on_the_way)
    sets = [replace(last, **on_the_way[iteration]) for iteration in order]
    students = train_students(sets, run.experiment, progress, index)
    for iteration, student in zip(order, students, strict=True):
        frames.append(report(evaluate(student, run.experiment)).assign(iteration=iteration))
    _write(run, "course", index, frames, begun)


def _transfer(run: Run, index: int, progress: bool) -> None:
    """Reports of students of other architectures behind the student's own: ``transfer.csv``."""
    begun = time.perf_counter()
    experiment = run.experiment
    distilled = load_distilled(run.path("distilled.safetensors"))
    frames = [run.read_frame("report.csv", index).assign(network="convnet")]
    for network in tqdm(experiment.networks, desc="transfer", disable=not progress):
        student = train_student(distilled, experiment, network, student=index)
        frames.append(report(evaluate(student, experiment)).assign(network=network))
    _write(run, "transfer", index, frames, begun)


def _detectors(run: Run, index: int, progress: bool) -> None:
    """Further detection scores of the run's student: ``detectors.csv``."""
    # imports a library that takes seconds
    from trustdd.students.detectors import detector_report

    begun = time.perf_counter()
    frame = detector_report(load_student(run, index), run.experiment, progress=progress)
    _write(run, "detectors", index, [frame], begun)


_WORK: dict[str, Callable[[Run, int, bool], None]] = {
    "evaluate": _evaluate,
    "course": _course,
    "transfer": _transfer,
    "detectors": _detectors,
}


def load_student(run: Run, student: int = 0) -> nn.Module:
    """Return one of a run's stored students, in eval mode, on the experiment's device.

    Raises:
        ValueError: the run has none yet.
    """
    part = run.stored_part("evaluate", student)
    if part is None or not part.has("student.safetensors"):
        raise BadInput(f"run {run.experiment.key}: no student yet; expected stage 'evaluate' done")
    tensors, _ = read_tensors(part.path("student.safetensors"))
    channels = tensors["features.0.weight"].shape[1]
    network = build_network(
        run.experiment, int(channels), len(tensors["classifier.bias"]), "student"
    )
    network.load_state_dict(tensors)
    return network.to(resolve_device(run.experiment.device)).eval()


def _write(run: Run, stage: str, index: int, frames: list[pd.DataFrame], begun: float) -> None:
    (name,) = STAGES[stage].files
    run.part(stage, index).write_frame(name, pd.concat(frames, ignore_index=True))
    _record(run, stage, index, [name], begun)


def _record(
    run: Run, stage: str, index: int, files: Sequence[str], begun: float, **facts: object
) -> None:
    device = resolve_device(run.experiment.device)
    run.record(
        stage,
        files,
        time.perf_counter() - begun,
        student=index,
        device=device_name(device),
        data=_seen(run),
        **facts,
        **computing_facts(),
        **peak_memory(device),
    )
