"""Outliers distilled around a given set, whose images never move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.inputs import load_inputs
from trustdd.distillation.loop import distill
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run
from trustdd.students.training import train_student

SMALL = {
    "iterations": 3, "outer_loops": 3, "inner_loops": 2, "real_batch": 8, "width": 8, "depth": 2,
    "training_epochs": 3, "device": "cpu",
}  # fmt: skip
#: of trajectory matching
EXPERTS = {
    "experts": 1, "expert_epochs": 1, "max_start_epoch": 1, "student_steps": 3, "student_lr": 0.02,
    "expert_batch": 512,
}  # fmt: skip


def foreign(path: Path, **changes: object) -> Path:
    """A set that half precision does not hold, with soft labels, out of order, as others' are."""
    data = load_inputs(Experiment())
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(20, generator=generator)
    chosen = torch.cat([(data.train.labels == c).nonzero().flatten()[:2] for c in range(10)])[order]
    images = data.normalise(data.train.images[chosen])
    images = images + 0.1 * torch.randn(images.shape, generator=generator)
    labels = torch.full((20, 10), 0.01).scatter_(1, data.train.labels[chosen][:, None], 0.91)
    given = {
        "images": images, "labels": labels, "outliers": None, "student_lr": None,
        "experiment": Experiment(
            selection="given", given_sha256="0" * 64, ipc=2, augmentation=None, width=8,
            training_epochs=7,
        ),
        "mean": data.mean, "std": data.std, **changes,
    }  # fmt: skip
    return DistilledSet(**given).save(path)  # type: ignore[arg-type]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    return foreign(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize("outliers", ["none", "oe", "poe"])
@pytest.mark.parametrize("method", ["dc", "dsa", "dm"])
def test_images_stay_to_the_bit_and_outliers_move(given: Path, method: str, outliers: str) -> None:
    experiment = Experiment(
        selection="given", given=str(given), method=method, outliers=outliers, **SMALL
    )
    before = load_distilled(given)
    after = distill(experiment, progress=False)
    assert torch.equal(after.images, before.images)
    assert torch.equal(after.labels, before.labels)
    assert after.student_lr is None
    if outliers == "none":
        assert after.outliers is None
        return
    assert after.outliers.shape == (20, 1, 16, 16)
    drawn = distill(experiment.but(outlier_selection="random"), progress=False)
    assert not torch.equal(after.outliers, drawn.outliers)
    assert torch.equal(drawn.images, before.images)


def test_stored_and_read_again_they_are_the_same(given: Path, tmp_path: Path) -> None:
    experiment = Experiment(selection="given", given=given, outliers="poe", **SMALL)
    run = Run(tmp_path / experiment.key, experiment)
    distill(experiment, run, progress=False)
    for name in ("distilled", "initial"):
        stored = load_distilled(run.path(f"{name}.safetensors"))
        assert torch.equal(stored.images, load_distilled(given).images)
    again = Run.open(run.directory)
    assert again.experiment.key == experiment.key
    assert str(given) not in run.path("experiment.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rate", [None, 0.03])
def test_trajectory_matching_moves_outliers_alone(tmp_path: Path, rate: float | None) -> None:
    path = foreign(tmp_path / "set.safetensors", student_lr=rate)
    experiment = Experiment(
        selection="given", given=str(path), method="mtt", outliers="poe", lr_outliers=10.0,
        **SMALL, **EXPERTS,
    )  # fmt: skip
    after = distill(experiment, progress=False)
    assert torch.equal(after.images, load_distilled(path).images)
    assert after.student_lr == rate
    drawn = distill(experiment.but(outlier_selection="random"), progress=False)
    assert not torch.equal(after.outliers, drawn.outliers)


def test_other_statistics_leave_the_images_and_fit_the_outliers(tmp_path: Path) -> None:
    """The same pixels under two normalisations: the same outliers, each in its own set's units."""
    own = load_distilled(foreign(tmp_path / "own.safetensors"))
    (mean,), (std,) = own.mean, own.std
    pixels = own.images * std + mean
    path = foreign(
        tmp_path / "other.safetensors", images=(pixels - 0.5) / 0.25, mean=(0.5,), std=(0.25,)
    )
    settings = dict(selection="given", outliers="poe", outlier_selection="random", **SMALL)
    one = distill(Experiment(given=tmp_path / "own.safetensors", **settings), progress=False)
    two = distill(Experiment(given=path, **settings), progress=False)
    assert torch.equal(two.images, load_distilled(path).images)
    assert (two.mean, two.std) == ((0.5,), (0.25,))
    assert torch.allclose(two.outlier_pictures(), one.outlier_pictures(), atol=2e-3)


