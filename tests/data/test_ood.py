"""OOD suites and outlier pools: what they hold, that they stay apart, and bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_files import (
    noise_picture,
    write_broken,
    write_cifar,
    write_folder,
    write_mnist,
    write_splits,
    write_svhn,
)
from PIL import Image

from trustdd.data.embedded import PICTURES, SHOWN, embedded_images
from trustdd.data.ood import check_ood, load_ood_suite, load_outlier_pool
from trustdd.settings.defaults import DATASETS
from trustdd.settings.experiment import Experiment

DIGITS_SUITE = (
    "textures", "photos", "gaussian", "uniform", "printed_text", "transposed_digits",
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))


@pytest.fixture()
def root(tmp_path):
    """A data_root with tiny datasets in their real layouts."""
    folder = tmp_path / "data"
    write_cifar(folder, "cifar10")
    write_cifar(folder, "cifar100", per_batch=100)
    write_svhn(folder / "svhn")
    write_mnist(folder / "MNIST" / "raw")
    write_folder(folder / "dtd" / "dtd" / "images", {"banded": 4, "bubbly": 3}, size=(60, 40))
    write_folder(folder / "LSUN_resize" / "LSUN_resize", {".": 4}, suffix=".jpg")
    write_folder(folder / "iSUN" / "iSUN_patches", {".": 3}, suffix=".jpeg")
    write_folder(folder / "places365" / "val_256", {".": 5}, size=(64, 64), suffix=".jpg")
    wnids = {"n01440764": 3, "n02102040": 4, "n03417042": 5}
    write_splits(folder, "imagenette", wnids, test="val", size=(48, 40))
    rng = np.random.default_rng(0)
    np.save(folder / "300K_random_images.npy", rng.integers(0, 256, (50, 32, 32, 3), np.uint8))
    return folder


def cifar(root, *ood, **fields) -> Experiment:
    return Experiment(dataset="cifar10", data_root=str(root), ood=ood or ("gaussian",), **fields)


def same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


# -- sets on disk -----------------------------------------------------------------------------


def test_cifar_suite_from_the_layouts_of_torchvision_and_pytorch_ood(root):
    names = ("textures", "svhn", "lsun_r", "isun", "places365", "cifar100", "mnist", "photos")
    experiment = cifar(root, *names, outliers="oe")
    check_ood(experiment)
    suite = load_ood_suite(experiment)
    assert {k: len(v) for k, v in suite.items()} == dict(
        zip(names, (7, 20, 4, 3, 5, 100, 20, 1000), strict=True)
    )
    assert all(v.images.shape[1:] == (3, 32, 32) for v in suite.values())
    mnist = suite["mnist"].images
    assert same(mnist[:, 0], mnist[:, 2])
    pool = load_outlier_pool(experiment)
    stored = torch.from_numpy(np.load(root / "300K_random_images.npy"))
    assert same(pool.images.permute(0, 2, 3, 1), stored)


def test_an_ood_set_is_the_test_split_and_a_pool_the_training_split(root):
    import scipy.io

    svhn = load_ood_suite(cifar(root, "svhn"))["svhn"].images
    stored = scipy.io.loadmat(root / "svhn" / "test_32x32.mat")["X"]
    assert np.array_equal(svhn.numpy(), stored.transpose(3, 2, 0, 1))
    write_splits(root, "pets", {"cat": 5, "dog": 4})
    assert len(load_ood_suite(cifar(root, "pets"))["pets"]) == 4
    assert len(load_outlier_pool(cifar(root, outliers="oe", outlier_pool="pets"))) == 9


def test_a_name_means_the_same_wherever_the_data_lies(root):
    """`textures` of a grey dataset stays embedded when DTD is on disk: results must not change."""
    write_mnist(root / "MNIST" / "raw")
    here = Experiment(dataset="mnist", data_root=str(root), ood=("textures", "photos"))
    crops = embedded_images("texture_crops", 28, 1)
    assert same(load_ood_suite(here)["textures"].images, crops)
    assert len(load_ood_suite(here.but(ood=("dtd",)))["dtd"]) == 7


def test_any_folder_by_name_or_path(root, tmp_path):
    write_folder(root / "street", {"a": 2, "b": 3}, size=(70, 50), mode="L")
    write_folder(tmp_path / "elsewhere", {".": 3}, suffix=".JPG")
    elsewhere = f"folder:{tmp_path / 'elsewhere'}"
    suite = load_ood_suite(cifar(root, "street", elsewhere))
    assert [len(v) for v in suite.values()] == [5, 3]
    digits = Experiment(data_root=str(root), ood=("street",))
    expected = np.asarray(
        noise_picture(0, (70, 50), "L").resize((22, 16), Image.Resampling.BILINEAR)
    )
    grey = load_ood_suite(digits)["street"].images[0, 0].numpy()
    assert np.abs(grey.astype(int) - expected[:, 3:19].astype(int)).max() <= 1


def test_limit_takes_a_subset_that_every_student_shares(root):
    write_folder(root / "street", {".": 40})
    whole = load_ood_suite(cifar(root, "street"))["street"].images
    some = [
        load_ood_suite(cifar(root, "street", "uniform", ood_limit=10, seed=seed))["street"].images
        for seed in (0, 1)
    ]
    assert same(*some)
    # nor does it depend on where the folder lies
    (root / "elsewhere").mkdir()
    (root / "street").rename(root / "elsewhere" / "street")
    moved = cifar(root, f"folder:{root}/elsewhere/street", ood_limit=10)
    (images,) = load_ood_suite(moved).values()
    assert same(images.images, some[0])
    rows = {image.numpy().tobytes() for image in some[0]}
    assert len(rows) == 10
    assert rows <= {image.numpy().tobytes() for image in whole}
    noise = [load_ood_suite(Experiment(ood_limit=n, seed=n))["uniform"] for n in (300, 300, 100)]
    assert same(noise[0].images, noise[1].images)
    assert len(noise[2]) == 100


def test_classes_that_the_inliers_have_are_left_out(root):
    pool = load_outlier_pool(cifar(root, outliers="oe", outlier_pool="imagenette"))
    assert len(pool) == 3  # neither the dogs nor the garbage trucks
    same_pool = cifar(root, outliers="oe", outlier_pool="imagenette_no_dog_truck")
    assert same(load_outlier_pool(same_pool).images, pool.images)
    chosen = cifar(root, outliers="oe", outlier_pool="imagenette:without=n01440764")
    with pytest.raises(ValueError, match="no image"):
        load_outlier_pool(chosen)
    mnist = Experiment(dataset="mnist", data_root=str(root), ood=("uniform",), outliers="oe",
                       outlier_pool="imagenette:without=n01440764")  # fmt: skip
    assert len(load_outlier_pool(mnist)) == 9


def test_tiny_images_are_not_read_into_memory(root):
    images = load_outlier_pool(cifar(root, outliers="oe")).images
    assert not images.is_contiguous()  # a view of the file as it lies
    assert images[7].shape == (3, 32, 32)
    fitted = Experiment(dataset="mnist", data_root=str(root), ood=("uniform",), outliers="oe",
                        outlier_pool="tiny300k")  # fmt: skip
    assert load_outlier_pool(fitted).images.shape == (50, 1, 28, 28)


def test_every_default_suite_and_pool_can_be_named(root):
    write_mnist(root / "FashionMNIST" / "raw")
    for name in DATASETS:
        for outliers in ("none", "oe"):
            check_ood(Experiment(dataset=name, data_root=str(root), outliers=outliers))


def test_pool_leaves_out_pictures_of_inlier_classes(root):
    everything = embedded_images("photo_pool", 8, 3, "imagenette")
    experiment = cifar(root, outliers="oe", outlier_pool="photo_pool", image_size=8)
    pool = load_outlier_pool(experiment).images
    assert not same(pool, everything)
    pictures = {path.split("/")[-1] for _, path in PICTURES["photo_pool"]}
    assert all(set(left_out) <= pictures for left_out in SHOWN.values())


# -- bad input --------------------------------------------------------------------------------


def test_unknown_names_offer_the_nearest(root):
    with pytest.raises(ValueError, match="OOD set 'texturs' is unknown; nearest: textures"):
        check_ood(Experiment(ood=("texturs",)))
    write_folder(root / "street", {".": 2})
    with pytest.raises(ValueError, match="'strete' is unknown; nearest: street"):
        check_ood(cifar(root, "strete"))
    with pytest.raises(ValueError, match="outlier pool 'photopool' is unknown; nearest: photo_poo"):
        check_ood(Experiment(outliers="oe", outlier_pool="photopool"))


def test_missing_sets_are_named_at_once(root, tmp_path):
    with pytest.raises(ValueError, match="OOD set 'svhn': needs data_root"):
        check_ood(Experiment(ood=("svhn",)))
    empty = tmp_path / "empty"
    write_cifar(empty)
    with pytest.raises(ValueError, match=r"OOD sets svhn, isun: not found under .*"
                       r"of this suite there is: gaussian"):  # fmt: skip
        check_ood(cifar(empty, "svhn", "gaussian", "isun"))
    with pytest.raises(ValueError, match=r"'isun': not found .*iSUN.*by hand.*there is: uniform"):
        check_ood(cifar(empty, "uniform", "isun"))
    with pytest.raises(ValueError, match=r"outlier pool 'tiny300k': not found.*300K_random_images"):
        check_ood(cifar(empty, outliers="oe"))
    with pytest.raises(ValueError, match="no such folder"):
        check_ood(cifar(root, f"folder:{tmp_path / 'nowhere'}"))


def test_folder_without_a_readable_image(root):
    for i in range(5):
        write_broken(root / "broken" / f"{i}.jpg")
    for refuse in (check_ood, load_ood_suite):
        with pytest.raises(ValueError, match="'broken': no readable image"):
            refuse(cifar(root, "broken"))
    (root / "bare").mkdir()
    with pytest.raises(ValueError, match=r"'bare': no image|'bare' is unknown"):
        check_ood(cifar(root, "bare"))
    with pytest.raises(ValueError, match="no image"):
        check_ood(cifar(root, f"folder:{root / 'bare'}"))


@pytest.mark.parametrize(
    ("pool", "ood"),
    [
        ("photos", ("photos",)),
        ("imagenette", ("imagenette",)),
        ("textures", ("folder:{root}/dtd/dtd/images",)),
        ("folder:{root}/link", ("textures",)),
        ("folder:{root}/dtd", ("textures",)),
        ("svhn", ("uniform", "svhn")),
    ],
)
def test_pool_in_the_suite_is_refused(root, pool, ood):
    (root / "link").symlink_to(root / "dtd" / "dtd" / "images")
    ood = tuple(name.format(root=root) for name in ood)
    experiment = cifar(root, *ood, outliers="oe", outlier_pool=pool.format(root=root))
    for refuse in (check_ood, load_outlier_pool):
        with pytest.raises(ValueError, match="is also in the OOD suite"):
            refuse(experiment)


def test_inliers_as_outliers_are_refused(root):
    write_splits(root, "pets", {"cat": 3, "dog": 3})
    pets = {"dataset": "pets", "data_root": str(root)}
    for ood in ("pets", f"folder:{root / 'pets' / 'test'}"):
        with pytest.raises(ValueError, match="holds the InD dataset 'pets'"):
            check_ood(Experiment(**pets, ood=(ood,)))
    with pytest.raises(ValueError, match="outlier pool 'cifar10' holds the InD dataset"):
        check_ood(cifar(root, outliers="oe", outlier_pool="cifar10"))


def test_one_set_under_two_names_is_refused(root):
    with pytest.raises(ValueError, match="'textures' and 'dtd' are the same"):
        check_ood(cifar(root, "textures", "dtd"))


def test_pool_of_an_experiment_without_one():
    with pytest.raises(ValueError, match="'poe' draws from no outlier pool"):
        load_outlier_pool(Experiment(outliers="poe"))


def test_classes_to_leave_out_must_be_there(root):
    with pytest.raises(ValueError, match=r"class 'striped' .*expected one of banded, bubbly"):
        check_ood(cifar(root, "textures:without=striped"))
    with pytest.raises(ValueError, match="no classes to leave out"):
        check_ood(cifar(root, "photos:without=china"))
