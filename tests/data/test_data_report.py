"""What `data_report` says is here is what the loaders find."""

from __future__ import annotations

import pytest
from data_files import write_broken, write_folder, write_mnist, write_splits, write_svhn

from trustdd.data.inliers import load_inliers
from trustdd.data.ood import known_names, load_ood_suite
from trustdd.data.report import COLUMNS, data_report
from trustdd.settings.experiment import Experiment


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))


def test_without_a_data_root_only_the_embedded_data_is_here():
    report = data_report(None).set_index("dataset")
    assert list(data_report(None).columns) == list(COLUMNS)
    here = report[report.present]
    assert set(here["where"]) == {"embedded"}
    data = load_inliers(Experiment())
    assert report.loc["digits", "images"] == len(data.train) + len(data.test)
    suite = load_ood_suite(Experiment(ood=("photos", "transposed_digits")))
    for name, images in suite.items():
        assert report.loc[name, "images"] == len(images)
    assert report[~report.present].how_to_get.str.len().min() > 20
    assert "trustdd data --download svhn" in report.loc["svhn", "how_to_get"]
    assert set(known_names()) - set(report.index) == {"dtd", "imagenette_no_dog_truck"}


def test_what_lies_on_disk_is_counted(tmp_path):
    write_svhn(tmp_path / "svhn", count=20)
    write_mnist(tmp_path / "MNIST" / "raw", count=30)
    write_splits(tmp_path, "pets", {"cat": 3, "dog": 2})
    write_folder(tmp_path / "dtd" / "dtd" / "images", {"banded": 4})
    write_folder(tmp_path / "street", {".": 3})
    (tmp_path / "empty").mkdir()
    report = data_report(tmp_path).set_index("dataset")
    images = {"svhn": 40, "mnist": 60, "pets": 9, "textures": 4, "street": 3}
    assert report.loc[list(images), "images"].to_dict() == images
    assert report.loc[list(images), "present"].all()
    assert report.loc["pets", "role"] == "InD, OOD, pool"
    assert report.loc["street", "role"] == "OOD, pool"
    assert report.loc["textures", "where"].endswith("dtd/dtd/images")
    assert not report.loc["cifar10", "present"]
    assert "empty" not in report.index


def test_what_is_damaged_is_not_called_present(tmp_path):
    raw = write_mnist(tmp_path / "MNIST" / "raw")
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"cut")
    for i in range(3):
        write_broken(tmp_path / "street" / f"{i}.jpg")
    report = data_report(tmp_path).set_index("dataset")
    for name, reason in (("mnist", "t10k-labels-idx1-ubyte"), ("street", "no readable image")):
        assert not report.loc[name, "present"]
        assert reason in report.loc[name, "how_to_get"]