def test_an_experiment_around_a_set_takes_over_what_is_not_asked_for(given: Path) -> None:
    own = Experiment(selection="given", given=str(given))
    assert (own.ipc, own.width, own.training_epochs, own.augmentation) == (2, 8, 7, None)
    assert own.but(outliers="poe").outlier_ipc == 2
    asked = Experiment(selection="given", given=str(given), training_epochs=5, width=16)
    assert (asked.training_epochs, asked.width, asked.ipc) == (5, 16, 2)


def test_the_content_counts_and_not_the_path(given: Path, tmp_path: Path) -> None:
    moved = shutil.copy(given, tmp_path / "elsewhere.safetensors")
    one, two = (Experiment(selection="given", given=str(p)) for p in (given, moved))
    assert one.key == two.key
    stored = Experiment.from_dict(json.loads(json.dumps(one.to_dict())))
    assert (stored.given, stored.key) == (None, one.key)
    other = foreign(tmp_path / "other.safetensors", student_lr=0.5)
    assert Experiment(selection="given", given=str(other)).key != one.key
    assert Experiment(selection="given", given=str(given), label_temperature=2.0).key != one.key


def test_what_cannot_be_is_refused_before_anything_is_made(given: Path, tmp_path: Path) -> None:
    (tmp_path / "words.safetensors").write_text("words")
    for values, message in (
        ({"selection": "given"}, "without a set; expected given"),
        ({"given": str(given)}, "under selection 'distilled'; expected 'given'"),
        ({"given_sha256": "0" * 64}, "under selection 'distilled'"),
        ({"selection": "given", "given": str(tmp_path / "no")}, "no such file"),
        ({"selection": "given", "given": str(tmp_path)}, "no such file"),
        ({"selection": "given", "given": str(tmp_path / "words.safetensors")}, "no distilled set"),
        (
            {"selection": "given", "given": str(given), "given_sha256": "0" * 64},
            "is not what it was",
        ),
        ({"selection": "given", "given_sha256": "xyz"}, "expected a SHA-256"),
        ({"selection": "given", "given": 3}, "the path of a file"),
    ):
        with pytest.raises(ValueError, match=message):
            Experiment(**values)  # type: ignore[arg-type]
    experiment = Experiment(selection="given", given=str(given), **SMALL)
    for changes, message in (
        ({"image_size": 8}, "image_size 8; the given set .* is of 16"),
        ({"dataset": "mnist", "data_root": "x"}, "dataset 'mnist'; the given set .* of 'digits'"),
        ({"zca": True}, "zca true; the given set .* is not whitened"),
    ):
        from trustdd.data.given import read_given

        with pytest.raises(ValueError, match=message):
            read_given(experiment.but(**changes))
    foreign(given, student_lr=0.25)
    with pytest.raises(ValueError, match="has changed since the experiment was made"):
        distill(experiment, progress=False)
    forgotten = Experiment.from_dict(experiment.to_dict())
    with pytest.raises(ValueError, match="the given set's file is not recorded"):
        distill(forgotten, progress=False)


def test_the_sets_own_outliers_are_taken_as_they_are(tmp_path: Path) -> None:
    outliers = torch.randn(7, 1, 16, 16, generator=torch.Generator().manual_seed(8))
    own = Experiment(selection="given", given_sha256="0" * 64, ipc=2, outliers="oe", width=8)
    path = foreign(tmp_path / "own.safetensors", outliers=outliers, experiment=own)
    settings = {**SMALL, "selection": "given", "given": str(path)}
    taken = Experiment(outliers="oe", outlier_selection="given", **settings)
    assert torch.equal(distill(taken, progress=False).outliers, outliers)
    # nothing of them enters where others are asked for, or none
    assert distill(Experiment(**settings), progress=False).outliers is None
    drawn = distill(
        Experiment(outliers="poe", outlier_selection="random", **settings), progress=False
    )
    assert drawn.outliers.shape[0] == 20
    with pytest.raises(ValueError, match="expected 'given' for both"):
        Experiment(outliers="oe", outlier_selection="given")
    bare = foreign(tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="has no outliers, expected distilled or random"):
        distill(taken.but(given=str(bare)), progress=False)


def test_a_student_of_the_set_with_its_outliers_is_trained(given: Path) -> None:
    experiment = Experiment(selection="given", given=str(given), outliers="oe", **SMALL)
    after = distill(experiment, progress=False)
    student = train_student(after, experiment)
    assert bool(torch.isfinite(next(student.parameters())).all())
