"""`Experiment` derives published defaults, refuses impossible values, and names itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import typing
from pathlib import Path

import pytest

from trustdd.settings.defaults import (
    DATASETS,
    MATCHING_LOOPS,
    matching_loops,
    trajectory_settings,
)
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import METHODS, OUTLIERS, SETTINGS, Experiment
from trustdd.store.expert_store import experts_key
from trustdd.store.run import Run

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = sorted(RESULTS.glob("*/runs/*/experiment.json"))


def test_unset_fields_take_the_published_defaults() -> None:
    experiment = Experiment(dataset="cifar10", method="dsa", outliers="poe", ipc=10)
    assert (experiment.outer_loops, experiment.inner_loops) == (10, 50)
    assert (experiment.iterations, experiment.real_batch, experiment.lr_images) == (1000, 256, 0.1)
    assert (experiment.width, experiment.depth, experiment.image_size) == (128, 3, 32)
    assert experiment.augmentation == "color_crop_cutout_flip_scale_rotate"
    assert experiment.corruptions == ("jigsaw", "invert", "mosaic", "speckle")
    assert experiment.outlier_weight == 0.5


def test_dc_is_dsa_without_augmentation() -> None:
    assert Experiment(method="dc").augmentation is None


@pytest.mark.parametrize(
    ("dataset", "method", "epochs"),
    [
        ("cifar10", "dc", 300),
        ("mnist", "dc", 1000),
        ("cifar10", "dsa", 1000),
        ("svhn", "mtt", 1000),
    ],
)
def test_students_train_as_long_as_published(dataset: str, method: str, epochs: int) -> None:
    assert Experiment(dataset=dataset, method=method).training_epochs == epochs
    assert Experiment(dataset=dataset, method=method, training_epochs=7).training_epochs == 7


def test_experts_are_augmented_as_the_dataset_is_unless_told_otherwise() -> None:
    experiment = Experiment(dataset="cifar10", method="mtt")
    assert experiment.expert_augmentation == "color_crop_cutout_flip_scale_rotate"
    assert Experiment(method="mtt").expert_augmentation == "color_crop_cutout_scale_rotate"
    assert experiment.but(expert_augmentation=None).expert_augmentation is None
    # what plays no part has one value, so that equal runs share a key
    assert Experiment(method="dsa").key == Experiment(method="dsa", expert_augmentation=None).key


@pytest.mark.parametrize(
    ("dataset", "ipc", "steps", "start"),
    [("cifar10", 1, 50, 2), ("cifar10", 10, 30, 20), ("cifar100", 50, 80, 40)],
)
def test_trajectory_defaults_are_the_published_rows(
    dataset: str, ipc: int, steps: int, start: int
) -> None:
    experiment = Experiment(dataset=dataset, method="mtt", ipc=ipc)
    assert (experiment.student_steps, experiment.max_start_epoch) == (steps, start)
    assert experiment.iterations == 5000


def test_one_channel_images_are_not_whitened_with_the_settings_of_colour_ones() -> None:
    assert trajectory_settings("cifar10", 1)["zca"] is True
    assert trajectory_settings("mnist", 1)["zca"] is False


def test_depth_leaves_four_pixels() -> None:
    assert Experiment(dataset="imagenette").depth == 5
    assert Experiment(dataset="mnist").depth == 3  # 28 px, padded to 32
    assert Experiment(dataset="digits").depth == 2


def test_loops_are_defined_for_every_ipc_and_agree_with_the_published_ones() -> None:
    for ipc in range(1, 120):
        outer, inner = matching_loops(ipc)
        assert outer >= 1
        assert inner >= 1
    for ipc, loops in MATCHING_LOOPS.items():
        assert matching_loops(ipc) == loops
    assert matching_loops(25) == (25, 22)


def test_but_derives_anew_what_was_never_set_and_keeps_what_was() -> None:
    experiment = Experiment(dataset="cifar10", ipc=10, inner_loops=3)
    larger = experiment.but(ipc=50)
    assert (larger.outer_loops, larger.inner_loops) == (50, 3)
    assert dataclasses.replace(experiment, augmentation=None).augmentation is None
    assert experiment.but(outliers="oe").outlier_pool == "tiny300k"


def test_fields_that_play_no_part_do_not_change_the_key() -> None:
    plain = Experiment()
    assert plain.key == Experiment(outlier_weight=0.1, corruptions=("invert",)).key
    assert plain.key == Experiment(data_root="/elsewhere", device="cpu").key
    assert plain.key == plain.but(ood=("gaussian",)).key
    assert Experiment(lr_images=1).key == Experiment(lr_images=1.0).key
    assert plain.key != plain.but(seed=1).key
    assert plain.but(outliers="poe").key != plain.but(outliers="poe", outlier_weight=0.1).key


def test_what_is_resolved_has_its_type_whatever_was_asked() -> None:
    hints = typing.get_type_hints(Experiment)
    for dataset in (*DATASETS, "my_folder"):
        for method in METHODS:
            for outliers in OUTLIERS:
                asked = dict(dataset=dataset, method=method, outliers=outliers, data_root="data")
                experiment = Experiment(**asked)
                assert experiment.asked == {
                    name: value
                    for name, value in asked.items()
                    if value != getattr(Experiment(), name)
                }
                for name, hint in hints.items():
                    kind = typing.get_origin(hint) or hint
                    kind = hint if kind is not tuple else tuple
                    assert isinstance(getattr(experiment, name), kind), (name, hint)


def test_nothing_asked_for_is_the_same_as_none_where_a_default_is_derived() -> None:
    derived = [name for name, declared in SETTINGS.items() if declared.derived]
    assert "lr_images" in derived
    nothing = {name: SETTINGS[name].unset for name in derived}
    assert Experiment(**nothing) == Experiment()
    assert Experiment(**nothing).asked == {}


def test_what_was_asked_survives_copies() -> None:
    experiment = Experiment(ipc=10, inner_loops=3)
    for same in (copy.deepcopy(experiment), pickle.loads(pickle.dumps(experiment))):
        assert same == experiment
        assert same.but(ipc=50) == experiment.but(ipc=50)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_runs_keep_their_keys(path: Path) -> None:
    assert Run.open(path.parent).experiment.key == path.parent.name


def test_published_experts_keep_their_keys() -> None:
    manifests = sorted(RESULTS.glob("*/experts/*/manifest.json"))
    assert manifests
    for path in manifests:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        experiment = Experiment.from_dict({"data_root": "data", **settings, "method": "mtt"})
        assert experts_key(experiment) == path.parent.name


def test_a_setting_added_later_is_in_no_key_while_it_has_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, other = Experiment(outliers="poe"), Experiment(outliers="poe", metric="mse")
    derived = Experiment(outliers="poe", outer_loops=7)
    names = ["metric", "outer_loops", "seed"]
    assert list(plain.identity(names)) == names
    for name in ("metric", "outer_loops"):
        later = dataclasses.replace(SETTINGS[name], later=True)
        monkeypatch.setitem(SETTINGS, name, later)
    assert plain.identity(names) == {"seed": 0}
    assert other.identity(names) == {"metric": "mse", "seed": 0}
    assert derived.identity(names) == {"outer_loops": 7, "seed": 0}
    assert len({e.key for e in (plain, other, derived)}) == 3


def test_round_trip_through_json_types() -> None:
    experiment = Experiment(outliers="poe", ipc=3, corruptions=("invert", "speckle"))
    assert Experiment.from_dict(experiment.to_dict(place=True)) == experiment


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ipc": 0}, ["ipc 0", "≥ 1"]),
        ({"ipc": 1.5}, ["ipc 1.5", "integer"]),
        ({"ipc": True}, ["ipc True", "integer"]),
        ({"method": "dsaa"}, ["'dsaa'", "dc, dsa, dm, mtt"]),
        ({"outliers": "oo"}, ["'oo'", "none, oe, poe"]),
        ({"dataset": "cifar11"}, ["cifar11", "cifar10", "data_root"]),
        ({"dataset": "../etc"}, ["../etc"]),
        ({"outliers": "poe", "corruptions": ("blur",)}, ["'blur'", "jigsaw"]),
        ({"outliers": "poe", "corruptions": ()}, ["corruptions is empty"]),
        ({"outliers": "poe", "outlier_weight": -1}, ["outlier_weight -1", "≥ 0"]),
        ({"outliers": "poe", "outlier_weight": float("nan")}, ["outlier_weight nan"]),
        ({"lr_images": 0.0}, ["lr_images 0.0", "> 0"]),
        ({"training_momentum": 1.0}, ["training_momentum 1.0", "< 1"]),
        ({"depth": 5}, ["depth 5", "1 to 4", "16 px"]),
        ({"image_size": "big"}, ["image_size 'big'"]),
        ({"augmentation": "flip_blur"}, ["'blur'", "cutout"]),
        ({"ood": "textures"}, ["ood 'textures'", "list of names"]),
        ({"ood": ("a", "a")}, ["each name once"]),
        ({"device": "tpu"}, ["'tpu'", "cuda"]),
        ({"device": 3}, ["device 3", "cuda"]),
        ({"dataset": {}}, ["dataset {}", "cifar10"]),
        ({"dataset": ".."}, ["dataset '..'", "image folder"]),
        ({"method": ["dsa"]}, ["method ['dsa']", "dc, dsa, dm, mtt"]),
        ({"augmentation": 3}, ["augmentation 3", "names joined by _"]),
        ({"expert_augmentation": True}, ["expert_augmentation True"]),
        ({"data_root": 3}, ["data_root 3", "folder"]),
        ({"outlier_pool": ["a"]}, ["outlier_pool ['a']", "text"]),
        ({"lr_network": 10**400}, ["lr_network", "number > 0"]),
        ({"networks": ("mlp", "mlp")}, ["networks", "each name once"]),
        ({"networks": ("transformer",)}, ["'transformer'", "mlp"]),
        ({"zca": 1}, ["zca 1", "true or false"]),
    ],
)
def test_impossible_values_are_refused_naming_the_given_and_the_allowed(
    fields: dict, words: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:
        Experiment(**fields)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_whatever_is_asked_of_a_field_it_is_resolved_or_refused_in_one_line(name: str) -> None:
    odd = (
        None, True, -1, 0, 7, 10**30, -(10**5000), 1.5, math.nan, math.inf, 10**400, "", "x", "a\0",
        "\ud800", (), [], ("a", "a"), (None,), ((),), {}, {"a": 1}, b"x", object(), Path("x"),
    )  # fmt: skip
    kind = typing.get_type_hints(Experiment)[name]
    for outliers in OUTLIERS:
        for value in odd:
            asked = {"outliers": outliers, name: value}
            try:
                found = getattr(Experiment(**asked), name)
            except BadInput as error:
                assert len(str(error).splitlines()) <= 1
            else:
                assert isinstance(found, tuple if typing.get_origin(kind) is tuple else kind)


def test_an_unknown_field_offers_the_nearest() -> None:
    with pytest.raises(ValueError, match="'iteration' is unknown; nearest: iterations"):
        Experiment.from_dict({"iteration": 3})
