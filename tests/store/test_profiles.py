"""Profiles expand into experiments; a wrong one is named before anything runs."""

from __future__ import annotations

import copy
import datetime
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
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
    - {dataset: digits, outliers: none, seed: 1, ood: [gaussian, uniform]}
"""


#: ten lines that stand for a hundred million values
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in itertools.pairwise("abcdefgh")
)


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["expected a mapping with title"]),
        ("- a", ["expected a mapping with title"]),
        ("groups: [a, b]", ["groups ['a', 'b']", "a mapping"]),
        ("groups: {main: [a, b]}", ["group 'main' 'a'", "a mapping"]),
        ("groups: {main: }", ["group 'main' None", "a mapping"]),
        ("groups: {main: []}", ["group 'main' is empty"]),
        ("groups: {main: {seed: []}}", ["group 'main'", "seed is an empty list"]),
        ("groups: {main: {seed: [1, 0, 1]}}", ["seed", "1 stands there twice"]),
        ("groups: {main: {ood: [gaussian, gaussian]}}", ["ood", "each name once"]),
        ("groups: {main: {corruptions: [[invert], [invert]], outliers: poe}}", ["twice"]),
        ("groups: {main: {corruptions: [[invert], jigsaw], outliers: poe}}", ["'jigsaw'"]),
        ("groups: {main: {dataset: {a: b}}}", ["dataset {'a': 'b'}", "digits"]),
        ("groups: {main: {method: {a: b}}}", ["method {'a': 'b'}", "dsa"]),
        ("groups: {main: {augmentation: 3}}", ["group 'main'", "augmentation 3"]),
        ("groups: {main: {seed: 2020-01-01}}", ["seed datetime.date", "an integer"]),
        ("groups: {main: {ipc: 2020-13-45}}", ["month"]),
        ("groups: {main: {ipc: !!python/name:os.system }}", ["line 1", "python/name"]),
        ("groups: {../../x: {seed: 0}}", ["group '../../x'", "a plain name"]),
        ("groups: {'': {seed: 0}}", ["group ''", "a plain name"]),
        ("groups: {a b: {seed: 0}}", ["group 'a b'", "a plain name"]),
        ("groups: {'<b>': {seed: 0}}", ["group '<b>'", "a plain name"]),
        ("groups: {.hidden: {seed: 0}}", ["group '.hidden'", "a plain name"]),
        ("groups: {3: {seed: 0}}", ["key 3 is no text"]),
        ("groups: {[a]: {seed: 0}}", ["a list or mapping is no text"]),
        ("groups: {main: {true: 0}}", ["key true is no text"]),
        ("groups: {main: {seed: 0}, main: {seed: 1}}", ["line 1", "'main' is given twice"]),
        ("groups:\n  main: {seed: 0}\n  more: {ipc: 1, seed: 2,\n    ipc: 2}",
         ["line 4", "'ipc' is given twice"]),
        ("groups:\n  main:\n\tseed: 0", ["line 3", "\\t"]),
        ("groups: {main: {seed: [0, 1}}", ["line 1", "expected ',' or ']'"]),
        ("groups: {main: {seed: " + "[" * 3000, ["nested deeper than 20 levels"]),
        ("{a: " * 3000, ["nested deeper than 20 levels"]),
        ("settings: &a {digits: *a}", ["alias", "stands in"]),
        (LAUGHS, ["more than 100000 values"]),
        ("groups: {main: {seed: [" + ", ".join(str(i) for i in range(10001)) + "]}}",
         ["10001 experiments", "at most 10000"]),
        ("title: x" + "x" * 2**20, ["longer than 1048576 bytes"]),
        ("title: 3", ["title 3", "text"]),
        ("description: [a]", ["description ['a']", "text"]),
        ("settings: [a]", ["settings ['a']", "a mapping"]),
        ("settings: {digits: 3}", ["settings of 'digits' 3", "a mapping"]),
        ("settings: {digits: {mtt: 3}}", ["settings of 'digits', mtt 3", "a mapping"]),
        ("settings: {a/b: {}}", ["'a/b'", "image folder"]),
        # of a dataset that no group holds
        ("settings: {cifar10: {width: wide}}", ["settings of 'cifar10'", "width 'wide'"]),
        ("settings: {cifar10: {dc: {widths: 3}}}", ["settings of 'cifar10', dc", "nearest: width"]),
        ("settings: {cifar10: {method: dc}}", ["settings of 'cifar10'", "method", "in a group"]),
        ("groups: {main: {seed: 1\0}}", ["special characters are not allowed"]),
    ],
)  # fmt: skip
def test_no_malformed_profile_gets_in(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    for word in words:
        assert word in str(caught.value)


WHOLE = {
    "title": "Trial", "description": "small",
    "primary": {"score": "msp", "near": ["photos"], "far": ["textures"]},
    "settings": {
        "*": {"training_epochs": 7, "data_root": "data", "device": "cpu"},
        "digits": {"ood": ["gaussian"], "augmentation": None, "mtt": {"zca": False}},
    },
    "groups": {
        "main": {"dataset": "digits", "method": "dsa", "outliers": ["poe"], "seed": [0, 1],
                 "corruptions": [["invert"], ["jigsaw"]], "lr_images": 0.1},
        "more": [{"seed": 5}],
    },
}  # fmt: skip
ODD = (
    None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", "x", "../x", "\u2028", [], [[]],
    [None], ["a", "a"], [["a"], "a"], {}, {"a": {}}, {"a": [{}]}, datetime.date(2020, 1, 1), b"x",
    {1, 2},
)  # fmt: skip


def places(value: object) -> Iterator[tuple[object, ...]]:
    yield ()
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict | list):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield from ((key, *rest) for rest in places(part))


def with_odd(value: object, place: tuple[object, ...], odd: object) -> object:
    if not place:
        return odd
    changed = copy.copy(value)
    changed[place[0]] = with_odd(changed[place[0]], place[1:], odd)  # type: ignore[index]
    return changed


@pytest.mark.parametrize("place", [*places(WHOLE)], ids=str)
def test_whatever_stands_anywhere_it_is_read_or_refused(
    tmp_path: Path, place: tuple[object, ...]
) -> None:
    path = tmp_path / "own.yaml"
    for odd in ODD:
        path.write_text(yaml.safe_dump(with_odd(WHOLE, place, odd), allow_unicode=True))
        try:
            profile = load_profile(path)
        except BadInput as error:
            assert str(path) in str(error)
        else:
            assert all(isinstance(e, Experiment) for e in profile.experiments())


def test_text_that_is_not_utf_8_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(b"title: a\ndescription: caf\xe9\n")
    with pytest.raises(BadInput, match=r"own.yaml, line 2: not UTF-8"):
        load_profile(path)


def test_a_profile_keeps_letters_of_any_script_and_numbers_as_people_write_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "café-🐱.yaml"
    path.write_text(
        "\ufefftitle: Große 🐱\nsettings: {digits: {lr_images: 1e-3}}\n"
        "groups: {größe_1: {outlier_weight: [5e-1, 2]}, 漢字: {outliers: poe}}\n",
        encoding="utf-8",
    )
    profile = load_profile(path)
    assert (profile.name, profile.title) == ("café-🐱", "Große 🐱")
    assert list(profile.groups) == ["größe_1", "漢字"]
    assert profile.experiment().lr_images == 0.001


@pytest.mark.parametrize(
    "change",
    ["ood: [gaussian]", "ood_limit: 7", "networks: [mlp]", "data_root: here", "device: cpu"],
)
def test_groups_that_would_share_a_run_and_differ_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"groups: {{main: {{seed: [0, 1]}}, more: {{seed: 1, {change}}}}}\n")
    with pytest.raises(BadInput, match=f"groups 'main' and 'more' .* with {change.split(':')[0]}"):
        load_profile(path)


@pytest.mark.parametrize("stage", ["course", "transfer", "detectors"])
def test_a_further_stage_may_be_done_with_fewer_students(tmp_path: Path, stage: str) -> None:
    path = tmp_path / "mine.yaml"
    # whichever stands first
    path.write_text(
        f"groups:\n  {stage}: {{seed: [0, 1], students: 1}}\n"
        "  main: {seed: [0, 1, 2], students: 3}\n"
    )
    profile = load_profile(path)
    assert {e.seed: e.students for e in profile.experiments()} == {0: 3, 1: 3, 2: 3}
    assert {e.seed: e.students for e in profile.experiments(stage)} == {0: 1, 1: 1, 2: 3}
    assert [e.key for e in profile.experiments()] == [e.key for e in profile.experiments(stage)]
    path.write_text(
        f"groups:\n  {stage}: {{seed: 0, ood_limit: 5}}\n  main: {{seed: 0, students: 3}}\n"
    )
    with pytest.raises(BadInput, match="with ood_limit 0 and 5; expected the same"):
        load_profile(path)


def test_a_name_that_is_no_plain_name_is_no_profile(tmp_path: Path) -> None:
    for name in ("-quick.yaml", "a b.yaml", "a;b.yaml"):
        path = tmp_path / name
        path.write_text("groups: {main: {seed: 0}}\n")
        with pytest.raises(BadInput, match="a plain name"):
            load_profile(path)


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
