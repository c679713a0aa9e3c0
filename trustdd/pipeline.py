"""The road of one experiment: distil, train a student, detect; each stage stored, none redone."""

from __future__ import annotations

import time

import pandas as pd

from trustdd.detection import evaluate, report
from trustdd.distillation import device_name, distill, load_distilled, peak_memory
from trustdd.experiment import EVALUATION_FIELDS, Experiment
from trustdd.inputs import load_inputs
from trustdd.outliers import outlier_source
from trustdd.store import Run
from trustdd.training import resolve_device, train_on_real, train_student

STAGES = ("distill", "evaluate")


def run_stage(stage: str, run: Run, progress: bool = True) -> None:
    """Do one stage of a run, unless it is done.

    Args:
        stage: ``"distill"`` or ``"evaluate"`` (train a student and detect).
        run: the run; ``evaluate`` reads what ``distill`` stored.
        progress: show bars.

    Raises:
        ValueError: unknown stage, the data is not there, or the stage before is not done.
    """
    if stage not in STAGES:
        raise ValueError(f"stage '{stage}'; expected one of {', '.join(STAGES)}")
    if stage == "distill":
        if run.experiment.selection != "full":
            distill(run.experiment, run, progress)
        elif not run.done("distill"):
            run.record("distill", [], 0.0, device="none")
        return
    if evaluated(run):
        return
    if not run.done("distill"):
        raise ValueError(f"run {run.experiment.key}: stage 'evaluate' needs 'distill' to be done")
    _evaluate(run, progress)


def evaluated(run: Run) -> bool:
    """Tell whether a run's student was tested on the suite that its experiment names now."""
    tested = run.manifest().get("evaluate", {}).get("settings")
    return run.done("evaluate") and tested == _evaluation_settings(run.experiment)


def _evaluation_settings(experiment: Experiment) -> dict[str, object]:
    values = experiment.to_dict()
    return {name: values[name] for name in EVALUATION_FIELDS}


def _evaluate(run: Run, progress: bool) -> None:
    experiment = run.experiment
    device = resolve_device(experiment.device)
    begun = time.perf_counter()
    if experiment.selection == "full":
        data = load_inputs(experiment)
        source = outlier_source(experiment, data, device)
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
    frame: pd.DataFrame = report(evaluation)
    run.write_frame("report.csv", frame)
    run.record(
        "evaluate",
        ["student.safetensors", "logits.safetensors", "features.safetensors", "report.csv"],
        time.perf_counter() - begun,
        training_seconds=round(trained, 2),
        device=device_name(device),
        settings=_evaluation_settings(experiment),
        **peak_memory(device),
    )
