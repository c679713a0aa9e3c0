"""Stages beyond distilling and testing: the course, transfer, further detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from trustdd.data.inputs import load_inputs
from trustdd.data.ood import load_ood_suite
from trustdd.pipeline.work import load_student, run_stage
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run
from trustdd.students.detectors import fitted_detectors, vim_dimension

COLUMNS = ["ood", "score", "n_in", "n_out", "auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in"]
EXPERIMENT = Experiment(
    outliers="poe", ipc=1, iterations=8, outer_loops=1, inner_loops=1, real_batch=8, width=8,
    depth=2, training_epochs=20, ood=("gaussian", "textures"), ood_limit=60,
    networks=("mlp", "lenet"), device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = Run(tmp_path_factory.mktemp("runs") / "key", EXPERIMENT)
    for stage in ("distill", "evaluate"):
        run_stage(stage, made, progress=False)
    return made


def test_the_course_reports_students_of_every_snapshot(run: Run) -> None:
    run_stage("course", run, progress=False)
    frame = run.read_frame("snapshots.csv")
    assert list(frame) == [*COLUMNS, "accuracy", "iteration"]
    assert sorted(frame["iteration"].unique()) == [0, 1, 2, 4, 6]
    assert frame.groupby("iteration").size().eq(2 * 3).all()
    # the set was another one at each time
    assert frame[frame["score"] == "msp"].groupby("iteration")["auroc"].mean().nunique() > 1


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "dc"},
        {"method": "dm", "selection": "random"},
        {"method": "mtt", "experts": 1, "expert_epochs": 1, "max_start_epoch": 1,
         "student_steps": 2, "zca": True, "lr_images": 5.0},
    ],
)  # fmt: skip
def test_the_course_of_any_method(changes: dict[str, object], tmp_path: Path) -> None:
    experiment = EXPERIMENT.but(**changes)
    run = Run(tmp_path / "runs" / experiment.key, experiment)
    for stage in ("distill", "evaluate", "course"):
        run_stage(stage, run, progress=False)
    frame = run.read_frame("snapshots.csv")
    assert sorted(frame["iteration"].unique()) == [0, 1, 2, 4, 6]
    values = frame.loc[frame["score"] == "msp", ["iteration", "auroc", "accuracy"]]
    assert values.notna().all().all()
    # outliers move in every case, and students with them
    assert values.groupby("iteration")["auroc"].mean().nunique() > 1


def test_transfer_reports_each_architecture(run: Run) -> None:
    run_stage("transfer", run, progress=False)
    frame = run.read_frame("transfer.csv")
    assert list(frame["network"].unique()) == ["convnet", "mlp", "lenet"]
    own = frame[frame["network"] == "convnet"].drop(columns="network").reset_index(drop=True)
    report = run.read_frame("report.csv")
    np.testing.assert_allclose(own["auroc"], report["auroc"], atol=1e-9)
    assert run.finished("transfer")
    fewer = Run(run.directory, EXPERIMENT.but(networks=("mlp",), ood=("textures",)))
    assert fewer.experiment.key == EXPERIMENT.key
    assert fewer.finished("transfer"), "it is read from what is stored"
    asked = fewer.read_frame("transfer.csv")
    stored = frame[frame["network"].isin(["convnet", "mlp"]) & (frame["ood"] == "textures")]
    assert asked.equals(stored.reset_index(drop=True))
    more = Run(run.directory, EXPERIMENT.but(networks=("mlp", "alexnet")))
    assert not more.finished("transfer")
    assert more.finished("evaluate")


def test_detectors_agree_with_their_definitions(run: Run) -> None:
    run_stage("detectors", run, progress=False)
    frame = run.read_frame("detectors.csv").set_index(["ood", "score"])
    assert list(frame.reset_index()) == [*COLUMNS, "accuracy"]
    assert set(frame.index.get_level_values("score")) == {"odin", "knn", "vim", "react"}
    report = run.read_frame("report.csv")
    assert frame["accuracy"].to_numpy() == pytest.approx(report["accuracy"].iloc[0])
    # KNN again, from its definition
    data, student = load_inputs(EXPERIMENT), load_student(run)
    with torch.no_grad():
        embedded = {
            name: torch.nn.functional.normalize(student.embed(data.normalise(images)))
            for name, images in {
                "fit": data.train.images, "in": data.test.images,
                "out": load_ood_suite(EXPERIMENT)["textures"].images,
            }.items()
        }  # fmt: skip
    far = {
        name: torch.cdist(embedded[name].double(), embedded["fit"].double()).sort(1)[0][:, 49]
        for name in ("in", "out")
    }
    truth = np.r_[np.zeros(len(far["in"])), np.ones(len(far["out"]))]
    expected = roc_auc_score(truth, torch.cat([far["in"], far["out"]]).numpy())
    assert frame.loc[("textures", "knn"), "auroc"] == pytest.approx(expected, abs=2e-3)


def test_react_without_clipping_is_the_energy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trustdd.students.detectors.KEPT", 1.0)
    data, student = load_inputs(EXPERIMENT), load_student(run)
    with torch.no_grad():
        react = fitted_detectors(student, data)["react"]
        inputs = data.normalise(data.train.images[:50])
        scores = react(inputs, student.embed(inputs))
        energy = student(inputs).logsumexp(1)
    torch.testing.assert_close(scores, -energy, rtol=1e-4, atol=1e-4)


def test_vims_space_is_as_published() -> None:
    assert [vim_dimension(d, 10) for d in (2048, 768, 512, 12)] == [1000, 512, 256, 10]


def test_what_is_missing_is_said(run: Run, tmp_path: Path) -> None:
    empty = Run(tmp_path / "key", EXPERIMENT)
    with pytest.raises(ValueError, match="stage 'course' needs 'distill' to be done"):
        run_stage("course", empty, progress=False)
    with pytest.raises(ValueError, match="no student yet"):
        load_student(empty)
    drawn = Run(tmp_path / "drawn", EXPERIMENT.but(selection="random", outlier_selection="random"))
    run_stage("distill", drawn, progress=False)
    with pytest.raises(ValueError, match="no snapshots; expected a set that is distilled"):
        run_stage("course", drawn, progress=False)
