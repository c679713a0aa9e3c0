"""InD data: against torchvision, Pillow and scikit-learn, in every format on disk."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import (
    noise_picture,
    write_broken,
    write_folder,
    write_splits,
)
from PIL import Image

from trustdd.data.imagesets import shared_subset, to_channels, to_size
from trustdd.data.inliers import InlierData, check_inliers, load_inliers
from trustdd.settings.experiment import Experiment

REAL = Path(__file__).resolve().parents[2] / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def experiment(root, dataset="pets", **fields) -> Experiment:
    fields.setdefault("ood", ("gaussian",))
    return Experiment(dataset=dataset, data_root=str(root), **fields)


# -- digits -----------------------------------------------------------------------------------


def test_digits_are_scikit_learns_split_into_thirds_by_class():
    from sklearn.datasets import load_digits

    data = load_inliers(Experiment(image_size=8))
    bunch = load_digits()
    for label in (0, 5, 9):
        ours = [s.images[s.labels == label, 0].numpy() for s in (data.train, data.test)]
        whole = np.round(bunch.images[bunch.target == label] / 16 * 255).astype(np.uint8)
        is_test = np.arange(len(whole)) % 3 == 2
        assert np.array_equal(ours[0], whole[~is_test])
        assert np.array_equal(ours[1], whole[is_test])


def test_digits_are_upsampled_smoothly_and_whatever_the_seed():
    data, other = load_inliers(Experiment(seed=0)), load_inliers(Experiment(seed=7))
    assert data.train.images.shape[1:] == (1, 16, 16)
    assert data.train.images.dtype == torch.uint8
    assert torch.equal(data.test.images, other.test.images)
    small = load_inliers(Experiment(image_size=8)).train.images
    back = torch.nn.functional.avg_pool2d(data.train.images.float(), 2)
    assert (back - small.float()).abs().mean() < 12


def test_digits_defaults_are_the_measured_statistics():
    data = load_inliers(Experiment())
    values = data.train.images.double() / 255
    assert data.mean[0] == pytest.approx(values.mean().item(), abs=0.005)
    assert data.std[0] == pytest.approx(values.std().item(), abs=0.03)


# -- normalisation ----------------------------------------------------------------------------


def test_normalise_agrees_for_bytes_and_floats_and_is_undone_by_pictures():
    data = load_inliers(Experiment())
    batch = data.train.images[:32]
    normalised = data.normalise(batch)
    assert torch.equal(normalised, data.normalise(batch.float() / 255))
    expected = (batch.double() / 255 - data.mean[0]) / data.std[0]
    assert torch.allclose(normalised.double(), expected, atol=1e-6)
    assert torch.allclose(data.pictures(normalised), batch.float() / 255, atol=1e-6)
    assert data.pictures(normalised * 100).max() == 1


def test_statistics_of_an_own_folder_are_measured_on_its_training_split(tmp_path):
    write_splits(tmp_path, "pets", {"cat": 5, "dog": 4}, size=(32, 32))
    data = load_inliers(experiment(tmp_path))
    values = data.train.images.double() / 255
    assert data.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-4)
    assert data.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-4)


# -- image folders ----------------------------------------------------------------------------


def test_folder_matches_torchvisions_transforms(tmp_path):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

    folder = write_splits(tmp_path, "pets", {"cat": 3, "dog": 4}, size=(50, 41), suffix=".jpg")
    data = load_inliers(experiment(tmp_path, image_size=24))
    theirs = ImageFolder(folder / "train", Compose([Resize(24), CenterCrop(24), PILToTensor()]))
    assert data.classes == tuple(theirs.classes)
    assert data.train.labels.tolist() == theirs.targets
    for image, (expected, _) in zip(data.train.images, theirs, strict=True):
        assert torch.equal(image, expected)


@pytest.mark.parametrize("test", ["val", "validation", "Test"])
def test_test_split_may_have_other_names(tmp_path, test):
    write_splits(tmp_path, "pets", {"cat": 3, "dog": 3}, test=test)
    assert len(load_inliers(experiment(tmp_path)).test) == 4


def test_every_mode_and_suffix_is_read(tmp_path):
    folder = write_splits(tmp_path, "pets", {"cat": 2, "dog": 2})
    kinds = [
        ("L", "a.jpg"), ("CMYK", "b.JPEG"), ("RGBA", "c.PNG"), ("P", "d.gif"), ("1", "e.bmp"),
        ("I;16", "f.png"), ("LA", "g.png"), ("RGB", "h.webp"), ("RGB", "i.TIFF"), ("L", "j.pgm"),
    ]  # fmt: skip
    for mode, name in kinds:
        noise_picture(1, mode=mode).save(folder / "train" / "cat" / name, quality=95)
    (folder / "train" / "cat" / "notes.txt").write_text("no picture")
    (folder / "train" / "cat" / ".hidden.png").write_bytes(b"no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_inliers(experiment(tmp_path))
    images = data.train.images[data.train.labels == 0].float()
    assert len(images) == 2 + len(kinds)
    grey = torch.tensor(np.asarray(noise_picture(1).convert("L"))).float()
    coloured = torch.tensor(np.asarray(noise_picture(1))).permute(2, 0, 1).float()
    for image, (mode, name) in zip(images[2:], sorted(kinds, key=lambda k: k[1]), strict=True):
        expected = grey if mode in ("L", "LA", "I;16", "1") else coloured
        # a palette and two colours are coarse; what matters is the picture, not its last bit
        worst = {"P": 30, "1": 140, "CMYK": 10}.get(mode, 8)
        assert (image - expected).abs().mean() < worst, name


def test_transparency_lies_over_white(tmp_path):
    folder = write_splits(tmp_path, "pets", {"cat": 2, "dog": 2})
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    clear.save(folder / "train" / "dog" / "zz.png")
    assert (load_inliers(experiment(tmp_path)).train.images[-1] == 255).all()


def test_grey_folder_has_one_channel_and_a_mixed_one_three(tmp_path):
    write_splits(tmp_path, "scans", {"a": 3, "b": 3}, mode="L")
    write_splits(tmp_path, "mixed", {"a": 3, "b": 3}, mode="L")
    noise_picture(3).save(tmp_path / "mixed" / "train" / "a" / "colour.png")
    assert load_inliers(experiment(tmp_path, "scans")).channels == 1
    assert load_inliers(experiment(tmp_path, "mixed")).channels == 3


def test_broken_files_are_left_out_with_one_warning(tmp_path):
    folder = write_splits(tmp_path, "pets", {"cat": 3, "dog": 3})
    whole = load_inliers(experiment(tmp_path))
    write_broken(folder / "train" / "cat" / "001a.jpg")
    cut = (folder / "train" / "dog" / "000.png").read_bytes()
    (folder / "train" / "dog" / "003.png").write_bytes(cut[: len(cut) // 2])
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match=r"2 of 8 files .* left out") as record:
            data = load_inliers(experiment(tmp_path))
        assert len(record) == 1
        assert torch.equal(data.train.images, whole.train.images)
        assert torch.equal(data.train.labels, whole.train.labels)


def test_imagenette_shows_names_people_know(tmp_path):
    classes = {"n02102040": 2, "n01440764": 2}
    write_splits(tmp_path, "imagenette2-160", classes, test="val", suffix=".JPEG", size=(40, 30))
    data = load_inliers(experiment(tmp_path, "imagenette", image_size=32))
    assert data.classes == ("tench", "English springer")
    assert data.test.images.shape == (4, 3, 32, 32)


# -- bad input --------------------------------------------------------------------------------


def test_missing_dataset_says_where_and_how(tmp_path):
    with pytest.raises(ValueError, match=r"dataset 'cifar10': not found under .*cifar-10-batches-py"
                       r".*trustdd data --download cifar10"):  # fmt: skip
        check_inliers(experiment(tmp_path, "cifar10"))
    with pytest.raises(ValueError, match="'cifar10': needs data_root"):
        check_inliers(Experiment(dataset="cifar10"))
    with pytest.raises(ValueError, match="no such folder"):
        check_inliers(experiment(tmp_path / "nowhere", "cifar10"))
    with pytest.raises(ValueError, match="dataset 'cats': not found"):
        check_inliers(experiment(tmp_path, "cats"))


def test_missing_split_and_missing_classes(tmp_path):
    write_folder(tmp_path / "loose", {"cat": 2, "dog": 2})
    with pytest.raises(ValueError, match=r"split 'train' is missing.*found cat, dog"):
        check_inliers(experiment(tmp_path, "loose"))
    write_folder(tmp_path / "half" / "train", {"cat": 2, "dog": 2})
    with pytest.raises(ValueError, match="split 'test' is missing"):
        check_inliers(experiment(tmp_path, "half"))
    for split in ("train", "test"):
        write_folder(tmp_path / "flat" / split, {".": 3})
    with pytest.raises(ValueError, match="class folders"):
        check_inliers(experiment(tmp_path, "flat"))
    write_folder(tmp_path / "odd" / "train", {"cat": 2, "dog": 2})
    write_folder(tmp_path / "odd" / "test", {"cat": 2, "cow": 2})
    with pytest.raises(ValueError, match="not in test: dog; not in train: cow"):
        check_inliers(experiment(tmp_path, "odd"))


def test_folder_of_broken_files(tmp_path):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            for i in range(40):
                write_broken(tmp_path / "pets" / split / label / f"{i}.jpg")
    for refuse in (check_inliers, load_inliers):
        with pytest.raises(ValueError, match="no readable image"):
            refuse(experiment(tmp_path))


def test_too_few_images_for_the_ipc(tmp_path):
    write_splits(tmp_path, "pets", {"cat": 5, "dog": 3})
    check_inliers(experiment(tmp_path, ipc=3))
    for refuse in (check_inliers, load_inliers):
        with pytest.raises(ValueError, match=r"class 'dog' has 3 .*ipc 4; take ipc ≤ 3"):
            refuse(experiment(tmp_path, ipc=4))
    check_inliers(experiment(tmp_path, ipc=4, initial="noise"))
    with pytest.raises(ValueError, match="class '8' has 116"):
        check_inliers(Experiment(ipc=500))


# -- conversions ------------------------------------------------------------------------------


def test_grey_is_pillows_luma_and_colour_is_repetition():
    rgb = torch.randint(0, 256, (5, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    rgb = rgb.to(torch.uint8)
    for image, grey in zip(rgb, to_channels(rgb, 1), strict=True):
        expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert np.array_equal(grey[0].numpy(), expected)
    grey = rgb[:, :1]
    assert all(torch.equal(to_channels(grey, 3)[:, c : c + 1], grey) for c in range(3))


@pytest.mark.parametrize("size", [16, 48])
def test_resizing_is_pillows_within_a_level(size):
    picture = noise_picture(4)
    tensor = torch.tensor(np.asarray(picture)).permute(2, 0, 1)[None].contiguous()
    expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))
    ours = to_size(tensor, size)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1


def test_shared_subset_is_sorted_distinct_and_fixed():
    chosen = shared_subset(1000, 50, "textures")
    assert torch.equal(chosen, shared_subset(1000, 50, "textures"))
    assert len(set(chosen.tolist())) == 50
    assert chosen.tolist() == sorted(chosen.tolist())
    assert not torch.equal(chosen, shared_subset(1000, 50, "photos"))
    assert shared_subset(40, 50, "textures") is None
    assert shared_subset(40, 0, "textures") is None


# -- the real ones, where they lie ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32)), ("imagenette", None)]
)
def test_real_datasets_pass_the_check(name, shape):
    if not (REAL / name).is_dir():
        pytest.skip(f"no real images in {REAL / name}")
    check_inliers(experiment(REAL, name, ipc=50))
    if name == "mnist":
        data: InlierData = load_inliers(experiment(REAL, name))
        assert data.train.images.shape[1:] == shape
        values = data.train.images.double() / 255
        assert values.mean().item() == pytest.approx(data.mean[0], abs=0.01)
