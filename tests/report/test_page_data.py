"""What pages' scripts read: packed exactly, thresholds as the reports have them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fabricated_runs import fabricate, write_profile
from sklearn.metrics import roc_curve

from trustdd.data.inputs import load_inputs
from trustdd.report.confidence import confidence_of, threshold_of
from trustdd.report.page_data import (
    confidences,
    course,
    explorer,
    images,
    students,
    write_page_data,
)
from trustdd.report.page_data.packing import TYPES, packed, script
from trustdd.report.results import MissingArtefacts, Results, pictures, reports
from trustdd.store.profiles import load_profile
from trustdd.students.metrics import ood_metrics
from trustdd.students.training import build_network


def test_arrays_come_back_to_the_last_bit() -> None:
    given = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    made = packed(given.T, "float32")
    assert made["shape"] == [4, 3]
    back = np.frombuffer(base64.b64decode(made["float32"]), "<f4").reshape(4, 3)
    np.testing.assert_array_equal(back, given.T)
    with pytest.raises(ValueError, match="values from -1 to 256; expected those of uint8"):
        packed([-1, 256], "uint8")


def test_a_script_sets_one_name() -> None:
    text = script("images", {"sets": ["“a”", 1.5]})
    head, _, value = text.partition(" = ")
    assert head == "(window.trustdd ??= {}).images"
    assert json.loads(value.rstrip(";\n")) == {"sets": ["“a”", 1.5]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script("images", float("nan"))


@pytest.mark.parametrize("count", [1, 19, 20, 21, 200, 596])
@pytest.mark.parametrize("ties", [False, True])
def test_the_threshold_is_that_of_the_report(count: int, ties: bool) -> None:
    generator = np.random.default_rng(count)
    inside, outside = generator.normal(1, 1, count), generator.normal(0, 1, 300)
    if ties:
        inside, outside = inside.round(1), outside.round(1)
    threshold = threshold_of(inside)
    assert (inside >= threshold).mean() >= 0.95
    # the next higher value would keep too few
    higher = inside[inside > threshold]
    assert not len(higher) or (inside >= higher.min()).mean() < 0.95
    assert (outside >= threshold).mean() == ood_metrics(inside, outside)["fpr95_in"]
    labels = np.r_[np.ones(count), np.zeros(300)]
    _, recalls, thresholds = roc_curve(labels, np.r_[inside, outside], drop_intermediate=False)
    assert threshold == thresholds[np.argmax(recalls >= 0.95)]


def test_a_threshold_needs_images() -> None:
    with pytest.raises(ValueError, match="0 images"):
        threshold_of(np.array([]))
    with pytest.raises(ValueError, match=r"kept 1\.5; expected"):
        threshold_of(np.ones(3), 1.5)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Fabricated runs of the main group and of one ablation, with students and snapshots."""
    folder = tmp_path_factory.mktemp("pages")
    path = write_profile(folder)
    profile = load_profile(path)
    runs = fabricate(profile, folder, ["main", "full_data", "ablation_ipc"])
    for run in runs:
        if run.experiment.selection != "full":
            last = run.read_tensors("distilled.safetensors")
            parts = {k: v for k, v in last.items() if k in ("images", "outliers")}
            steps = {f"snapshot.{i}.{k}": v * i for i in (0, 3) for k, v in parts.items()}
            run.write_tensors("snapshots.safetensors", steps)
        network = build_network(run.experiment, 1, 10, "student")
        run.part("evaluate").write_tensors("student.safetensors", network.state_dict())
    return Results(profile, folder)


def unpacked(value: dict[str, Any]) -> np.ndarray:
    kind = next(k for k in TYPES if k in value)
    return np.frombuffer(base64.b64decode(value[kind]), TYPES[kind]).reshape(value["shape"])


def test_students_carry_their_parameters_and_thresholds(stored: Results) -> None:
    value = students.students_of(stored)
    assert [s["outliers"] for s in value["students"]] == ["none", "oe", "poe"]
    for one, run in zip(value["students"], students.shown_runs(stored).values(), strict=True):
        assert run.experiment.seed == 0
        tensors = run.read_tensors("student.safetensors", 0)
        count = sum(
            unpacked(layer[name]).size
            for layer in one["layers"]
            for name in ("weight", "bias", "scale", "shift")
            if name in layer
        )
        assert count == sum(t.numel() for t in tensors.values())
        report = run.read_frame("report.csv")
        logits = run.read_tensors("logits.safetensors", 0)
        for _, row in report.iterrows():
            passed = confidence_of(logits[f"ood.{row['ood']}"].numpy(), row["score"])
            threshold = one["scores"][row["score"]]["threshold"]
            assert (passed >= threshold).mean() == pytest.approx(row["fpr95_in"], abs=1e-12)


