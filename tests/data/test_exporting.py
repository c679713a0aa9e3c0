"""Sets that others' code reads, and that come back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trustdd.data.distilled_set import DistilledSet
from trustdd.data.foreign.exporting import export_set
from trustdd.data.foreign.importing import Reading, import_set
from trustdd.data.inputs import load_inputs
from trustdd.settings.experiment import Experiment

NAMES = [f"digit {i}" for i in range(10)]


def distilled(soft: bool = False, whitened: bool = False) -> DistilledSet:
    """A set whose pixels have left [0, 1], whose values half precision does not hold."""
    experiment = Experiment(
        ipc=2, outliers="poe", **({"method": "mtt", "zca": True} if whitened else {})
    )
    data = load_inputs(experiment)
    generator = torch.Generator().manual_seed(4)
    places = torch.cat([(data.train.labels == c).nonzero().flatten()[:2] for c in range(10)])
    images = data.normalise(data.train.images[places])
    images = images + 0.3 * torch.randn(images.shape, generator=generator)
    labels = data.train.labels[places]
    if soft:
        labels = 0.9 * torch.nn.functional.one_hot(labels, 10).float() + 0.01
    return DistilledSet(
        images, labels, images[:10].flip(0).clone(), 0.0123, experiment, data.mean, data.std
    ).with_pictures(data)


@pytest.mark.parametrize("to", ["pt", "npz"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("whitened", [False, True])
def test_a_file_comes_back_to_the_bit(
    to: str, soft: bool, whitened: bool, tmp_path: Path
) -> None:
    own = distilled(soft, whitened)
    path = export_set(own, NAMES, to, tmp_path / f"set.{to}")
    read = import_set(path, None, dataset="digits", reading=Reading(outliers="poe")).distilled
    assert torch.equal(read.images, own.images)
    assert torch.equal(read.labels, own.labels)
    assert torch.equal(read.outliers, own.outliers)
    assert read.student_lr == own.student_lr
    assert (read.mean, read.std) == (own.mean, own.std)
    assert read.experiment.zca == whitened


def test_others_read_it_without_this_package(tmp_path: Path) -> None:
    own = distilled()
    tensors = torch.load(export_set(own, NAMES, "pt", tmp_path / "set.pt"), weights_only=True)
    mean, std = (tensors[k].float().view(-1, 1, 1) for k in ("mean", "std"))
    pixels = (tensors["images"] * std + mean).clamp(0, 1)
    assert torch.allclose(pixels, own.pictures(), atol=1e-6)
    with np.load(export_set(own, NAMES, "npz", tmp_path / "set.npz"), allow_pickle=False) as held:
        assert set(held.files) == {"images", "labels", "outliers", "student_lr", "mean", "std"}


@pytest.mark.parametrize("soft", [False, True])
def test_pictures_come_back_to_8_bits(soft: bool, tmp_path: Path) -> None:
    own = distilled(soft)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    own = replace(own, images=own.images[shuffled], labels=own.labels[shuffled])
    folder = export_set(own, NAMES, "png", tmp_path / "pictures")
    labels = folder / "labels.npy" if soft else None
    read = import_set(folder, labels, dataset="digits", reading=Reading(outliers="poe")).distilled
    order = own.hard_labels.argsort(stable=True)
    assert torch.equal(read.labels, own.labels[order])
    for got, expected in (
        (read.pictures(), own.pictures()[order]), (read.outlier_pictures(), own.outlier_pictures()),
    ):  # fmt: skip
        assert float((got - expected).abs().max()) <= 0.5 / 255 + 1e-6
    facts = json.loads((folder / "set.json").read_text())
    assert facts["classes"] == NAMES and facts["student_lr"] == own.student_lr


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    own = distilled()
    (tmp_path / "there").mkdir()
    for to, name, message in (
        ("pkl", "set.pkl", "format 'pkl'; expected one of pt, npz, png"),
        ("pt", "set.npz", "ends in .pt"), ("png", "there", "expected the name of a new folder"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            export_set(own, NAMES, to, tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
