"""Distillation: the same bytes every time, interrupted or not, and outliers as data only."""

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
from trustdd.distillation.gradient_matching import GradientMatching
from trustdd.distillation.loop import distill
from trustdd.distillation.state import State
from trustdd.networks.native.library import library
from trustdd.settings.experiment import Experiment
from trustdd.store.files import sha256
from trustdd.store.run import Run

TINY = Experiment(
    dataset="digits", method="dsa", outliers="poe", ipc=1, iterations=3, outer_loops=2,
    inner_loops=1, real_batch=8, width=8, depth=1, training_epochs=3, device="cpu",
)  # fmt: skip


def run_of(experiment: Experiment, folder: Path) -> Run:
    return Run(folder / experiment.key, experiment)


def hashes(run: Run) -> dict[str, str]:
    return run.manifest()["distill"]["files"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = run_of(TINY, tmp_path_factory.mktemp("uninterrupted"))
    distill(TINY, run, progress=False)
    return run


def test_the_same_experiment_twice_gives_the_same_bytes(uninterrupted: Run, tmp_path: Path) -> None:
    torch.manual_seed(12345)  # nothing may depend on the global generator
    again = run_of(TINY, tmp_path)
    distill(TINY, again, progress=False)
    assert hashes(again) == hashes(uninterrupted)
    other = run_of(TINY.but(seed=1), tmp_path)
    distill(other.experiment, other, progress=False)
    assert hashes(other)["distilled.safetensors"] != hashes(again)["distilled.safetensors"]


def distil_until(stop_before: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distil with a checkpoint after every iteration, and be interrupted before one."""
    step = GradientMatching.step

    def interrupted(self: GradientMatching, state: State, iteration: int) -> tuple[float, float]:
        if iteration == stop_before:
            # dirty the live state: only the checkpoint may count
            state.images.add_(1.0)
            raise KeyboardInterrupt
        return step(self, state, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        patch.setattr(GradientMatching, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(run.experiment, run, progress=False)


@pytest.mark.parametrize("stop_before", [0, 1, 2])
def test_an_interrupted_run_ends_in_the_same_bytes(
    stop_before: int, uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(TINY, tmp_path)
    distil_until(stop_before, run, monkeypatch)
    assert not run.done("distill")
    assert run.has("checkpoint.safetensors") == (stop_before > 0)
    distill(TINY, run, progress=False)
    assert hashes(run) == hashes(uninterrupted)
    assert not run.has("checkpoint.safetensors")


def test_bfloat16_gives_the_same_bytes_interrupted_or_not(
    uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = TINY.but(precision="bf16")
    whole, parts = run_of(low, tmp_path / "whole"), run_of(low, tmp_path / "parts")
    distill(low, whole, progress=False)
    assert hashes(whole)["distilled.safetensors"] != hashes(uninterrupted)["distilled.safetensors"]
    distil_until(2, parts, monkeypatch)
    distill(low, parts, progress=False)
    assert hashes(parts) == hashes(whole)


@pytest.mark.skipif(library() is None, reason="no C compiler here")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("method", ["dsa", "mtt"])
def test_compiled_passes_repeat_to_the_byte_and_agree_with_the_others(
    precision: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a width that the compiled passes take; matched, trained, and interrupted on them."""
    settings = {
        "dataset": "digits", "outliers": "poe", "ipc": 1, "width": 16, "depth": 2, "iterations": 3,
        "training_epochs": 3, "device": "cpu", "precision": precision,
    }  # fmt: skip
    if method == "dsa":
        settings |= {"outer_loops": 2, "inner_loops": 2, "real_batch": 8}
    else:
        settings |= {"experts": 1, "expert_epochs": 1, "max_start_epoch": 1, "student_steps": 3}
    experiment = Experiment(method=method, **settings)  # type: ignore[arg-type]
    whole = run_of(experiment, tmp_path / "whole")
    images = distill(experiment, whole, progress=False).images
    if method == "dsa":
        again = run_of(experiment, tmp_path / "again")
        distil_until(2, again, monkeypatch)
        distill(experiment, again, progress=False)
        assert hashes(again) == hashes(whole)
    monkeypatch.setenv("TRUSTDD_NATIVE", "0")
    library.cache_clear()
    try:
        eager = distill(experiment, run_of(experiment, tmp_path / "eager"), progress=False).images
    finally:
        library.cache_clear()
    start = load_distilled(whole.path("initial.safetensors")).images
    # how far the images went, and how far apart the two ways took them
    moved, apart = float((eager - start).norm()), float((eager - images).norm())
    assert moved > 0
    assert apart < (0.05 if precision == "float32" else 0.5) * moved


def test_a_killed_process_leaves_a_run_that_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    experiment = TINY.but(iterations=12)
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
    killed = Run(tmp_path / "killed", experiment)
    with subprocess.Popen([*words, str(killed.directory)], env=environment) as process:
        deadline = time.monotonic() + 60
        while not killed.has("checkpoint.safetensors") and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not killed.done("distill"), "it was to be killed before its end"
    subprocess.run([*words, str(killed.directory)], env=environment, check=True)
    whole = Run(tmp_path / "whole", experiment)
    subprocess.run([*words, str(whole.directory)], env=environment, check=True)
    assert hashes(killed) == hashes(whole)


def test_a_finished_run_is_read_not_made_again(
    uninterrupted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "load_inputs", None)
    again = distill(TINY, uninterrupted, progress=False)
    assert again.experiment.key == TINY.key


def test_what_comes_out(uninterrupted: Run) -> None:
    distilled = load_distilled(uninterrupted.path("distilled.safetensors"))
    start = load_distilled(uninterrupted.path("initial.safetensors"))
    assert distilled.images.shape == distilled.outliers.shape == (10, 1, 16, 16)
    assert distilled.labels.tolist() == list(range(10))
    assert not torch.equal(distilled.images, start.images)
    assert not torch.equal(distilled.outliers, start.outliers)
    assert 0 <= float(distilled.pictures().min()) <= float(distilled.pictures().max()) <= 1
    curves = uninterrupted.read_frame("curves.csv")
    assert curves["iteration"].tolist() == [1, 2, 3]
    assert (curves[["loss_in", "loss_out"]] > 0).all().all()


def test_what_is_not_to_be_distilled_stays_as_drawn(uninterrupted: Run) -> None:
    random_outliers = distill(TINY.but(outlier_selection="random"), progress=False)
    start = load_distilled(uninterrupted.path("initial.safetensors"))
    assert torch.equal(random_outliers.outliers, start.outliers)
    assert not torch.equal(random_outliers.images, start.images)
    everything = distill(TINY.but(selection="random", outlier_selection="random"), progress=False)
    assert torch.equal(everything.images, start.images)
    assert torch.equal(everything.outliers, start.outliers)


def test_outliers_reach_the_images_through_network_training_only() -> None:
    # with one matching step an iteration there is no training between two matches
    once = TINY.but(outer_loops=1, iterations=2)
    with_outliers = distill(once, progress=False)
    without = distill(once.but(outliers="none"), progress=False)
    assert torch.equal(with_outliers.images, without.images)
    assert without.outliers is None
    twice = TINY.but(outer_loops=2, inner_loops=3, iterations=1)
    heavier = distill(twice.but(outlier_weight=5.0), progress=False)
    assert not torch.equal(distill(twice, progress=False).images, heavier.images)


def test_distillation_lowers_the_loss_it_minimises(monkeypatch: pytest.MonkeyPatch) -> None:
    # one network in every iteration, so that losses differ by what the set has become
    from trustdd.distillation import gradient_matching
    from trustdd.students.training import build_network

    monkeypatch.setattr(
        gradient_matching,
        "build_network",
        lambda experiment, channels, classes, *purpose: build_network(
            experiment, channels, classes, "the one network"
        ),
    )
    experiment = TINY.but(method="dc", iterations=20, outer_loops=1, outliers="oe", real_batch=64)
    before = _mean_losses(experiment.but(lr_images=1e-12, lr_outliers=1e-12))
    after = _mean_losses(experiment)
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.85 * before[1]


def _mean_losses(experiment: Experiment, last: int = 6) -> tuple[float, float]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = run_of(experiment, Path(folder))
        distill(experiment, run, progress=False)
        tail = run.read_frame("curves.csv").tail(last)
    return float(tail["loss_in"].mean()), float(tail["loss_out"].mean())


def test_divergence_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    run = run_of(TINY, tmp_path)
    step = GradientMatching.step

    def diverging(self: GradientMatching, state: State, iteration: int) -> tuple[float, float]:
        losses = step(self, state, iteration)
        if iteration == 2:
            state.images[0] = float("nan")
        return losses

    monkeypatch.setattr(GradientMatching, "step", diverging)
    with pytest.raises(FloatingPointError, match="diverged at iteration 3"):
        distill(TINY, run, progress=False)
    assert not run.has("distilled.safetensors")
    kept = State.of(
        {k: t for k, t in run.read_tensors("checkpoint.safetensors").items() if k != "seconds"},
        torch.device("cpu"),
    )
    assert kept.iteration == 2
    assert bool(torch.isfinite(kept.images).all())


@pytest.mark.parametrize(
    "changes",
    [
        {"lr_outliers": 1e38},
        {"lr_images": 1e38},
        {"method": "mtt", "lr_outliers": 1e38, "experts": 1, "expert_epochs": 1,
         "max_start_epoch": 1, "student_steps": 2},
    ],
)  # fmt: skip
def test_nothing_that_is_not_finite_is_stored(changes: dict[str, object], tmp_path: Path) -> None:
    experiment = TINY.but(**changes)
    run = Run(tmp_path / "runs" / experiment.key, experiment)
    rate = next(name for name in changes if name.startswith("lr_"))
    with pytest.raises(FloatingPointError, match=rate):
        distill(experiment, run, progress=False)
    assert not run.done("distill")
    assert not run.has("distilled.safetensors")


def test_the_step_on_the_images_is_torchs_sgd_with_momentum() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, generator=generator)
    oracle = images.clone().requires_grad_()
    optimiser = torch.optim.SGD([oracle], lr=0.1, momentum=0.5)
    state = State(images.clone(), None)
    for _ in range(4):
        gradient = torch.randn(4, generator=generator)
        oracle.grad = gradient.clone()
        optimiser.step()
        state.descend("images", gradient, 0.1, 0.5)
    assert torch.allclose(state.images, oracle.detach(), atol=1e-6)


def test_a_saved_set_reads_back_and_names_no_folder(uninterrupted: Run, tmp_path: Path) -> None:
    distilled = load_distilled(uninterrupted.path("distilled.safetensors"))
    path = distilled.save(tmp_path / "set.safetensors")
    assert sha256(path) == hashes(uninterrupted)["distilled.safetensors"]
    assert b"data_root" not in path.read_bytes()
    stranger = tmp_path / "stranger.safetensors"
    uninterrupted.write_tensors("other.safetensors", {"a": torch.zeros(2)})
    uninterrupted.path("other.safetensors").rename(stranger)
    with pytest.raises(ValueError, match="expected 'trustdd-distilled-1'"):
        load_distilled(stranger)


def test_the_full_set_is_not_distilled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="selection 'full'"):
        distill(TINY.but(selection="full"), progress=False)
    with pytest.raises(ValueError, match="expected one of digits"):
        distill(TINY, run_of(TINY.but(seed=4), tmp_path), progress=False)
