"""Published results: small, without data sets' images, and enough for every figure and table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import fabricated_runs
import pandas as pd
import pytest
import yaml

from trustdd.cli import main
from trustdd.data.distilled_set import load_distilled
from trustdd.report.analysis.costs import costs
from trustdd.report.figures import FIGURES
from trustdd.report.publishing import publish
from trustdd.report.results import MissingArtefacts
from trustdd.report.tables import TABLES
from trustdd.settings.errors import MissingData
from trustdd.store.files import sha256
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.run import Run
from trustdd.store.verification import verify

pytestmark = pytest.mark.slow
GROUPS = ("main", "random_images", "random_outliers", "mtt", "full_data", "ablation_ipc")


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    content = yaml.safe_load(fabricated_runs.PROFILE)
    content["groups"] = {name: content["groups"][name] for name in GROUPS}
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "results"))
    found = load_profile(fabricated_runs.write_profile(tmp_path, yaml.safe_dump(content)))
    fabricated_runs.fabricate(found, tmp_path / "results")
    return found


def exported(profile: Profile) -> dict[str, str]:
    """Make every figure and table that can be made; the hash of each picture and CSV."""
    found = {}
    for catalogue in (FIGURES, TABLES):
        for name in catalogue.available(profile):
            shown = catalogue.show(name, profile=profile)  # type: ignore[attr-defined]
            for path in shown.files.values():
                if path.suffix in (".svg", ".csv", ".tex"):
                    found[path.name] = sha256(path)
    runs = [Run.of(e, profile.name) for e in profile.group("mtt")]
    for path in FIGURES.show("fig07", runs, profile).files.values():
        if path.suffix in (".svg", ".csv"):
            found[f"mtt/{path.name}"] = sha256(path)
    return found


def no_data(*_: Any, **__: Any) -> NoReturn:
    raise MissingData("dataset 'digits': not found")


def test_what_is_published_makes_every_entry_again_without_data(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / profile.name
    before = exported(profile)
    runs = [Run.of(e, profile.name) for e in profile.experiments()]
    spent = costs(runs)
    real = next(r for r in runs if r.experiment.selection == "random")
    drawn = sha256(real.path("distilled.safetensors"))

    stopped = Run.of(profile.experiment(dataset="digits", seed=77), profile.name)
    stopped.directory.mkdir(parents=True)
    stopped.path("checkpoint.safetensors").write_bytes(b"hours of work")

    done = publish(profile)
    assert stopped.has("checkpoint.safetensors")
    assert set(done.runs) == {r.experiment.key for r in runs}
    assert done.missing == ()
    assert set(done.entries) == {"fig03", "fig07", "fig08", "tab01"}

    # no picture of a data set is left, nor what nothing is made from
    left = {p.stem for run in runs for p in run.directory.rglob("*.safetensors")}
    assert left == {"distilled", "logits", "samples", "features"}
    assert not real.has("distilled.safetensors")
    told = real.manifest()["distill"]
    assert told["left_out"]["distilled.safetensors"]["sha256"] == drawn
    assert told["shapes"]["images"] == [20, 1, 16, 16]
    mixed = next(r for r in runs if r.experiment.outlier_selection == "random")
    assert not mixed.has("distilled.safetensors")
    for run in profile.group("ablation_ipc"):
        kept = Run.of(run, profile.name)
        assert load_distilled(kept.path("distilled.safetensors")).images.shape[0] == 10 * run.ipc
        for name in ("logits.safetensors", "features.safetensors"):
            assert kept.has(name) == (run in profile.group("main"))
    for run in runs:
        assert all(run.finished(stage) for stage in ("distill", "evaluate"))
        assert verify(run.directory).complaints == []
    assert costs(runs).equals(spent)

    shutil.rmtree(folder / "figures")
    shutil.rmtree(folder / "tables")
    shutil.rmtree(folder / "variants")
    for where in ("trustdd.data.inliers.load_inliers", "trustdd.data.ood.load_outlier_pool"):
        monkeypatch.setattr(where, no_data)
    assert exported(profile) == before
    # kept as it was made, and so at its own width only
    with pytest.raises(MissingArtefacts):
        FIGURES.show("fig07", profile=profile, width="column")

    # a second time changes nothing
    stored = {p: sha256(p) for p in sorted((folder / "runs").rglob("*")) if p.is_file()}
    assert publish(profile) == done
    assert {p: sha256(p) for p in sorted((folder / "runs").rglob("*")) if p.is_file()} == stored


def test_of_several_students_the_first_ones_tensors_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = yaml.safe_load(fabricated_runs.PROFILE)
    content["groups"] = {"main": content["groups"]["main"]}
    content["settings"]["digits"]["students"] = 2
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "results"))
    profile = load_profile(fabricated_runs.write_profile(tmp_path, yaml.safe_dump(content)))
    runs = fabricated_runs.fabricate(profile, tmp_path / "results")
    before = runs[0].read_frame("report.csv")
    publish(profile)
    for run in runs:
        assert (run.part("evaluate", 0).directory / "logits.safetensors").is_file()
        left = {p.name for p in run.part("evaluate", 1).directory.iterdir()}
        assert left == {"report.csv", "manifest.json"}
        assert run.finished("evaluate")
        assert verify(run.directory).complaints == []
    assert runs[0].read_frame("report.csv").equals(before)


def test_a_run_is_published_when_its_course_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students along the way need the snapshots, which are not published."""
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "results"))
    one = {"dataset": "digits", "method": "dm", "outliers": ["none", "poe"], "seed": [0, 1]}
    content = {
        "title": "Short", "description": "tiny",
        "settings": {"digits": {
            "iterations": 8, "real_batch": 8, "width": 8, "depth": 2, "training_epochs": 3,
            "students": 2, "ood": ["gaussian"], "ood_limit": 20,
        }},
        # one student a snapshot is enough to see where the curve goes
        "groups": {"main": one, "course": {**one, "students": 1}},
    }  # fmt: skip
    profile = load_profile(fabricated_runs.write_profile(tmp_path, yaml.safe_dump(content)))
    assert [e.students for e in profile.experiments()] == [2] * 4
    assert [e.students for e in profile.experiments("course")] == [1] * 4
    keys = [e.key for e in profile.experiments()]

    def do(stage: str, *words: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["stage", stage, *words, "--profile", str(profile.path), "--no-progress"])
        assert not ended.value.code

    do("distill,evaluate", *keys)
    with pytest.raises(MissingArtefacts, match="none of its 4 runs is finished"):
        publish(profile)
    do("course", *keys[:3])
    done = publish(profile)
    assert done.runs == tuple(keys[:3])
    assert done.missing == (keys[3],)
    runs = [Run.of(e, profile.name) for e in profile.experiments("course")]
    assert [run.has("snapshots.safetensors") for run in runs] == [False] * 3 + [True]
    do("course", keys[3])
    assert publish(profile).missing == ()
    students = {p.name for run in runs for p in run.directory.glob("course-*/student-*")}
    assert students == {"student-0"}
    for run in runs:
        assert run.finished("course")
        frame = run.read_frame("snapshots.csv")
        assert sorted(frame["iteration"].unique()) == [0, 1, 2, 4, 6]
        assert verify(run.directory).complaints == []
    # the curve, with the distilled set at its end, is made again from what is left
    for where in ("trustdd.data.inliers.load_inliers", "trustdd.data.ood.load_ood_suite"):
        monkeypatch.setattr(where, no_data)
    curve = pd.read_csv(FIGURES.show("fig09", profile=profile).files["csv"])
    assert sorted(curve["iteration"].unique()) == [0, 1, 2, 4, 6, 8]
    assert curve.groupby(["outliers", "seed"]).size().tolist() == [6] * 4
    assert curve[["auroc", "accuracy"]].notna().all().all()


def test_nothing_to_publish_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    with pytest.raises(MissingArtefacts, match=r"none of its \d+ runs is finished; make them"):
        publish("smoke")


def test_a_profile_published_in_part_gives_what_can_be_made(
    profile: Profile, tmp_path: Path
) -> None:
    """As the workflow asks for it, for the book's pages on other profiles."""
    for experiment in profile.group("main"):
        shutil.rmtree(Run.of(experiment, profile.name).directory)
    stamp = tmp_path / "stamp.json"

    def made(*words: str) -> list[str]:
        stamp.unlink(missing_ok=True)
        given = ["--profile", str(profile.path), "--stamp", str(stamp), "--available"]
        with pytest.raises(SystemExit) as ended:
            main([*words, *given])
        assert not ended.value.code
        return sorted(
            {Path(path).stem.removesuffix("-quoted") for path in json.loads(stamp.read_text())}
        )

    assert made("table", "tab02", "tab03") == ["tab02"]
    assert made("figure", "fig02") == []
    assert made("numbers") == []
    with pytest.raises(SystemExit) as ended:
        main(["table", "tab03", "--profile", str(profile.path)])
    assert ended.value.code
