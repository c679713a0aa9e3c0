"""Artefacts are whole or absent, hashed, and byte-stable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import derive_seed, stream
from trustdd.store.files import atomic_path, sha256
from trustdd.store.run import Run
from trustdd.store.tensors import read_tensors, write_tensors
from trustdd.store.verification import verify


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"]


def test_the_same_tensors_give_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from trustdd.store.tensors import write_tensors\n"
        "write_tensors(Path(sys.argv[1]), {'b': torch.arange(5), 'a': torch.eye(3)},"
        " {c: c * 3 for c in 'qwertyuiop'})"
    )
    hashes = set()
    for number in range(3):
        path = tmp_path / f"{number}.safetensors"
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
        hashes.add(sha256(path))
    assert len(hashes) == 1
    tensors, metadata = read_tensors(path)
    assert metadata["q"] == "qqq"
    assert torch.equal(tensors["a"], torch.eye(3))


def test_a_missing_or_damaged_tensor_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_tensors(tmp_path / "none.safetensors")
    path = write_tensors(tmp_path / "cut.safetensors", {"a": torch.zeros(100)})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a readable"):
        read_tensors(path)


def test_a_stage_is_done_when_recorded_and_its_files_are_there(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", Experiment(seed=3))
    run.write_frame("curves.csv", pd.DataFrame({"loss_in": [0.1 + 0.2]}))
    assert not run.finished("distill")
    run.record("distill", ["curves.csv"], 1.0)
    assert run.finished("distill")
    assert verify(run.directory).complaints == []
    assert run.read_frame("curves.csv")["loss_in"][0] == 0.1 + 0.2
    assert Run.open(run.directory).experiment == run.experiment.but(data_root="data")
    run.path("curves.csv").write_text("loss_in\n1\n")
    assert "curves.csv: changed since it was recorded" in verify(run.directory).complaints[0]
    run.path("curves.csv").unlink()
    assert not run.finished("distill")
    assert "missing" in verify(run.directory).complaints[0]


def test_streams_differ_by_seed_and_purpose_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    draws = [
        torch.rand(4, generator=stream(*key)).tolist()
        for key in ((0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a1"))
    ]
    assert len({tuple(d) for d in draws}) == len(draws)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.rand(4, generator=stream(0, "a")).tolist() == draws[0]
    assert derive_seed(0, "a") == 8109984738409489985