def test_students_that_are_not_kept_are_named(tmp_path: Path) -> None:
    path = write_profile(tmp_path)
    profile = load_profile(path)
    fabricate(profile, tmp_path, ["main"])
    with pytest.raises(MissingArtefacts, match=r"student\.safetensors of digits-dsa-none"):
        students.students_of(Results(profile, tmp_path))


def test_confidences_are_the_reports(stored: Results) -> None:
    value = confidences.confidences_of(stored)
    counts = {one["id"]: one["count"] for one in value["sets"]}
    assert next(iter(counts)) == "in"
    kinds = {one["id"]: one["kind"] for one in value["sets"]}
    assert kinds == {"in": "InD", "textures": "far OOD", "gaussian": "noise",
                     "transposed_digits": "near OOD"}  # fmt: skip
    for one, run in zip(value["students"], students.shown_runs(stored).values(), strict=True):
        for _, row in run.read_frame("report.csv").iterrows():
            outside = unpacked(one["confidence"][row["score"]][row["ood"]])
            assert outside.shape == (counts[row["ood"]],)
            kept = np.float32(one["threshold"][row["score"]])
            assert (outside >= kept).mean() == pytest.approx(row["fpr95_in"], abs=0.02)
    for one in value["sets"]:
        images = unpacked(one["images"])
        assert len(images) == len(one["places"]) <= 96
        assert max(one["places"]) < one["count"]


def test_images_are_those_that_the_logits_are_of(stored: Results) -> None:
    value = images.images_of(stored)
    kinds = [one["kind"] for one in value["sets"]]
    assert kinds.count("outliers") == 2
    data = load_inputs(next(iter(students.shown_runs(stored).values())).experiment)
    first = value["sets"][0]
    np.testing.assert_array_equal(
        unpacked(first["images"]), data.test.images[first["places"]].numpy()
    )
    assert first["labels"] == data.test.labels[first["places"]].tolist()


def test_the_course_begins_and_ends_where_the_set_does(stored: Results) -> None:
    value = course.course_of(stored)
    for one in value["sets"]:
        assert one["iterations"] == [0, 3, 20]
        frames = unpacked(one["images_shown"])
        run = students.shown_runs(stored)[one["outliers"]]
        last = pictures(run)["images"].transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(frames[-1], np.round(last * 255))
        # the first snapshot is all zeros in normalised space: the mean everywhere
        assert len(np.unique(frames[0])) == 1
        assert one["auroc"][-1] == pytest.approx(
            run.read_frame("report.csv").query("score == 'msp'")["auroc"].mean()
        )
        assert ("outliers_shown" in one) == (one["outliers"] != "none")


def test_the_explorer_has_every_run_once_and_the_means_of_seeds(
    stored: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "list_profiles", list)
    value = explorer.explorer_of(stored)
    keys = [key for one in value["settings"] for key in one["keys"]]
    groups = ("main", "full_data", "ablation_ipc")
    assert sorted(keys) == sorted({e.key for g in groups for e in stored.profile.group(g)})
    frame = reports(stored.runs(*groups))
    near = {"near": ["transposed_digits"], "far": ["textures"]}
    for setting, score, place, auroc, low, high, fpr in value["rows"]:
        one, name = value["settings"][setting], value["sets"][place]["id"]
        sets = near.get(name) or ([name] if name != "all" else list(frame["ood"].unique()))
        rows = frame[frame["key"].isin(one["keys"]) & (frame["score"] == score)]
        rows = rows[rows["ood"].isin(sets)]
        assert auroc == pytest.approx(rows["auroc"].mean(), abs=1e-5)
        assert fpr == pytest.approx(rows["fpr95_in"].mean(), abs=1e-5)
        assert low <= auroc <= high
        assert one["seeds"] == len(one["keys"])
        assert all(key in one["command"] for key in one["keys"])
    whole = [one for one in value["settings"] if one["images"] == "all"]
    assert [one["method"] for one in whole] == [None]
    table = pd.read_csv(io.StringIO(explorer.as_csv(value)))
    assert len(table) == len(value["rows"])
    assert table["auroc"].iloc[0] == pytest.approx(value["rows"][0][3], abs=1e-5)


def test_what_cannot_be_made_is_left_out_and_its_old_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    monkeypatch.setattr(explorer, "list_profiles", list)
    path = write_profile(tmp_path)
    fabricate(load_profile(path), tmp_path, ["main"])
    old = tmp_path / "fabricated" / "pages" / "students.js"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    written, left_out = write_page_data(path)
    assert set(left_out) == {"students", "course"}
    assert not old.exists()
    assert {p.name for p in written.values()} == {p.name for p in old.parent.iterdir()}
    assert "explorer.js" in {p.name for p in written.values()}
