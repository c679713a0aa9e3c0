"""A set is measured beside random images and random outliers, all under one protocol."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from trustdd.data.companions import hard_companion, keep, random_companion
from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.initial_set import initial_set
from trustdd.data.inliers import InlierData
from trustdd.data.inputs import load_inputs, whitens
from trustdd.distillation.loop import distill
from trustdd.pipeline import arms
from trustdd.pipeline.set_evaluation import MeasuredSet, Protocol, measure
from trustdd.report import dd_ranking
from trustdd.report.analysis.set_gains import Gain, gains, measures
from trustdd.report.card import run_card, set_card
from trustdd.report.set_report import write_report
from trustdd.report.tables.sets import classes_table, gains_table, summary_table
from trustdd.settings.experiment import Experiment
from trustdd.store.files import sha256
from trustdd.store.run import Run

NAMES = [f"digit {i}" for i in range(10)]
SMALL = {
    "training_epochs": 2, "width": 8, "ood": ["textures", "transposed_digits"], "ood_limit": 40,
    "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> InlierData:
    return load_inputs(Experiment())


def written(path: Path, data: InlierData, outliers: bool = False, soft: bool = False) -> Path:
    experiment = Experiment(
        ipc=1, selection="random", seed=5, width=8, training_epochs=2,
        **({"outliers": "poe", "outlier_selection": "random"} if outliers else {}),
    )  # fmt: skip
    from trustdd.data.outliers import outlier_source

    found = initial_set(experiment, data, outlier_source(experiment, data))
    if soft:
        labels = 0.9 * torch.nn.functional.one_hot(found.labels, 10).float() + 0.01
        found = replace(found, labels=labels)
    return found.save(path)


@pytest.fixture(scope="module")
def plain(digits: InlierData, tmp_path_factory: pytest.TempPathFactory) -> MeasuredSet:
    path = written(tmp_path_factory.mktemp("plain") / "plain.safetensors", digits)
    return measure(path, Protocol(settings=SMALL, students=2, real_epochs=1), progress=False)


@pytest.fixture(scope="module")
def trusted(digits: InlierData, tmp_path_factory: pytest.TempPathFactory) -> MeasuredSet:
    """With outliers of its own, and soft labels."""
    path = tmp_path_factory.mktemp("trusted") / "trusted.safetensors"
    path = written(path, digits, outliers=True, soft=True)
    return measure(path, Protocol(settings=SMALL, students=2, real_epochs=1), progress=False)


def test_arms_differ_in_what_they_are_named_for_and_in_nothing_else(
    plain: MeasuredSet, trusted: MeasuredSet
) -> None:
    common = {arms.OWN, arms.RANDOM, arms.WITH_RANDOM, arms.RANDOM_BOTH}
    other = {arms.OTHER.format("not augmented"), arms.RANDOM_OTHER.format("not augmented")}
    assert set(plain.arms) == common | other
    assert set(trusted.arms) == common | other | {arms.WITH_OWN, arms.HARD}
    for found in (plain, trusted):
        own = found.arms[arms.OWN][0].experiment
        for name, runs in found.arms.items():
            assert [run.experiment.seed for run in runs] == [own.seed, own.seed + 1]
            for run in runs:
                e = run.experiment
                differ = {k for k, v in e.to_dict().items() if v != own.to_dict()[k]}
                expected = {"seed"}
                if "random images" in name or name == arms.HARD:
                    expected |= {"given_sha256"}
                if "outliers" in name:
                    expected |= {"outliers", "outlier_selection", "outlier_ipc", "outlier_weight",
                                 "corruptions", "lr_outliers"}  # fmt: skip
                if "not augmented" in name:
                    expected |= {"augmentation"}
                assert differ <= expected, name
    assert plain.real is not None and plain.real.experiment.selection == "full"


def test_what_each_arms_students_are_trained_on(trusted: MeasuredSet) -> None:
    own = load_distilled(trusted.path)

    def of(arm: str, place: int = 0) -> DistilledSet:
        return load_distilled(trusted.arms[arm][place].path("distilled.safetensors"))

    assert torch.equal(of(arms.OWN).images, own.images) and of(arms.OWN).outliers is None
    with_own = of(arms.WITH_OWN)
    assert torch.equal(with_own.images, own.images)
    assert torch.equal(with_own.outliers, own.outliers)
    with_random = of(arms.WITH_RANDOM)
    assert torch.equal(with_random.images, own.images)
    assert with_random.outliers.shape == own.outliers.shape
    assert not torch.equal(with_random.outliers, own.outliers)
    assert not torch.equal(with_random.outliers, of(arms.WITH_RANDOM, 1).outliers)
    first, second = of(arms.RANDOM), of(arms.RANDOM, 1)
    assert first.images.shape == own.images.shape
    assert not torch.equal(first.images, own.images)
    assert not torch.equal(first.images, second.images)
    assert torch.equal(first.images, of(arms.RANDOM_BOTH).images)
    hard = of(arms.HARD)
    assert torch.equal(hard.images, own.images)
    assert torch.equal(hard.labels, own.hard_labels)


def test_random_images_of_a_soft_set_are_labelled_by_a_network(trusted: MeasuredSet) -> None:
    from trustdd.pipeline.work import load_student

    random = load_distilled(trusted.arms[arms.RANDOM][0].path("distilled.safetensors"))
    assert random.labels.shape == (10, 10)
    network = load_student(trusted.real)
    with torch.inference_mode():
        expected = network(random.images).softmax(1)
    assert torch.allclose(random.labels, expected, atol=1e-5)


def test_random_images_mirror_the_sets_counts(digits: InlierData) -> None:
    counts = [3, 1, 2, 1, 1, 1, 1, 1, 1, 1]
    labels = torch.arange(10).repeat_interleave(torch.tensor(counts))
    experiment = Experiment(selection="random", ipc=3)
    own = DistilledSet(
        torch.randn(13, 1, 16, 16), labels, None, 0.5, experiment, digits.mean, digits.std
    )
    companion = random_companion(own, digits, experiment)
    assert companion.labels.bincount().tolist() == counts
    assert companion.student_lr == 0.5
    real = digits.normalise(digits.train.images)
    nearest = torch.cdist(companion.images.flatten(1), real.flatten(1)).argmin(1)
    assert torch.equal(digits.train.labels[nearest], companion.labels)
    many = replace(own, images=own.images.repeat(60, 1, 1, 1), labels=labels.repeat(60))
    with pytest.raises(ValueError, match=r"180 images of class '0' in the set"):
        random_companion(many, digits, experiment)


def test_companions_of_a_whitened_set_are_whitened(digits: InlierData) -> None:
    whitened = Experiment(selection="random", method="mtt", zca=True)
    data = load_inputs(whitened)
    own = initial_set(whitened, data, None)
    companion = random_companion(own, data, whitened.but(seed=1))
    assert whitens(companion.experiment) and companion.whitened is not None
    assert float(companion.pictures().min()) >= 0


def test_a_companion_is_kept_under_its_content(digits: InlierData, tmp_path: Path) -> None:
    own = initial_set(Experiment(), digits, None)
    one, two = (keep(hard_companion(own), tmp_path, "a") for _ in range(2))
    assert one == two and sha256(one)[:12] in one.name
    assert [p.name for p in tmp_path.iterdir()] == [one.name]


# -- measures -----------------------------------------------------------------------------------


def by_name(found: MeasuredSet) -> dict[tuple[str, str], Gain]:
    return {(g.measure, g.name): g for g in gains(found)}


def test_gains_are_the_means_of_differences_by_seed(trusted: MeasuredSet) -> None:
    frame = measures(trusted).set_index(["arm", "seed"])
    found = by_name(trusted)

    def gap(measure: str, one: str, other: str) -> float:
        seeds = [run.experiment.seed for run in trusted.arms[arms.OWN]]
        return float(np.mean([
            frame.loc[(one, s), measure] - frame.loc[(other, s), measure] for s in seeds
        ]))  # fmt: skip

    ior = gap("accuracy", arms.OWN, arms.RANDOM)
    assert found["accuracy", "IOR"].gap.mean == pytest.approx(ior)
    over_random = found["natural", "its outliers, over random ones beside the same images"].gap
    assert over_random.mean == pytest.approx(gap("natural", arms.WITH_OWN, arms.WITH_RANDOM))
    assert found["natural", "over random images"].gap.mean == pytest.approx(
        gap("natural", arms.OWN, arms.RANDOM)
    )
    real = trusted.real.read_frame("report.csv")["accuracy"].iloc[0]
    hard = frame.xs(arms.HARD)["accuracy"].mean()
    assert found["accuracy", "HLR"].gap.mean == pytest.approx(real - hard)
    value, low, high = found["accuracy", "LRS"].score
    assert value == pytest.approx(dd_ranking.label_robust_score(ior, real - hard))
    assert low <= value <= high
    plain = gap("accuracy", arms.OTHER.format("not augmented"),
                arms.RANDOM_OTHER.format("not augmented"))  # fmt: skip
    assert found["accuracy", "ARS"].score[0] == pytest.approx(
        dd_ranking.augmentation_robust_score(ior, plain)
    )


def test_nothing_is_bold_whose_interval_holds_0(trusted: MeasuredSet, plain: MeasuredSet) -> None:
    for found in (trusted, plain):
        rows = [r for r in gains_table(found).rows if isinstance(r, tuple)]
        for _, _, value, verdict in rows:
            low, high = value.interval
            excludes = low > 0 or high < 0
            assert value.strong == (excludes and verdict != "")
            if verdict:
                assert (verdict == "undecided") == (not excludes)


def test_one_seed_has_no_interval_and_no_verdict(digits: InlierData, tmp_path: Path) -> None:
    path = written(tmp_path / "one.safetensors", digits)
    found = measure(path, Protocol(settings=SMALL, scores=False), progress=False)
    assert found.real is None
    made = gains_table(found)
    assert all(row[3] == "one seed" and not row[2].strong for row in made.rows
               if isinstance(row, tuple))  # fmt: skip
    assert "IOR" in {g.name for g in gains(found)} and "LRS" not in {g.name for g in gains(found)}


def test_tables_name_the_set_and_its_classes(trusted: MeasuredSet) -> None:
    summary = summary_table(trusted).frame
    assert "trusted, its outliers (POE)" in set(summary["students of"])
    classes = classes_table(trusted, NAMES).frame
    assert classes["class"].tolist() == NAMES


def test_what_is_stored_is_read_and_not_made_again(
    plain: MeasuredSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trustdd.pipeline import work

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(work, "train_student", fail)
    monkeypatch.setattr(work, "train_on_real", fail)
    again = measure(plain.path, Protocol(settings=SMALL, students=2, real_epochs=1), False)
    assert measures(again).equals(measures(plain))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"ipc": 3}, "ipc for a set that is given"),
        ({"selection": "random"}, "selection for a set that is given"),
        ({"ood": ["nowhere"]}, "nowhere"),
        ({"training_epochs": 0}, "training_epochs 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_any_training(
    settings: dict[str, object], message: str, plain: MeasuredSet
) -> None:
    with pytest.raises(ValueError, match=message):
        measure(plain.path, Protocol(settings=settings), progress=False)


# -- the report, and the card -------------------------------------------------------------------


def test_the_report_is_tables_figures_and_records(trusted: MeasuredSet, tmp_path: Path) -> None:
    written_report = write_report(trusted, NAMES, tmp_path / "report", "trustdd evaluate x")
    names = {path.name for path in written_report["files"]}
    for stem, suffixes in (
        ("summary", "tex html md csv json"), ("gains", "tex html md csv json"),
        ("classes", "tex html md csv json"), ("detection", "tex html md csv json"),
        ("fig02", "svg pdf png csv json"), ("fig15", "svg pdf png csv json"),
    ):  # fmt: skip
        assert {f"{stem}.{s}" for s in suffixes.split()} <= names
    record = json.loads((tmp_path / "report" / "gains.json").read_text())
    assert record["command"] == "trustdd evaluate x"
    for name, digest in record["files"].items():
        assert sha256(tmp_path / "report" / name) == digest
    with (tmp_path / "report" / "detection.csv").open() as file:
        assert {row["arm"] for row in csv.DictReader(file)} >= {arms.OWN, arms.WITH_OWN}
    first = {p.name: p.read_bytes() for p in (tmp_path / "report").iterdir()}
    write_report(trusted, NAMES, tmp_path / "report", "trustdd evaluate x")
    assert first == {p.name: p.read_bytes() for p in (tmp_path / "report").iterdir()}


def head(text: str) -> dict[str, object]:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_card_says_what_is_stored(trusted: MeasuredSet, tmp_path: Path) -> None:
    write_report(trusted, NAMES, tmp_path, "")
    text = (tmp_path / "card.md").read_text()
    assert head(text)["sha256"] == sha256(trusted.path)
    assert head(text)["source_datasets"] == ["digits"]
    frame = trusted.arms[arms.WITH_OWN][0].read_frame("report.csv")
    assert "![Images of the set, class by class](set.png)" in text
    assert (tmp_path / "set.png").is_file()
    assert "CC BY 4.0" in text and "soft labels" in text and "10 outliers" in text
    assert f"over {frame['ood'].nunique()} OOD sets" in text


def test_the_card_of_a_run_says_how_it_was_made_and_where_it_fails(tmp_path: Path) -> None:
    experiment = Experiment(
        outliers="poe",
        iterations=1,
        outer_loops=1,
        real_batch=8,
        **SMALL,  # type: ignore[arg-type]
    )
    run = Run(tmp_path / experiment.key, experiment)
    distill(experiment, run, progress=False)
    untested = run_card(run)
    assert any("not tested yet" in line for line in untested.sections["Known failures"])
    from trustdd.pipeline.work import run_stage

    run_stage("evaluate", run, progress=False)
    card = run_card(run)
    record = run.manifest()["distill"]
    made = " ".join(card.sections["How it was made"])
    for said in (experiment.key, record["commit"], record["date"], "distilled by DSA", "POE"):
        assert said in made
    assert card.checksum == record["files"]["distilled.safetensors"]
    frame = run.read_frame("report.csv")
    frame = frame[frame["score"] == "msp"].set_index("ood")["auroc"]
    failures = " ".join(card.sections["Known failures"])
    assert ("hardly told apart" in failures) == bool(((frame >= 0.5) & (frame < 0.6)).any())
    assert ("more often than not" in failures) == bool((frame < 0.5).any())
    assert "the class recognised least is" in failures


def test_the_card_of_a_coreset_and_of_a_set_around_another(
    digits: InlierData, tmp_path: Path
) -> None:
    for selection, said in (("kmeans", "centroids of k-means"), ("herding", "chosen by herding")):
        path = initial_set(Experiment(selection=selection), digits, None).save(
            tmp_path / "a.safetensors"
        )
        assert said in set_card(path).markdown()
    path = tmp_path / "a.safetensors"
    around = Experiment(selection="given", given=str(path), outliers="poe",
                        outlier_selection="random", device="cpu")  # fmt: skip
    beside = distill(around, progress=False).save(tmp_path / "b.safetensors")
    text = set_card(beside).markdown()
    assert sha256(path) in text and "never moved" in text and "drawn at random" in text
