"""Evaluations as the pipeline makes them: of several students, side by side, published or not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from data_files import write_splits

from trustdd.distillation import loop
from trustdd.distillation.gradient_matching import GradientMatching
from trustdd.distillation.state import State
from trustdd.pipeline import completion
from trustdd.pipeline.completion import bring_up_to_date, complete
from trustdd.pipeline.work import load_student
from trustdd.report.results import per_run, student_reports, student_spread, summary
from trustdd.settings.errors import BadInput, Explained
from trustdd.settings.experiment import Experiment
from trustdd.store.files import sha256
from trustdd.store.records import write_record
from trustdd.store.run import Run
from trustdd.store.tensors import read_sealed_tensors, write_sealed_tensors

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


def test_a_run_records_the_data_it_saw_and_is_tested_on_no_other(root: Path) -> None:
    own = write_splits(root / "a", "pets", {"cat": 3, "dog": 3}).parent
    other = write_splits(root / "b", "pets", {"cat": 3, "dog": 3}, seed=7).parent
    asked = SMALL.but(
        dataset="pets", data_root=str(own), image_size=8, ood=("gaussian",), depth=1, outliers="oe",
        outlier_pool="photo_pool",
    )  # fmt: skip
    first, second = (
        complete(e, "trial", progress=False) for e in (asked, asked.but(data_root=str(other)))
    )
    assert first.directory != second.directory, "two folders of one name are two runs"
    seen = [run.manifest()["distill"]["data"] for run in (first, second)]
    assert seen[0]["train"] != seen[1]["train"]
    assert seen[0]["outliers"] == seen[1]["outliers"]
    tested = first.records()[f"{first.part('evaluate').directory.parent.name}/student-0"]["data"]
    assert set(tested["ood"]) == {"gaussian"}

    manifest = first.manifest()
    manifest["distill"]["data"]["train"] = seen[1]["train"]
    write_record(first.path("manifest.json"), manifest)
    with pytest.raises(BadInput, match="the images of 'pets' are other ones than it was distilled"):
        complete(asked.but(ood=("uniform",)), "trial", progress=False)


def test_a_checkpoint_of_other_data_is_not_gone_on_from(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SMALL.but(selection="distilled", iterations=2, outer_loops=1, inner_loops=0)
    whole = complete(small, "whole", progress=False)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    run = Run.of(small, "parts")
    step = GradientMatching.step

    def once(self: GradientMatching, state: State, iteration: int) -> tuple[float, float]:
        if iteration == 1:
            raise KeyboardInterrupt
        return step(self, state, iteration)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(GradientMatching, "step", once)
        bring_up_to_date(run, "distill", progress=False)
    path = run.path(loop.CHECKPOINT)
    tensors, metadata = read_sealed_tensors(path)
    assert set(json.loads(metadata["data"])) == {"train"}
    tensors["images"] = tensors["images"] + 1
    write_sealed_tensors(path, tensors, {"data": json.dumps({"train": "another"})})
    with pytest.warns(UserWarning, match="of other data than is here now; it is kept as"):
        bring_up_to_date(run, "distill", progress=False)
    assert run.path("checkpoint.damaged").is_file()
    assert run.manifest()["distill"]["files"] == whole.manifest()["distill"]["files"]
