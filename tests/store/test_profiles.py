"""Profiles expand into experiments; a wrong one is named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustdd.store.profiles import list_profiles, load_profile

TEXT = """
title: Trial
description: small
settings:
  "*": {training_epochs: 7}
  digits: {iterations: 3, mtt: {iterations: 5}}
groups:
  main: {dataset: digits, outliers: [none, poe], seed: [0, 1], ood: [gaussian, uniform]}
  more:
    - {dataset: digits, outliers: poe, corruptions: [[invert], [jigsaw, mosaic]]}
    - {dataset: digits, outliers: none, seed: 1}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "trial.yaml"
    file.write_text(TEXT)
    return file


def test_a_group_is_a_grid(path: Path) -> None:
    main = load_profile(path).group("main")
    assert [(e.outliers, e.seed) for e in main] == [
        ("none", 0), ("none", 1), ("poe", 0), ("poe", 1),
    ]  # fmt: skip
    assert {e.ood for e in main} == {("gaussian", "uniform")}


def test_settings_lie_under_the_given_fields(path: Path) -> None:
    profile = load_profile(path)
    assert profile.experiment().iterations == 3
    assert profile.experiment(method="mtt").iterations == 5
    assert profile.experiment(iterations=11).iterations == 11
    assert profile.experiment(dataset="cifar10").iterations == 1000
    assert profile.experiment(dataset="cifar10").training_epochs == 7


def test_none_leaves_a_field_to_the_profile(path: Path) -> None:
    profile = load_profile(path)
    assert profile.experiment(iterations=None, data_root=None).iterations == 3
    # no augmentation is a setting of its own
    assert profile.experiment(augmentation=None).augmentation is None


def test_a_notebook_makes_the_grid_of_its_parameters(path: Path) -> None:
    made = load_profile(path).grid(outliers=["none", "poe"], seed=[0, 1], ood=None, ipc=2)
    assert [(e.outliers, e.seed, e.ipc) for e in made] == [
        ("none", 0, 2), ("none", 1, 2), ("poe", 0, 2), ("poe", 1, 2),
    ]  # fmt: skip
    assert {e.training_epochs for e in made} == {7}


def test_lists_of_names_are_one_value_and_lists_of_lists_a_grid(path: Path) -> None:
    more = load_profile(path).group("more")
    assert [e.corruptions for e in more] == [("invert",), ("jigsaw", "mosaic"), ()]


def test_an_experiment_in_two_groups_runs_once(path: Path) -> None:
    keys = [e.key for e in load_profile(path).experiments()]
    assert len(keys) == len(set(keys)) == 6


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("outliers: [none, poe]", "outliers: [none, pea]", ["group 'main'", "'pea'"]),
        ("title: Trial", "titel: Trial", ["'titel'", "title"]),
        ("iterations: 3", "iteration: 3", ["'iteration'", "iterations"]),
    ],
)
def test_a_malformed_profile_is_named(path: Path, old: str, new: str, words: list[str]) -> None:
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(ValueError) as caught:
        load_profile(path)
    for word in words:
        assert word in str(caught.value)


def test_an_unknown_profile_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean quick"):
        load_profile("quik")


def test_an_unknown_group_names_those_there_are(path: Path) -> None:
    with pytest.raises(ValueError, match="it has main, more"):
        load_profile(path).group("mian")


@pytest.mark.parametrize("name", list_profiles())
def test_every_profile_of_the_project_loads(name: str) -> None:
    profile = load_profile(name)
    assert profile.title
    assert profile.description
    assert profile.experiments()


@pytest.mark.parametrize(
    ("primary", "complaint"),
    [
        ("msp", "expected a mapping with score, near and far"),
        ("{score: msp, near: [photos]}", "expected a mapping with score, near and far"),
        ("{score: odin, near: [photos], far: [textures]}", "primary score 'odin'; expected one of"),
        ("{score: msp, near: photos, far: [textures]}", "primary near 'photos'; expected a list"),
        ("{score: msp, near: [], far: [textures]}", "at least one OOD set in each"),
        ("{score: msp, near: [photos], far: [photos]}", "none in both"),
    ],
)
def test_primary_measures_are_checked(tmp_path: Path, primary: str, complaint: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"primary: {primary}\ngroups: {{main: {{dataset: digits}}}}\n")
    with pytest.raises(ValueError, match=complaint):
        load_profile(path)


def test_primary_measures_are_read() -> None:
    primary = load_profile("paper").primary
    assert primary is not None
    assert (primary.score, primary.near) == ("msp", ("tiny_near", "photos"))
    assert not {"gaussian", "uniform"} & {*primary.near, *primary.far}
    assert load_profile("smoke").primary is None
