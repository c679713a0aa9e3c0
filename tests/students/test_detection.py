"""Detection and the pipeline: reports agree with the logits that are stored beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from trustdd.distillation.loop import distill
from trustdd.pipeline.completion import complete
from trustdd.pipeline.work import run_stage
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run
from trustdd.store.verification import verify
from trustdd.students.detection import detect, evaluate, report
from trustdd.students.training import train_student

SMALL = Experiment(
    outliers="oe", ipc=1, selection="random", outlier_selection="random", width=8, depth=1,
    training_epochs=10, ood=("gaussian", "textures"), ood_limit=50, device="cpu",
)  # fmt: skip


def test_the_report_is_what_sklearn_says_of_the_stored_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    run = complete(SMALL, "trial", progress=False)
    frame, logits = run.read_frame("report.csv"), run.read_tensors("logits.safetensors")
    assert list(frame["ood"].unique()) == ["gaussian", "textures"]
    assert set(frame["score"]) == {"msp", "maxlogit", "energy"}
    row = frame[(frame["ood"] == "textures") & (frame["score"] == "msp")].iloc[0]
    known = logits["in"].softmax(1).amax(1).double().numpy()
    unknown = logits["ood.textures"].softmax(1).amax(1).double().numpy()
    truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    score = np.r_[known, unknown]
    assert (row["n_in"], row["n_out"]) == (len(known), 50)
    assert row["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-6)
    assert row["aupr_in"] == pytest.approx(average_precision_score(truth, score), abs=1e-6)
    assert row["aupr_out"] == pytest.approx(average_precision_score(1 - truth, -score), abs=1e-6)
    right = (logits["in"].argmax(1) == logits["in_labels"]).double().mean()
    assert row["accuracy"] == pytest.approx(float(right))
    assert verify(run.directory).complaints == []


def test_every_student_meets_the_same_images() -> None:
    distilled = distill(SMALL, progress=False)
    students = [train_student(distilled, SMALL.but(seed=seed)) for seed in (0, 1)]
    first, second = (evaluate(student, SMALL) for student in students)
    assert torch.equal(first.labels, second.labels)
    assert first.ood["gaussian"].shape == second.ood["gaussian"].shape == (50, 10)
    assert detect(students[0], SMALL).equals(report(first))


def test_a_changed_suite_tests_anew_and_distils_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / SMALL.key, SMALL)
    with pytest.raises(ValueError, match="needs 'distill' to be done"):
        run_stage("evaluate", run, progress=False)
    for stage in ("distill", "evaluate"):
        run_stage(stage, run, progress=False)
    assert run.finished("evaluate")
    before = run.manifest()["distill"]
    wider = Run(run.directory, SMALL.but(ood=("uniform",)))
    assert wider.experiment.key == SMALL.key
    assert not wider.finished("evaluate")
    run_stage("distill", wider, progress=False)
    run_stage("evaluate", wider, progress=False)
    assert wider.manifest()["distill"] == before
    assert list(wider.read_frame("report.csv")["ood"].unique()) == ["uniform"]
    # the first evaluation is where it was
    assert list(run.read_frame("report.csv")["ood"].unique()) == ["gaussian", "textures"]
    assert verify(run.directory).complaints == []


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stage 'train'; expected one of distill, evaluate"):
        run_stage("train", Run(tmp_path, SMALL))
