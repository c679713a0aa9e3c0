"""Evaluations as the pipeline makes them: of several students, side by side, published or not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from trustdd.pipeline import completion
from trustdd.pipeline.completion import bring_up_to_date, complete
from trustdd.pipeline.work import load_student
from trustdd.report.results import per_run, student_reports, student_spread, summary
from trustdd.settings.errors import Explained
from trustdd.settings.experiment import Experiment
from trustdd.store.files import sha256
from trustdd.store.run import Run

SMALL = Experiment(
    outliers="poe", ipc=1, selection="random", outlier_selection="random", width=8, depth=1,
    training_epochs=10, ood=("gaussian", "textures"), ood_limit=50, device="cpu",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    return tmp_path


def stored(folder: Path) -> dict[Path, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {path: sha256(path) for path in files}


def publish_all(root: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    subprocess.run(["git", "-C", str(root), "add", "--all"], check=True)


def test_a_further_student_is_another_one_and_leaves_the_first_as_it_is(root: Path) -> None:
    one = complete(SMALL, "trial", progress=False)
    before = stored(root)
    run = complete(SMALL.but(students=2), "trial", progress=False)
    assert run.directory == one.directory
    assert before.items() <= stored(root).items()
    first, second = (load_student(run, i).state_dict() for i in range(2))
    assert not torch.equal(first["classifier.weight"], second["classifier.weight"])
    # by itself, student 1 has the same bytes as after student 0
    alone = Run.of(SMALL.but(students=2), "alone")
    bring_up_to_date(alone, "distill", progress=False)
    from trustdd.pipeline.work import run_stage

    run_stage("evaluate", alone, progress=False, student=1)
    for name in ("student.safetensors", "logits.safetensors", "report.csv"):
        assert sha256(alone.path(name, 1)) == sha256(run.path(name, 1))

    frame = student_reports([run])
    each = per_run(frame, ["student"])
    assert list(each["student"]) == [0, 1]
    assert summary([run])["auroc"].item() == pytest.approx(each["auroc"].mean())
    assert student_spread([run])["auroc"].item() == pytest.approx(each["auroc"].std(ddof=1))
    assert student_spread([one])["auroc"].isna().all(), "a single student has no spread"


def test_what_is_published_is_not_written_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = complete(SMALL, "trial", progress=False)
    publish_all(root)
    before = stored(root)
    # made by other source, and asked for in part: read as it is
    monkeypatch.setattr(completion, "stage_source", lambda *_: "another")
    part = complete(SMALL.but(ood=("textures",)), "trial", progress=False)
    assert list(part.read_frame("report.csv")["ood"].unique()) == ["textures"]
    assert stored(root) == before
    # what is not there yet lies beside it
    wider = complete(SMALL.but(ood=("uniform",), students=2), "trial", progress=False)
    assert before.items() <= stored(root).items()
    assert len(wider.records()) == 3
    # and is made again when its source changes, which what is published never is
    monkeypatch.setattr(completion, "stage_source", lambda *_: "yet another")
    assert bring_up_to_date(wider, "evaluate", progress=False)
    assert not bring_up_to_date(run, "evaluate", progress=False)
    assert before.items() <= stored(root).items()


def test_what_is_published_and_gone_is_not_made_anew(root: Path) -> None:
    run = complete(SMALL, "trial", progress=False)
    publish_all(root)
    run.path("report.csv").unlink()
    with pytest.raises(Explained, match="published, and not as it is recorded; restore it with"):
        complete(SMALL, "trial", progress=False)
