"""A distilled set checks itself, when it is made and when it is read; and is fed as it has to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from data_files import write_splits
from torch import Tensor

from trustdd.data.distilled_set import FORMAT, DistilledSet, load_distilled
from trustdd.data.feeding import as_fed
from trustdd.data.initial_set import initial_set
from trustdd.data.inputs import input_statistics, load_inputs
from trustdd.settings.experiment import Experiment
from trustdd.store.tensors import write_tensors
from trustdd.students.detection import detect
from trustdd.students.training import train_student

PLAIN = Experiment(ipc=1, device="cpu")
POE = Experiment(ipc=1, outliers="poe", device="cpu")
MEAN, STD = (0.3088,), (0.3487,)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "images": torch.randn(10, 1, 16, 16, generator=generator),
        "labels": torch.arange(10),
        "outliers": torch.randn(10, 1, 16, 16, generator=generator),
    }


def made(experiment: Experiment = POE, **changes: object) -> DistilledSet:
    given = {**tensors(), "student_lr": None, "mean": MEAN, "std": STD, **changes}
    return DistilledSet(experiment=experiment, **given)  # type: ignore[arg-type]


def written(path: Path, experiment: Experiment = POE, **changes: object) -> Path:
    """The file of a set, by no code that checks it."""
    given = {**tensors(), "mean": MEAN, "std": STD, **changes}
    metadata = {
        "format": FORMAT, "experiment": json.dumps(experiment.to_dict()),
        **{name: json.dumps(given.pop(name)) for name in ("mean", "std")},
    }  # fmt: skip
    rate = given.pop("student_lr", None)
    if rate is not None:
        given["student_lr"] = torch.tensor(rate)
    held = {name: value for name, value in given.items() if value is not None}
    return write_tensors(path, held, metadata)  # type: ignore[arg-type]


def spoiled(name: str, value: float) -> Tensor:
    images = tensors()[name].clone()
    images[3, 0, 2, 5] = value
    return images


def distribution(**changes: float) -> Tensor:
    rows = torch.full((10, 10), 0.02)
    rows.fill_diagonal_(0.82)
    for place, value in changes.items():
        row, column = map(int, place.removeprefix("at").split("_"))
        rows[row, column] = value
    return rows


BAD = {
    "another size": ({"images": torch.zeros(10, 1, 8, 8)}, r"images of shape \[10, 1, 8, 8\]"),
    "not square": ({"images": torch.zeros(10, 1, 16, 12)}, r"expected \[n, 1, 16, 16\]"),
    "colour": ({"images": torch.zeros(10, 3, 16, 16)}, r"images of shape \[10, 3, 16, 16\]"),
    "flat": ({"images": torch.zeros(10, 256)}, r"images of shape \[10, 256\]"),
    "no image": ({"images": torch.zeros(0, 1, 16, 16), "labels": torch.zeros(0).long()}, "n ≥ 1"),
    "bytes": ({"images": torch.zeros(10, 1, 16, 16).byte()}, "images of type uint8"),
    "NaN": ({"images": spoiled("images", float("nan"))}, "images: 1 of 10 hold NaN or infinity"),
    "infinity": ({"images": spoiled("images", float("inf"))}, "images: 1 of 10"),
    "too few labels": ({"labels": torch.arange(9)}, r"labels of shape \[9\] for 10 images"),
    "labels from 1": ({"labels": torch.arange(1, 11)}, r"from 1 to 10 \(counted from 1\?\)"),
    "negative": ({"labels": torch.arange(10) - 1}, "labels from -1 to 8; expected 0 to 9"),
    "a class missing": ({"labels": torch.arange(10).clamp(max=8)}, "no image of class 9"),
    "float labels": ({"labels": torch.arange(10.0)}, "labels of type float32; expected integers"),
    "truth values": ({"labels": torch.ones(10, dtype=torch.bool)}, "labels of type bool"),
    "nine columns": ({"labels": distribution()[:, :9]}, "distributions over the 10 classes"),
    "integer rows": ({"labels": torch.eye(10).long()}, "distributions in floating point"),
    "logits": ({"labels": distribution() * 5}, "rows sum to 5 to 5"),
    "below 0": ({"labels": distribution(at0_1=-0.5, at0_0=1.34)}, "no value below 0"),
    "NaN label": ({"labels": distribution(at2_2=float("nan"))}, "labels hold NaN"),
    "no share": ({"labels": torch.eye(10)[[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]]}, "no image of class 9"),
    "outliers' size": ({"outliers": torch.zeros(4, 1, 8, 8)}, r"outliers of shape \[4, 1, 8, 8\]"),
    "outliers' NaN": ({"outliers": spoiled("outliers", float("nan"))}, "outliers: 1 of 10"),
    "no outlier": ({"outliers": torch.zeros(0, 1, 16, 16)}, r"outliers of shape \[0, "),
    "two means": ({"mean": (0.3, 0.3)}, r"mean .*expected 1 finite numbers"),
    "std 0": ({"std": (0.0,)}, "std .*expected numbers > 0"),
    "NaN std": ({"std": (float("nan"),)}, "std .*expected 1 finite"),
    "words": ({"mean": ["grey"]}, "mean .*expected 1 finite"),
    "rate 0": ({"student_lr": 0.0}, "student_lr 0.0; expected a finite number > 0"),
    "rate NaN": ({"student_lr": float("nan")}, "student_lr nan"),
    "no weight": ({"experiment": PLAIN}, "10 outliers under an experiment with outliers 'none'"),
    "weight 0": ({"experiment": POE.but(outlier_weight=0.0)}, "with outlier_weight 0"),
}  # fmt: skip


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD.keys())
def test_what_is_no_set_is_refused_when_made_and_when_read(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        made(**changes)  # type: ignore[arg-type]
    path = written(tmp_path / "set.safetensors", **changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message) as error:
        load_distilled(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_the_same_file_unspoiled_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "set.safetensors", student_lr=0.03)
    distilled = load_distilled(path)
    assert torch.equal(distilled.images, tensors()["images"])
    assert (distilled.mean, distilled.std, distilled.classes) == (MEAN, STD, 10)
    assert distilled.student_lr == pytest.approx(0.03)


def test_what_a_file_lacks_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "set.safetensors")
    _, metadata = _parts(path)
    held = tensors()
    for name in ("images", "labels"):
        others = {k: v for k, v in held.items() if k != name}
        write_tensors(path, others, metadata)
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            load_distilled(path)
    for name in ("experiment", "mean", "std"):
        write_tensors(path, held, {k: v for k, v in metadata.items() if k != name})
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            load_distilled(path)
        for broken in ("{", "3", "null", "[" * 5000):
            write_tensors(path, held, {**metadata, name: broken})
            with pytest.raises(ValueError, match=str(path)):
                load_distilled(path)


def _parts(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from trustdd.store.tensors import read_tensors

    return read_tensors(path)


def test_numbers_of_other_types_become_ours() -> None:
    distilled = made(images=tensors()["images"].double(), labels=torch.arange(10).int())
    assert distilled.images.dtype == torch.float32
    assert distilled.labels.dtype == torch.int64


def test_distributions_are_kept_and_make_the_set_of_their_classes(tmp_path: Path) -> None:
    rows = distribution()
    distilled = made(labels=rows.half())
    assert distilled.classes == 10
    assert torch.allclose(distilled.labels.sum(1), torch.ones(10), atol=1e-6)
    again = load_distilled(distilled.save(tmp_path / "soft.safetensors"))
    assert torch.equal(again.labels, distilled.labels)


def test_a_folders_set_has_the_classes_that_its_labels_have() -> None:
    folder = Experiment(dataset="pets", data_root="x", image_size=16)
    for channels in (1, 3):
        images = torch.zeros(3, channels, 16, 16)
        statistics = {"mean": (0.5,) * channels, "std": (0.2,) * channels}
        own = made(folder, images=images, labels=torch.tensor([0, 2, 1]), outliers=None,
                   **statistics)  # fmt: skip
        assert own.classes == 3
    with pytest.raises(ValueError, match="no image of class 1"):
        made(folder, images=images, labels=torch.tensor([0, 2, 2]), outliers=None, **statistics)
    with pytest.raises(ValueError, match=r"expected \[n, 3, 16, 16\]"):
        made(folder, images=torch.zeros(3, 4, 16, 16), labels=torch.arange(3), outliers=None)


def test_pictures_of_whitened_images_fit_them() -> None:
    whitened = Experiment(ipc=1, method="mtt", zca=True)
    shown = (torch.zeros(10, 1, 16, 16, dtype=torch.uint8),)
    kept = made(whitened, outliers=None, whitened=shown)
    assert float(kept.pictures().max()) == 0
    with pytest.raises(ValueError, match="with_pictures"):
        replace(kept, whitened=None).pictures()
    with pytest.raises(ValueError, match="without zca"):
        made(PLAIN, outliers=None, whitened=shown)
    for wrong in ((shown[0][:9],), (shown[0].float(),), shown * 2):
        with pytest.raises(ValueError, match="expected uint8 of the shapes"):
            made(whitened, outliers=None, whitened=wrong)


def restated(distilled: DistilledSet, mean: float, std: float) -> DistilledSet:
    """The same pixels under other statistics."""
    (m,), (s,) = distilled.mean, distilled.std
    changed = {"mean": (mean,), "std": (std,)}
    for name in ("images", "outliers"):
        held = getattr(distilled, name)
        if held is not None:
            changed[name] = ((held.double() * s + m - mean) / std).float()
    return replace(distilled, **changed)


SMALL = Experiment(
    ipc=1, outliers="poe", selection="random", outlier_selection="random", width=8, depth=2,
    training_epochs=20, ood=("gaussian",), ood_limit=100, device="cpu",
)  # fmt: skip


def test_a_set_normalised_otherwise_makes_the_same_student() -> None:
    from trustdd.data.outliers import outlier_source

    data = load_inputs(SMALL)
    own = initial_set(SMALL, data, outlier_source(SMALL, data))
    assert as_fed(own, SMALL) is own
    other = restated(own, 0.5, 0.25)
    assert not torch.allclose(other.images, own.images, atol=0.1)
    fed = as_fed(other, SMALL)
    assert torch.allclose(fed.images, own.images, atol=1e-5)
    assert torch.allclose(fed.outliers, own.outliers, atol=1e-5)
    reports = [detect(train_student(d, SMALL), SMALL) for d in (own, other)]
    assert reports[0]["accuracy"].iloc[0] == pytest.approx(reports[1]["accuracy"].iloc[0], abs=0.02)


def test_a_whitened_set_is_unwhitened_where_pixels_are_fed_and_back() -> None:
    pixels = SMALL.but(outliers="none")
    whitened = pixels.but(method="mtt", zca=True)
    own = initial_set(pixels, load_inputs(pixels), None)
    there = as_fed(own, whitened)
    expected = load_inputs(whitened).normalise(own.pictures())
    assert torch.allclose(there.images, expected, atol=1e-4)
    assert as_fed(there, whitened) is there
    assert torch.allclose(as_fed(there, pixels).images, own.images, atol=1e-3)


def test_a_student_refuses_what_it_would_leave_out_or_misread() -> None:
    with pytest.raises(ValueError, match="outliers 'none', which gives them no weight"):
        train_student(made(), PLAIN.but(training_epochs=1))
    with pytest.raises(ValueError, match=r"expected \[n, 1, 8, 8\]"):
        train_student(made(), POE.but(training_epochs=1, image_size=8))


def test_a_student_of_too_few_classes_is_not_scored() -> None:
    from trustdd.networks.convnet import ConvNet

    with pytest.raises(ValueError, match="a student of 9 classes; expected 10"):
        detect(ConvNet(1, 9, 16, width=8, depth=2), SMALL)


@pytest.mark.parametrize("method", ["dsa", "mtt"])
@pytest.mark.parametrize("dataset", ["digits", "pets"])
def test_statistics_without_loading_are_those_with(
    method: str, dataset: str, tmp_path: Path
) -> None:
    write_splits(tmp_path, "pets", {"cat": 3, "dog": 3})
    experiment = Experiment(
        dataset=dataset, data_root=str(tmp_path), image_size=16, method=method, zca=False
    )
    data = load_inputs(experiment)
    assert input_statistics(experiment) == (data.mean, data.std)
