"""What a set was tested with keys its reports: side by side, and less is read from more."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trustdd.settings.experiment import EVALUATION_FIELDS, Experiment
from trustdd.store.files import sha256
from trustdd.store.run import Run
from trustdd.store.stages import STAGES, covers
from trustdd.store.verification import verify

EXPERIMENT = Experiment(ood=("gaussian", "textures", "photos"), ood_limit=10, networks=("mlp",))


def evaluate(run: Run, student: int = 0, value: float = 0.5) -> None:
    """Store a made-up evaluation: value + 0.01 · (place of the OOD set), 0.1 more a student."""
    sets = run.experiment.ood
    rows = [
        {"ood": name, "score": score, "n_in": 20, "n_out": 10,
         "auroc": value + 0.1 * student + 0.01 * place, "accuracy": value}
        for place, name in enumerate(sets)
        for score in ("msp", "energy")
    ]  # fmt: skip
    part = run.part("evaluate", student)
    part.write_frame("report.csv", pd.DataFrame(rows))
    logits = {f"ood.{name}": torch.full((10, 2), float(i)) for i, name in enumerate(sets)}
    part.write_tensors("logits.safetensors", {"in": torch.full((20, 2), float(student)), **logits})
    run.record("evaluate", ["report.csv", "logits.safetensors"], 1.0, student=student)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "key", EXPERIMENT)
    made.write_tensors("distilled.safetensors", {"images": torch.zeros(2)})
    made.record("distill", ["distilled.safetensors"], 1.0)
    evaluate(made)
    return made


def under(run: Run, **changes: object) -> Run:
    return Run(run.directory, run.experiment.but(**changes))


def stored(run: Run) -> dict[Path, str]:
    return {path: sha256(path) for path in run.directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "changes",
    [{"ood": ("uniform",)}, {"ood": ("gaussian", "uniform")}, {"ood_limit": 5}, {"ood_limit": 0}],
)
def test_another_evaluation_is_stored_beside_the_first(run: Run, changes: dict) -> None:
    other = under(run, **changes)
    assert other.experiment.key == run.experiment.key
    assert not other.finished("evaluate")
    before = stored(run)
    evaluate(other, value=0.25)
    assert before.items() <= stored(run).items(), "nothing that was there has changed"
    assert other.read_frame("report.csv")["auroc"].iloc[0] == 0.25
    assert run.read_frame("report.csv")["auroc"].iloc[0] == 0.5
    assert verify(run.directory).complaints == []


@pytest.mark.parametrize("ood", [("textures",), ("photos", "gaussian"), ("photos", "textures")])
def test_a_part_of_a_suite_is_read_from_the_whole(run: Run, ood: tuple[str, ...]) -> None:
    part = under(run, ood=ood)
    assert part.finished("evaluate")
    frame, whole = part.read_frame("report.csv"), run.read_frame("report.csv")
    assert list(frame["ood"].unique()) == list(ood)
    for name in ood:
        rows = whole[whole["ood"] == name].reset_index(drop=True)
        assert frame[frame["ood"] == name].reset_index(drop=True).equals(rows)
    logits = part.read_tensors("logits.safetensors")
    assert list(logits) == ["in", *(f"ood.{name}" for name in ood)]
    assert float(logits[f"ood.{ood[0]}"][0, 0]) == (EXPERIMENT.ood).index(ood[0])


def test_a_report_is_the_mean_over_students(run: Run) -> None:
    three = under(run, students=3)
    assert not three.finished("evaluate"), "there is one student"
    for student in (1, 2):
        evaluate(three, student)
    assert three.finished("evaluate")
    assert three.part("evaluate").directory == run.part("evaluate").directory
    mean = three.read_frame("report.csv")
    each = [three.read_frame("report.csv", student) for student in range(3)]
    np.testing.assert_allclose(mean["auroc"], sum(f["auroc"] for f in each) / 3, rtol=1e-15)
    assert mean["auroc"].iloc[0] == pytest.approx(0.6)
    assert mean["n_in"].dtype == int
    for one, next_one in pairwise(each):
        np.testing.assert_allclose(next_one["auroc"] - one["auroc"], 0.1, rtol=1e-12)
    # one student and two are read from three
    assert run.read_frame("report.csv").equals(each[0])
    assert under(run, students=2).read_frame("report.csv")["auroc"].iloc[0] == pytest.approx(0.55)
    assert float(three.read_tensors("logits.safetensors", 2)["in"][0, 0]) == 2
    assert list(three.records()) == [
        "distill",
        *(f"{three.part('evaluate').directory.parent.name}/student-{i}" for i in range(3)),
    ]


def test_what_tested_another_set_does_not_count(run: Run) -> None:
    run.write_tensors("distilled.safetensors", {"images": torch.ones(2)})
    run.record("distill", ["distilled.safetensors"], 1.0)
    assert not run.finished("evaluate")
    assert run.records().keys() == {"distill"}
    # the same bytes again do
    run.write_tensors("distilled.safetensors", {"images": torch.zeros(2)})
    run.record("distill", ["distilled.safetensors"], 1.0)
    assert run.finished("evaluate")


def test_every_field_outside_the_key_keys_an_evaluation() -> None:
    """A field that is added to an experiment's evaluation has to be taken up by some stage."""
    by_folder = {name for stage in STAGES.values() for name in stage.settings}
    # a student has a folder of its own
    assert by_folder | {"students"} == set(EVALUATION_FIELDS)


def test_more_covers_less_and_nothing_else() -> None:
    stored = {"ood": ["a", "b"], "ood_limit": 5}
    assert covers(stored, {"ood": ["b"], "ood_limit": 5})
    assert not covers(stored, {"ood": ["a", "c"], "ood_limit": 5})
    assert not covers(stored, {"ood": ["a"], "ood_limit": 4})
    assert not covers({}, {"ood": []})
    folders = {**stored, "folders": {"a": "1", "b": "2"}}
    assert covers(folders, {"ood": ["b"], "ood_limit": 5, "folders": {"b": "2"}})
    assert not covers(folders, {"ood": ["b"], "ood_limit": 5, "folders": {"b": "3"}})
    assert not covers(stored, {"ood": ["b"], "ood_limit": 5, "folders": {"b": "2"}})
