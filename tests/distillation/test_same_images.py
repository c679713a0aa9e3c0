"""Where images and outliers are distilled apart, the images are distilled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustdd.distillation.loop import distill, same_images
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run

ORDINARY = Experiment(
    dataset="digits", method="dsa", ipc=1, seed=5, width=16, depth=1, iterations=8, real_batch=8,
    device="cpu",
)  # fmt: skip
FILES = ("distilled.safetensors", "initial.safetensors", "snapshots.safetensors", "curves.csv")


def run_of(experiment: Experiment, root: Path) -> Run:
    return Run.of(experiment, "tests", root)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = run_of(ORDINARY, tmp_path_factory.mktemp("ordinary"))
    distill(ORDINARY, run, progress=False)
    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"outliers": "poe"},
        {"outliers": "oe", "outlier_ipc": 2},
        {"outliers": "poe", "outlier_selection": "random"},
    ],
)
def test_with_the_images_of_another_run_it_is_the_same_to_the_byte(
    changes: dict[str, object], ordinary: Run, tmp_path: Path
) -> None:
    experiment = ORDINARY.but(**changes)
    alone, shared = (run_of(experiment, tmp_path / name) for name in ("alone", "shared"))
    distill(experiment, alone, progress=False)
    distill(experiment, shared, progress=False, images_of=ordinary)
    for name in FILES:
        assert shared.path(name).read_bytes() == alone.path(name).read_bytes(), name
    assert shared.manifest()["distill"]["images_of"] == ordinary.experiment.key
    before = ordinary.manifest()["distill"]["seconds"]
    assert shared.manifest()["distill"]["seconds"] >= before


def test_which_run_has_the_same_images() -> None:
    found = same_images(ORDINARY.but(outliers="oe"))
    assert found is not None
    assert found.key == ORDINARY.key
    assert same_images(ORDINARY) is None
    # networks that train on images and outliers let them meet
    assert same_images(ORDINARY.but(outliers="oe", ipc=10)) is None
    assert same_images(ORDINARY.but(outliers="oe", method="mtt")) is None
    # networks that are not trained do not, whatever the size
    matched = ORDINARY.but(method="dm", ipc=10)
    assert same_images(matched.but(outliers="poe")) == matched
    assert same_images(ORDINARY.but(outliers="oe", selection="random")) is None


def test_other_images_are_refused(ordinary: Run, tmp_path: Path) -> None:
    other = ORDINARY.but(outliers="poe", seed=6)
    with pytest.raises(ValueError, match=r"images of .*seed5.* expected those of .*seed6"):
        distill(other, run_of(other, tmp_path), progress=False, images_of=ordinary)
    meeting = ORDINARY.but(outliers="poe", outer_loops=2)
    with pytest.raises(ValueError, match="expected those of no other run"):
        distill(meeting, run_of(meeting, tmp_path), progress=False, images_of=ordinary)
    assert not any(tmp_path.rglob("*.*"))
