"""Frames from stored runs, spread and paired differences over seeds, and what is missing."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from fabricated_runs import OOD_CONFIDENCE, stored_profile

from trustdd.data.distilled_set import load_distilled
from trustdd.report import comparison, results
from trustdd.report.results import MissingArtefacts, Results
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run


@pytest.fixture(scope="module")
def profile_path(tmp_path_factory):
    return stored_profile(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def stored(profile_path):
    return Results(profile_path, profile_path.parent)


# -- arrays -----------------------------------------------------------------------------------


def test_pictures_undo_the_normalisation(stored):
    run = stored.runs("main")[-1]
    shown = results.pictures(run)
    distilled = load_distilled(run.path("distilled.safetensors"))
    expected = distilled.pictures().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(shown["images"], expected, atol=1e-6)
    assert shown["outliers"].shape == (20, 16, 16, 1)
    assert shown["labels"].tolist() == distilled.labels.tolist()


def test_pictures_of_whitened_images_are_the_stored_ones(stored, tmp_path):
    run = Run(tmp_path, stored.runs("main")[0].experiment)
    stored_bytes = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    run.write_tensors(
        "distilled.safetensors",
        {"images": torch.randn(1, 1, 16, 16), "labels": torch.zeros(1, dtype=torch.int64),
         "pictures": stored_bytes},
        {"mean": "[0.5]", "std": "[0.5]"},
    )  # fmt: skip
    shown = results.pictures(run)["images"]
    np.testing.assert_allclose(shown[0, ..., 0] * 255, stored_bytes[0, 0].numpy(), atol=1e-4)


# -- aggregation --------------------------------------------------------------------------------


def _frame(rows):
    columns = ["key", "outliers", "seed", "ood", "score", "auroc", "accuracy"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in results.EXPERIMENT_COLUMNS:
        if name not in frame:
            frame[name] = "same"
    for name in results.METRICS:
        if name not in frame:
            frame[name] = frame["auroc"]
    return frame


def test_suite_mean_is_within_a_run_and_of_one_score():
    frame = _frame(
        [
            ("a", "none", 0, "x", "msp", 0.6, 0.9),
            ("a", "none", 0, "y", "msp", 0.8, 0.9),
            ("a", "none", 0, "x", "energy", 0.1, 0.9),
            ("b", "none", 1, "x", "msp", 0.9, 0.7),
            ("b", "none", 1, "y", "msp", 0.5, 0.7),
        ]
    )
    means = results.per_run(frame)
    assert means["auroc"].tolist() == pytest.approx([0.7, 0.7])
    assert means["accuracy"].tolist() == pytest.approx([0.9, 0.7])
    assert set(results.per_run(frame, ["score"])["score"]) == {"msp", "energy"}


def test_spread_is_over_seeds_with_n_minus_one():
    values = np.array([0.9, 0.94, 0.89])
    frame = _frame([(f"k{s}", "oe", s, "x", "msp", v, 0.5) for s, v in enumerate(values)])
    row = comparison.over_seeds(frame, ["outliers"], ["auroc"]).iloc[0]
    assert row["auroc"] == pytest.approx(values.mean())
    assert row["auroc_std"] == pytest.approx(values.std(ddof=1))
    assert row["seeds"] == 3


def test_two_runs_of_a_seed_are_no_spread():
    frame = _frame([(k, "oe", 0, "x", "msp", 0.9, 0.5) for k in "ab"])
    with pytest.raises(ValueError, match="several runs of one seed"):
        comparison.over_seeds(frame, ["outliers"], ["auroc"])


def test_paired_difference_is_the_paired_t_interval_of_scipy():
    from scipy.stats import ttest_rel

    generator = np.random.default_rng(3)
    control, gain = generator.normal(0.7, 0.1, 5), generator.normal(0.05, 0.01, 5)
    a = pd.DataFrame({"seed": range(5), "auroc": control + gain})
    b = pd.DataFrame({"seed": range(5), "auroc": control}).sample(frac=1, random_state=1)
    found = comparison.paired_difference(a, b, "auroc")
    expected = ttest_rel(control + gain, control).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(gain.mean())
    assert (found.seeds, found.verdict) == (5, "higher")
    swapped = comparison.paired_difference(b, a, "auroc")
    assert swapped.verdict == "lower"


def test_settings_are_no_further_seeds():
    rows = [(s, i, 0.5 + 0.1 * s + 0.01 * i) for s in range(3) for i in (1, 10)]
    control = pd.DataFrame(rows, columns=["seed", "ipc", "auroc"])
    treatment = control.assign(auroc=control["auroc"] + 0.1 + 0.01 * control["seed"])
    found = comparison.paired_difference(treatment, control, "auroc", ["ipc"])
    assert found.seeds == 3
    assert found.mean == pytest.approx(0.11)
    # the two IPC of a seed agree, so they must not narrow the interval
    alone = comparison.difference(np.array([0.1, 0.11, 0.12]))
    assert found.low == pytest.approx(alone.low)


def test_one_seed_decides_nothing():
    found = comparison.difference(np.array([0.3]))
    assert found.verdict == "unclear"
    assert np.isnan(found.low)
    assert found.text == "+30.0 points (one seed, no interval)"


def test_pairs_that_do_not_meet_are_refused():
    a, b = (pd.DataFrame({"seed": [s], "auroc": [0.5]}) for s in (0, 1))
    with pytest.raises(ValueError, match="no pair"):
        comparison.paired_difference(a, b, "auroc")


def test_wording_of_numbers():
    assert comparison.signed(-0.04) == "+0.0"
    assert comparison.signed(-1.25) == "−1.2"
    assert comparison.percent(0.97124) == "97.1"
    assert comparison.with_std(0.5, float("nan")) == "50.0"
    assert comparison.with_std(0.5, 0.012) == "50.0 ± 1.2"


def test_reports_of_runs_carry_the_experiment(stored):
    runs = stored.runs("main")
    frame = results.summary(runs)
    assert len(frame) == 9
    assert frame.groupby("outliers")["seed"].nunique().to_dict() == {"none": 3, "oe": 3, "poe": 3}
    report = runs[0].read_frame("report.csv")
    own = report[report["score"] == "msp"]["auroc"].mean()
    assert frame[frame["key"] == runs[0].experiment.key]["auroc"].item() == pytest.approx(own)
    level = frame.groupby("outliers")["auroc"].mean()
    # the made-up students differ as the fabrication says they do
    assert OOD_CONFIDENCE["none"] > OOD_CONFIDENCE["oe"]
    assert level["oe"] - level["none"] > 0.1


# -- what is missing ----------------------------------------------------------------------------


def test_unfinished_runs_are_named_with_the_command(profile_path, tmp_path):
    lacking = Results(profile_path, tmp_path)
    with pytest.raises(MissingArtefacts) as caught:
        lacking.runs("main")
    error = caught.value
    planned = [e.key for e in lacking.profile.group("main")]
    assert list(error.experiments) == planned
    assert planned[0] in str(error)
    assert "and 5 more" in str(error)
    # a profile outside the project's folder is called by its file
    assert error.command == f"make book PROFILE={profile_path}"
    assert error.command in str(error)


def test_a_group_that_a_profile_lacks_is_named_with_the_profiles_that_hold_it(tmp_path):
    (tmp_path / "bare.yaml").write_text("groups: {}\n")
    with pytest.raises(MissingArtefacts, match=r"no experiments of group 'main'.*quick") as caught:
        Results(tmp_path / "bare.yaml", tmp_path).planned("main")
    assert caught.value.command.startswith("make book PROFILE=")


def test_a_run_tested_on_another_suite_does_not_count(stored, tmp_path):
    run = stored.runs("main")[0]
    shutil.copytree(run.directory, tmp_path / "copy")
    same = Run(tmp_path / "copy", run.experiment)
    assert results.holds(same, ["report.csv"])
    other = Run(tmp_path / "copy", run.experiment.but(ood=("photos",)))
    assert not results.holds(other, ["report.csv"])
    for change in ({"ood_limit": 50}, {"students": 2}, {"ood": (*run.experiment.ood, "photos")}):
        assert not results.holds(
            Run(tmp_path / "copy", run.experiment.but(**change)), ["report.csv"]
        )
    # what was distilled does not depend on the suite
    assert results.holds(other, ["distilled.safetensors"])
    same.path("report.csv").unlink()
    assert not results.holds(same, ["report.csv"])


def test_runs_are_grouped_by_mode_and_setting(stored):
    runs = [*stored.runs("main"), *stored.runs("equal_budget")]
    assert {r.experiment.ipc for r in results.one_setting(runs)} == {2}
    assert list(results.by_mode(reversed_runs := runs[::-1])) == ["none", "oe", "poe"]
    assert results.seeds_of(reversed_runs) == [0, 1, 2]
    assert results.profile_of(runs) == "fabricated"


def test_facts_of_a_run_are_plain_values():
    values = results.facts(Run.of(Experiment(outliers="poe", ipc=3), "x"))
    assert values["corruptions"] == "jigsaw+invert+mosaic+speckle"
    assert json.dumps(values)


def test_profile_of_the_tests_holds_every_group_of_the_catalogue(profile_path):
    from trustdd.report.figures import FIGURES
    from trustdd.report.tables import TABLES

    profile = load_profile(profile_path)
    for catalogue in (FIGURES, TABLES):
        wanting = set(catalogue.entries) - set(catalogue.available(profile))
        assert wanting <= {"tab06", "fig21"}
