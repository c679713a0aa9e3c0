"""Folders of one's own are told apart by what they hold, sets known by name are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustdd.data.ood import known_names
from trustdd.settings.defaults import DATASETS
from trustdd.settings.experiment import Experiment
from trustdd.settings.places import NAMED_SETS, folder_digest, own_folders
from trustdd.store.expert_store import experts_key
from trustdd.store.profiles import list_profiles, load_profile
from trustdd.store.stages import covers, stage_settings


def folder(root: Path, name: str, content: str = "1") -> str:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            path = root / name / split / label / "one.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return str(root)


def test_the_list_of_names_is_what_data_knows() -> None:
    assert {*NAMED_SETS, *DATASETS} >= {*known_names()}
    assert {n for n in NAMED_SETS if not n.startswith("tiny")} <= {*known_names()}


@pytest.mark.parametrize("name", list_profiles())
def test_published_keys_depend_on_no_folder(name: str) -> None:
    """They are read where no data is, and have to be the same there."""
    for experiment in load_profile(name).experiments():
        sets = {experiment.dataset, experiment.outlier_pool, *experiment.ood} - {""}
        assert sets <= {*NAMED_SETS, *DATASETS}


def test_two_folders_of_one_name_are_two_runs(tmp_path: Path) -> None:
    # the same names and sizes: what the files hold decides
    first, second = folder(tmp_path / "a", "pets", "1"), folder(tmp_path / "b", "pets", "2")
    moved = folder(tmp_path / "c", "pets", "1")
    asked = dict(dataset="pets", method="mtt", image_size=8)
    key = Experiment(**asked, data_root=first).key
    assert Experiment(**asked, data_root=second).key != key
    assert Experiment(**asked, data_root=moved).key == key, "wherever it lies"
    experts = experts_key(Experiment(**asked, data_root=first))
    assert experts_key(Experiment(**asked, data_root=second)) != experts
    # the outlier pool likewise, where there is one
    for outliers, same in (("oe", False), ("poe", True), ("none", True)):
        keys = {
            Experiment(outliers=outliers, outlier_pool="pets", data_root=root).key
            for root in (first, second)
        }
        assert (len(keys) == 1) == same


def test_two_folders_of_one_name_are_two_suites(tmp_path: Path) -> None:
    roots = [folder(tmp_path / name, "pets", name) for name in "ab"]
    both = [Experiment(ood=("gaussian", "pets"), data_root=root) for root in roots]
    assert both[0].key == both[1].key
    first, second = (stage_settings("evaluate", experiment) for experiment in both)
    assert not covers(first, second)
    part = stage_settings("evaluate", both[0].but(ood=("gaussian",)))
    assert "folders" not in part
    assert covers(first, part)
    path = both[0].but(ood=(f"folder:{tmp_path}/a/pets",))
    assert list(own_folders(path.ood, None).values()) == list(first["folders"].values())


@pytest.mark.parametrize("name", ["train/cat/two.png", "other.txt"])
def test_another_file_is_another_content(tmp_path: Path, name: str) -> None:
    path = Path(folder(tmp_path, "pets")) / "pets"
    before = folder_digest(path)
    (path / name).write_text("more")
    from trustdd.settings import places

    places._digest.cache_clear()
    assert folder_digest(path) != before


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    path = Path(folder(tmp_path, "pets")) / "pets"
    (path / "train" / "again").symlink_to(path)
    (path / "gone").symlink_to(path / "nowhere")
    assert len(folder_digest(path)) == 16
    assert own_folders(["missing"], str(tmp_path)) == {}
