"""Distillation by trajectory matching: one path for all modes, resumable, never a file of NaN."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from trustdd.data.distilled_set import load_distilled
from trustdd.distillation import loop
from trustdd.distillation.loop import distill
from trustdd.distillation.state import State
from trustdd.distillation.trajectory_matching import TrajectoryMatching
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import experts_directory
from trustdd.store.run import Run

TINY = Experiment(
    dataset="digits", method="mtt", outliers="poe", ipc=1, iterations=4, experts=1, width=4,
    depth=2, max_start_epoch=1, expert_epochs=1, expert_lr=0.05, expert_batch=256, student_steps=2,
    student_lr=0.05, lr_student_lr=1e-3, lr_images=5.0, augmentation="color_crop", device="cpu",
)  # fmt: skip


def run_of(experiment: Experiment, results: Path) -> Run:
    """A run as it lies below a profile's results, beside its experts."""
    return Run(results / "runs" / experiment.key, experiment)


def hashes(run: Run) -> dict[str, str]:
    return run.manifest()["distill"]["files"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def uninterrupted(results: Path) -> Run:
    run = run_of(TINY, results)
    distill(TINY, run, progress=False)
    return run


@pytest.mark.parametrize("stop_before", [1, 3])
def test_an_interrupted_run_ends_in_the_same_bytes(
    stop_before: int, uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(TINY, tmp_path)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    step = TrajectoryMatching.step

    def interrupted(self: TrajectoryMatching, state: State, iteration: int) -> tuple[float, float]:
        if iteration == stop_before:
            # dirty the live state: only the checkpoint may count
            state.images.add_(1.0)
            state.student_lr.add_(1.0)
            raise KeyboardInterrupt
        return step(self, state, iteration)

    monkeypatch.setattr(TrajectoryMatching, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distill(TINY, run, progress=False)
    assert not run.done("distill")
    assert run.has("checkpoint.safetensors")
    monkeypatch.setattr(TrajectoryMatching, "step", step)
    distill(TINY, run, progress=False)
    assert hashes(run) == hashes(uninterrupted)
    assert not run.has("checkpoint.safetensors")


def test_a_killed_process_leaves_a_run_that_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    experiment = TINY.but(iterations=60)
    code = (
        "import json, sys; from pathlib import Path; import torch; torch.set_num_threads(1)\n"
        "from trustdd import Experiment; from trustdd.distillation import loop\n"
        "from trustdd.store.run import Run\n"
        "loop.CHECKPOINT_SECONDS = -1.0\n"
        "experiment = Experiment.from_dict(json.loads(sys.argv[1]))\n"
        "loop.distill(experiment, Run(Path(sys.argv[2]), experiment), progress=False)\n"
    )
    words = [sys.executable, "-c", code, json.dumps(experiment.to_dict(place=True))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = run_of(experiment, tmp_path / "killed")
    with subprocess.Popen([*words, str(killed.directory)], env=environment) as process:
        deadline = time.monotonic() + 60
        while not killed.has("checkpoint.safetensors") and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert not killed.done("distill"), "it was to be killed before its end"
    subprocess.run([*words, str(killed.directory)], env=environment, check=True)
    whole = run_of(experiment, tmp_path / "whole")
    subprocess.run([*words, str(whole.directory)], env=environment, check=True)
    assert hashes(killed) == hashes(whole)


def test_outlier_modes_are_one_path(uninterrupted: Run, results: Path) -> None:
    sets = {}
    for mode in ("none", "oe", "poe"):
        experiment = TINY.but(outliers=mode)
        run = run_of(experiment, results)
        sets[mode] = distill(experiment, run, progress=False)
        start = load_distilled(run.path("initial.safetensors"))
        assert not torch.equal(sets[mode].images, start.images)
        curves = run.read_frame("curves.csv")
        # one loss moves both sets, so there is one column of it
        assert (curves["loss_in"] > 0).all()
        assert curves["loss_out"].isna().all()
        if mode == "none":
            assert sets[mode].outliers is None
        else:
            assert not torch.equal(sets[mode].outliers, start.outliers)
    assert not torch.equal(sets["oe"].outliers, sets["poe"].outliers)
    assert len({experts_directory(TINY.but(outliers=mode), results) for mode in sets}) == 3


def test_what_is_not_to_be_distilled_stays_as_drawn(uninterrupted: Run, results: Path) -> None:
    experiment = TINY.but(outlier_selection="random")
    found = distill(experiment, run_of(experiment, results), progress=False)
    start = load_distilled(uninterrupted.path("initial.safetensors"))
    assert torch.equal(found.outliers, start.outliers)
    assert not torch.equal(found.images, start.images)


def test_outliers_alone_may_be_distilled(uninterrupted: Run, results: Path) -> None:
    experiment = TINY.but(selection="random")
    found = distill(experiment, run_of(experiment, results), progress=False)
    start = load_distilled(uninterrupted.path("initial.safetensors"))
    assert torch.equal(found.images, start.images)
    assert not torch.equal(found.outliers, start.outliers)


def test_the_student_learning_rate_is_learned_and_stored(uninterrupted: Run, results: Path) -> None:
    learned = load_distilled(uninterrupted.path("distilled.safetensors")).student_lr
    assert learned != TINY.student_lr
    assert learned == pytest.approx(TINY.student_lr, rel=1.0)
    # with a step size of next to nothing it stays where it began, and the images still move
    still = TINY.but(lr_student_lr=1e-30)
    found = distill(still, run_of(still, results), progress=False)
    assert found.student_lr == pytest.approx(TINY.student_lr)
    snapshots = uninterrupted.read_tensors("snapshots.safetensors")
    assert float(snapshots["snapshot.0.student_lr"]) == pytest.approx(TINY.student_lr)


def test_matching_lowers_the_loss_it_minimises(results: Path) -> None:
    experiment = TINY.but(iterations=40, augmentation=None, lr_images=20.0, student_steps=4)
    run = run_of(experiment, results)
    distill(experiment, run, progress=False)
    losses = run.read_frame("curves.csv")["loss_in"]
    assert losses.tail(8).mean() < 0.9 * losses.head(8).mean()


def test_divergence_stops_and_keeps_the_last_good_checkpoint(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    run = run_of(TINY, tmp_path)
    step = TrajectoryMatching.step

    def derailed(self: TrajectoryMatching, state: State, iteration: int) -> tuple[float, float]:
        if iteration == 2:
            state.student_lr.fill_(1e30)
        return step(self, state, iteration)

    monkeypatch.setattr(TrajectoryMatching, "step", derailed)
    with pytest.raises(FloatingPointError, match=r"the student diverged at iteration 2 .*smaller"):
        distill(TINY, run, progress=False)
    assert not run.has("distilled.safetensors")
    tensors = run.read_tensors("checkpoint.safetensors")
    assert len(tensors["losses"]) == 2
    assert all(bool(torch.isfinite(tensors[name]).all()) for name in ("images", "student_lr"))


def test_a_learning_rate_below_zero_stops(tmp_path: Path) -> None:
    experiment = TINY.but(lr_student_lr=1e6)
    with pytest.raises(FloatingPointError, match="student"):
        distill(experiment, run_of(experiment, tmp_path), progress=False)


def test_a_quiet_distillation_trains_its_experts_quietly(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    experiment = TINY.but(iterations=1, seed=5)
    distill(experiment, run_of(experiment, tmp_path), progress=False)
    assert "experts" not in capfd.readouterr().err
