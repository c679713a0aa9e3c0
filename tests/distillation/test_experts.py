"""Experts: true copies of every epoch, the same bytes however training was cut, shared folders."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

from trustdd.data.inliers import load_inliers
from trustdd.data.inputs import load_inputs
from trustdd.distillation import experts
from trustdd.distillation.adjoint import unflatten_parameters
from trustdd.distillation.experts import train_experts
from trustdd.settings.errors import Explained
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import (
    Experts,
    expert_lock,
    expert_path,
    experts_directory,
    experts_key,
)
from trustdd.store.locks import lock
from trustdd.store.tensors import read_tensors, write_sealed_tensors
from trustdd.store.verification import verify
from trustdd.students.training import build_network

TINY = Experiment(
    dataset="digits", method="mtt", outliers="poe", ipc=1, seed=3, width=4, depth=2, experts=2,
    max_start_epoch=2, expert_epochs=2, expert_lr=0.05, expert_batch=128, device="cpu",
    expert_augmentation=None,
)  # fmt: skip
EPOCHS = 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Experts:
    return train_experts(TINY, tmp_path_factory.mktemp("experts"), progress=False)


def file_bytes(found: Experts) -> list[bytes]:
    return [expert.path.read_bytes() for expert in found]


def logits(experiment: Experiment, vector: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    network = build_network(experiment, 1, 10, "expert", 0)
    names = [name for name, _ in network.named_parameters()]
    values = unflatten_parameters(network, vector)
    return functional_call(network, dict(zip(names, values, strict=True)), (images,))


def test_every_epoch_is_a_copy_of_its_own(trained: Experts) -> None:
    assert len(trained) == 2
    for expert in trained:
        parameters = expert.parameters()
        assert expert.epochs == EPOCHS
        assert parameters.shape[0] == EPOCHS + 1
        # snapshots that alias live weights would all be the last one
        assert (parameters.diff(dim=0).norm(dim=1) > 0).all()
        assert torch.equal(expert.snapshot(2), parameters[2])
    assert not torch.equal(trained[0].snapshot(0), trained[1].snapshot(0))


def test_experts_are_trained_as_far_as_any_segment_reads(trained: Experts) -> None:
    # every start that can be drawn, and what lies behind it
    for start_epoch in range(TINY.max_start_epoch):
        trained.segment(0, start_epoch, TINY.expert_epochs)
    with pytest.raises(ValueError, match="expected 0 to 3"):
        trained.segment(0, TINY.max_start_epoch, TINY.expert_epochs)


def test_segments_are_pairs_of_snapshots(trained: Experts) -> None:
    start, target = trained.segment(1, 1, 2)
    parameters = trained[1].parameters()
    assert torch.equal(start, parameters[1])
    assert torch.equal(target, parameters[3])
    with pytest.raises(ValueError, match=r"epoch 4 of expert-001\.safetensors; expected 0 to 3"):
        trained.segment(1, 2, 2)


def test_curves_are_those_of_the_snapshots(trained: Experts) -> None:
    data = load_inliers(TINY)
    curves = trained[0].curves()
    parameters = trained[0].parameters().double()
    for epoch in range(EPOCHS + 1):
        guess = logits(TINY, trained[0].snapshot(epoch), data.normalise(data.test.images)).argmax(1)
        accuracy = float((guess == data.test.labels).double().mean())
        assert curves.test_accuracy[epoch] == pytest.approx(accuracy, abs=1e-6)
        travelled = float((parameters[epoch] - parameters[0]).norm())
        assert curves.distance[epoch] == pytest.approx(travelled)
    assert curves.train_loss.isna().tolist() == [True] + [False] * EPOCHS
    assert curves.train_loss[EPOCHS] < curves.train_loss[1]
    assert curves.test_accuracy[EPOCHS] > curves.test_accuracy[0]
    assert trained.curves().expert.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("zca", [False, True])
def test_an_epoch_of_one_batch_is_one_gradient_step(
    zca: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))
    experiment = TINY.but(outliers="none", experts=1, expert_batch=10**6, expert_lr=0.5, zca=zca)
    expert = train_experts(experiment, tmp_path / "experts", progress=False, epochs=1)[0]
    data = load_inputs(experiment)
    start = expert.snapshot(0).requires_grad_()
    loss = nn.functional.cross_entropy(
        logits(experiment, start, data.normalise(data.train.images)), data.train.labels
    )
    (gradient,) = torch.autograd.grad(loss, start)
    expected = -0.5 * gradient
    step = expert.snapshot(1) - expert.snapshot(0)
    assert float((step - expected).norm() / expected.norm()) < 1e-4
    assert expert.curves().train_loss[1] == pytest.approx(float(loss.detach()), rel=1e-5)


def test_outliers_pull_experts_towards_uniform_predictions(tmp_path: Path) -> None:
    common = dict(experts=1, max_start_epoch=6, expert_lr=0.1)
    found, entropy = {}, {}
    for weight in (0.0, 2.0):
        experiment = TINY.but(**common, outlier_weight=weight)
        found[weight] = train_experts(experiment, tmp_path / str(weight), progress=False)[0]
    plain = train_experts(TINY.but(**common, outliers="none"), tmp_path / "none", progress=False)[0]
    # λ = 0 trains as ordinary experts do, up to rounding: batches and start are the same
    close = found[0.0].snapshot(1) - plain.snapshot(1)
    assert float(close.norm()) < 1e-3 * float((plain.snapshot(1) - plain.snapshot(0)).norm())
    data = load_inliers(TINY)
    inverted = data.normalise(255 - data.test.images)
    for weight, expert in found.items():
        probability = logits(TINY, expert.snapshot(expert.epochs), inverted).softmax(1)
        entropy[weight] = float(-(probability * probability.log()).sum(1).mean())
    assert entropy[2.0] > entropy[0.0]
    assert entropy[2.0] <= math.log(10) + 1e-6


def test_interrupted_experts_end_in_the_same_bytes(
    trained: Experts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def stopping(write: Callable[..., Path]) -> Callable[..., Path]:
        def write_and_stop(*what: Any) -> Path:
            nonlocal written
            path = write(*what)
            written += 1
            if written in (2, 5):
                raise KeyboardInterrupt
            return path

        return write_and_stop

    for name in ("write_tensors", "write_sealed_tensors"):
        monkeypatch.setattr(experts, name, stopping(getattr(experts, name)))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_experts(TINY, tmp_path, progress=False)
    again = train_experts(TINY, tmp_path, progress=False)
    assert file_bytes(again) == file_bytes(trained)
    assert sorted(p.name for p in tmp_path.glob("*expert*")) == [e.path.name for e in trained]


SCRIPT = """
import json, sys
from pathlib import Path
from trustdd.settings.errors import Explained
from trustdd.settings.experiment import Experiment
from trustdd.distillation.experts import train_experts
experiment = Experiment.from_dict({**json.loads(sys.argv[2]), "device": "cpu"})
train_experts(experiment, Path(sys.argv[1]), progress=False)
"""


def test_a_killed_process_is_resumed_to_the_same_bytes(trained: Experts, tmp_path: Path) -> None:
    settings = json.dumps(TINY.to_dict())
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), settings])
    while not list(tmp_path.glob("*expert*")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert file_bytes(train_experts(TINY, tmp_path, progress=False)) == file_bytes(trained)


def test_more_epochs_and_more_experts_add_to_what_is_stored(
    trained: Experts, tmp_path: Path
) -> None:
    train_experts(TINY.but(experts=1), tmp_path, progress=False, epochs=1)
    assert Experts(tmp_path)[0].epochs == 1
    grown = train_experts(TINY, tmp_path, progress=False)
    assert file_bytes(grown) == file_bytes(trained)
    assert verify(grown.directory).complaints == []
    # longer ones, stored by whoever needed them, serve as they are
    longer = train_experts(TINY, tmp_path / "longer", progress=False, epochs=EPOCHS + 1)
    lengths = [e.epochs for e in train_experts(TINY, longer.directory, progress=False)]
    assert lengths == [EPOCHS + 1] * 2
    before = file_bytes(grown)
    fewer = train_experts(TINY.but(experts=1), tmp_path, progress=False, epochs=1)
    assert len(fewer) == 1
    assert file_bytes(Experts(tmp_path)) == before


def test_experts_that_other_source_trained_are_trained_anew(
    trained: Experts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "experts" / "key"
    shutil.copytree(trained.directory, folder)
    times = [expert.path.stat().st_mtime_ns for expert in Experts(folder)]

    def changed() -> list[bool]:
        again = train_experts(TINY, folder, progress=False)
        assert file_bytes(again) == file_bytes(trained)
        assert verify(again.directory).complaints == []
        now = [expert.path.stat().st_mtime_ns for expert in again]
        found = [a != b for a, b in zip(times, now, strict=True)]
        times[:] = now
        return found

    assert changed() == [False, False]
    monkeypatch.setattr(experts, "experts_source", lambda _: "another")
    assert changed() == [True, True]
    # half of one is trained by yet other source: it is not gone on from
    monkeypatch.setattr(experts, "experts_source", lambda _: "yet another")
    half = {k: t[:2] for k, t in read_tensors(expert_path(folder, 0))[0].items()}
    partial = folder / ".expert-000.partial.safetensors"
    write_sealed_tensors(partial, half, {"source": "another", "seconds": "1.0"})
    assert changed() == [True, True]
    # what is published is taken as it is, and nothing is added to it
    for words in (["init", "--quiet"], ["add", "--force", "manifest.json"]):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    monkeypatch.setattr(experts, "experts_source", lambda _: "a further one")
    assert changed() == [False, False]
    with pytest.raises(Explained, match="published, without 2 of 2 experts of 9 epochs"):
        train_experts(TINY, folder, progress=False, epochs=9)


def test_an_expert_that_is_not_recorded_is_not_there(trained: Experts, tmp_path: Path) -> None:
    """As after a kill between the file and its record."""
    folder = tmp_path / "results" / "experts" / "key"
    folder.mkdir(parents=True)
    shutil.copy(trained[0].path, folder)
    with pytest.raises(ValueError, match="holds 0 experts"):
        Experts(folder)
    again = train_experts(TINY, folder, progress=False)
    assert file_bytes(again) == file_bytes(trained)
    assert set(again.manifest()["files"]) == {expert.path.name for expert in trained}


def test_training_needs_no_global_generator(trained: Experts, tmp_path: Path) -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = train_experts(TINY.but(experts=1), tmp_path, progress=False)
    assert file_bytes(again) == file_bytes(trained)[:1]
    assert torch.equal(state, torch.get_rng_state())


def test_augmented_experts_differ_and_repeat(trained: Experts, tmp_path: Path) -> None:
    experiment = TINY.but(experts=1, expert_augmentation="color_crop_scale_rotate")
    first, second = (
        train_experts(experiment, tmp_path / name, progress=False, epochs=1) for name in "ab"
    )
    assert file_bytes(first) == file_bytes(second)
    assert torch.equal(first[0].snapshot(0), trained[0].snapshot(0))
    assert not torch.equal(first[0].snapshot(1), trained[0].snapshot(1))


def test_processes_that_share_a_folder_share_the_work(trained: Experts, tmp_path: Path) -> None:
    with lock(expert_lock(tmp_path, "000")) as held:
        assert held
        other = threading.Thread(target=train_experts, args=(TINY, tmp_path, False))
        other.start()
        while not expert_path(tmp_path, 1).is_file() and other.is_alive():
            time.sleep(0.01)
        assert not expert_path(tmp_path, 0).is_file()
        assert other.is_alive()
    other.join()
    assert file_bytes(Experts(tmp_path)) == file_bytes(trained)


def test_the_key_covers_what_an_expert_depends_on(tmp_path: Path) -> None:
    key = experts_key(TINY)
    for change in (
        {"ipc": 5}, {"student_steps": 7}, {"iterations": 3}, {"experts": 9}, {"lr_images": 3.0},
        {"expert_epochs": 3}, {"max_start_epoch": 4}, {"ood_limit": 10}, {"initial": "noise"},
    ):  # fmt: skip
        assert experts_key(TINY.but(**change)) == key, change
    for change in (
        {"seed": 1}, {"outliers": "none"}, {"outliers": "oe"}, {"outlier_weight": 0.1},
        {"corruptions": ("invert",)}, {"expert_lr": 0.1}, {"expert_batch": 64}, {"width": 8},
        {"expert_augmentation": "crop"}, {"depth": 1}, {"image_size": 8}, {"zca": True},
    ):  # fmt: skip
        assert experts_key(TINY.but(**change)) != key, change
    assert experts_directory(TINY, tmp_path) == tmp_path / "experts" / key


def test_a_diverging_expert_is_named_and_leaves_no_nan(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"expert 0 .*epoch 1 .*expert_lr below 1e\+30"):
        train_experts(TINY.but(expert_lr=1e30), tmp_path, progress=False)
    for path in tmp_path.glob("*.safetensors"):
        assert torch.isfinite(read_tensors(path)[0]["parameters"]).all()


def test_clear_errors(trained: Experts, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds experts of expert_lr 0.05; expected 0.1"):
        train_experts(TINY.but(expert_lr=0.1), trained.directory, progress=False)
    with pytest.raises(ValueError, match="holds 2 experts; expected 5"):
        Experts(trained.directory, 5)
    with pytest.raises(ValueError, match="holds 0 experts"):
        Experts(tmp_path)
    with pytest.raises(ValueError, match="epochs 0; expected an integer ≥ 1"):
        train_experts(TINY, tmp_path, progress=False, epochs=0)


def test_changed_bytes_are_found(tmp_path: Path) -> None:
    found = train_experts(TINY.but(experts=1), tmp_path, progress=False, epochs=1)
    assert found.manifest()["settings"]["seed"] == 3
    assert verify(found.directory).complaints == []
    content = bytearray(found[0].path.read_bytes())
    content[-1] ^= 1
    found[0].path.write_bytes(bytes(content))
    (complaint,) = verify(found.directory).complaints
    assert complaint.startswith(f"{found[0].path}: changed since it was recorded")
