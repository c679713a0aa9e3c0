"""The cache of decoded images: same bytes, never stale."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from data_files import noise_picture, write_splits
from PIL import Image

from trustdd.data.inliers import load_inliers
from trustdd.settings.experiment import Experiment


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def experiment(root, dataset="pets", **fields) -> Experiment:
    fields.setdefault("ood", ("gaussian",))
    return Experiment(dataset=dataset, data_root=str(root), **fields)


def test_cache_serves_the_same_bytes_without_decoding(tmp_path, cache, monkeypatch):
    write_splits(tmp_path, "pets", {"cat": 3, "dog": 3})
    cold = load_inliers(experiment(tmp_path))
    assert len(list(cache.glob("*.safetensors"))) == 2

    def refuse(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr("trustdd.data.folders._decode", refuse)
    warm = load_inliers(experiment(tmp_path))
    assert torch.equal(cold.train.images, warm.train.images)
    assert torch.equal(cold.test.labels, warm.test.labels)


@pytest.mark.parametrize("change", ["pixels", "touched", "added", "damaged cache"])
def test_stale_cache_is_made_again_in_place(tmp_path, cache, change):
    # bitmaps, so that another picture has the same number of bytes
    folder = write_splits(tmp_path, "pets", {"cat": 3, "dog": 3}, suffix=".bmp")
    load_inliers(experiment(tmp_path))
    file = folder / "train" / "cat" / "000.bmp"
    before = os.stat(file)
    if change == "pixels":
        noise_picture(99).save(file)
    elif change == "touched":  # same name and size, other content, later
        red = Image.new("RGB", (32, 32), "red")
        red.save(file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert os.stat(file).st_size == before.st_size
    elif change == "added":
        noise_picture(98).save(folder / "train" / "cat" / "0000.png")
    else:
        for path in cache.glob("*.safetensors"):
            path.write_bytes(path.read_bytes()[:100])
    data = load_inliers(experiment(tmp_path))
    first = sorted((folder / "train" / "cat").iterdir())[0]
    expected = np.asarray(Image.open(first).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(data.train.images[0].numpy(), expected)
    assert len(data.train) == (7 if change == "added" else 6)


def test_sizes_do_not_share_a_cache(tmp_path):
    write_splits(tmp_path, "pets", {"cat": 2, "dog": 2})
    assert load_inliers(experiment(tmp_path, image_size=32)).image_size == 32
    assert load_inliers(experiment(tmp_path, image_size=16)).image_size == 16


def test_cache_that_cannot_be_written_costs_only_a_warning(tmp_path, monkeypatch):
    write_splits(tmp_path, "pets", {"cat": 2, "dog": 2})
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="TRUSTDD_CACHE"):
        assert len(load_inliers(experiment(tmp_path)).train) == 4
