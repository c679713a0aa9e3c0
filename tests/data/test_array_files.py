"""Files of arrays, read as torchvision reads them; and downloads, which end where we look."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import tarfile
import threading

import numpy as np
import pytest
import torch
from data_files import write_cifar, write_mnist, write_splits, write_svhn

from trustdd.data.inliers import load_inliers
from trustdd.settings.experiment import Experiment


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRUSTDD_CACHE", str(tmp_path / "cache"))


def experiment(root, dataset="pets", **fields) -> Experiment:
    fields.setdefault("ood", ("gaussian",))
    return Experiment(dataset=dataset, data_root=str(root), **fields)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_pickles_match_torchvision(tmp_path, name, monkeypatch):
    import torchvision.datasets as theirs

    write_cifar(tmp_path, name, per_batch=120 if name == "cifar100" else 20)
    kind = theirs.CIFAR10 if name == "cifar10" else theirs.CIFAR100
    monkeypatch.setattr(kind, "train_list", [[f, None] for f, _ in kind.train_list])
    monkeypatch.setattr(kind, "test_list", [[f, None] for f, _ in kind.test_list])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": None})
    data = load_inliers(experiment(tmp_path, name))
    for split, ours in ((True, data.train), (False, data.test)):
        expected = kind(tmp_path, train=split)
        assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), expected.data)
        assert ours.labels.tolist() == expected.targets
        assert list(ours.classes) == expected.classes


def test_svhn_mat_matches_torchvision(tmp_path, monkeypatch):
    from torchvision.datasets import SVHN

    write_svhn(tmp_path / "svhn")
    patched = {k: [v[0], v[1], None] for k, v in SVHN.split_list.items()}
    monkeypatch.setattr(SVHN, "split_list", patched)
    data = load_inliers(experiment(tmp_path, "svhn"))
    for split, ours in (("train", data.train), ("test", data.test)):
        expected = SVHN(tmp_path / "svhn", split)
        assert np.array_equal(ours.images.numpy(), expected.data)
        assert np.array_equal(ours.labels.numpy(), expected.labels)
        assert ours.labels.min() == 0


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_idx_matches_torchvision(tmp_path, zipped):
    from torchvision.datasets import MNIST

    write_mnist(tmp_path / "MNIST" / "raw")
    expected = MNIST(tmp_path, train=True)
    root = tmp_path / "again"
    write_mnist(root / "MNIST" / "raw", zipped=zipped)
    data = load_inliers(experiment(root, "mnist"))
    assert data.image_size == 28
    assert torch.equal(data.train.images[:, 0], expected.data)
    assert torch.equal(data.train.labels, expected.targets)


def test_fashion_mnist_has_garments(tmp_path):
    write_mnist(tmp_path / "FashionMNIST" / "raw")
    assert load_inliers(experiment(tmp_path, "fashionmnist")).classes[5] == "Sandal"


def test_image_folder_comes_before_pickles(tmp_path):
    write_cifar(tmp_path)
    write_splits(tmp_path, "cifar10", {f"c{i}": 2 for i in range(10)})
    assert load_inliers(experiment(tmp_path, "cifar10")).classes[0] == "c0"


def test_pickle_that_would_run_code_is_refused(tmp_path):
    directory = write_cifar(tmp_path)
    victim = tmp_path / "made by the pickle"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(victim),)

    (directory / "data_batch_3").write_bytes(pickle.dumps({"data": Evil()}, protocol=2))
    with pytest.raises(ValueError, match="cannot be read"):
        load_inliers(experiment(tmp_path, "cifar10"))
    assert not victim.exists()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_incomplete_files_of_arrays_are_named(tmp_path, damage):
    raw = write_mnist(tmp_path / "MNIST" / "raw")
    file = raw / "train-images-idx3-ubyte"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte"):
        load_inliers(experiment(tmp_path, "mnist"))


# -- downloads --------------------------------------------------------------------------------


@pytest.fixture()
def mirror(tmp_path, monkeypatch):
    """A folder served over HTTP on this machine; gives the folder and its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_download_goes_through_torchvision_and_is_found(tmp_path, mirror, monkeypatch):
    from torchvision.datasets import MNIST

    from trustdd.data.downloads import download

    folder, address = mirror
    write_mnist(folder, zipped=True)
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", [(name, None) for name, _ in MNIST.resources])
    root = tmp_path / "data"
    assert download("mnist", root) == root
    assert len(load_inliers(experiment(root, "mnist")).train) == 20


def test_download_of_an_archive_ends_where_we_look(tmp_path, mirror, monkeypatch):
    from torchvision.datasets import CIFAR10

    from trustdd.data.downloads import download

    folder, address = mirror
    batches = write_cifar(tmp_path)
    with tarfile.open(folder / "cifar.tar.gz", "w:gz") as archive:
        archive.add(batches, batches.name)
    monkeypatch.setattr(CIFAR10, "url", f"{address}cifar.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", None)
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, name, [[f, None] for f, _ in getattr(CIFAR10, name)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    download("cifar10", tmp_path / "data")
    assert len(load_inliers(experiment(tmp_path / "data", "cifar10")).train) == 100


def test_download_that_fails_or_has_no_source_says_so(tmp_path, mirror, monkeypatch):
    from torchvision.datasets import SVHN

    from trustdd.data.downloads import download

    gone = {k: [f"{mirror[1]}gone.mat", v[1], v[2]] for k, v in SVHN.split_list.items()}
    monkeypatch.setattr(SVHN, "split_list", gone)
    with pytest.raises(ValueError, match=r"'svhn' could not be downloaded.*by hand from http"):
        download("svhn", tmp_path)
    with pytest.raises(ValueError, match=r"'isun'.*by hand"):
        download("isun", tmp_path)
    with pytest.raises(ValueError, match="download 'cifar11'; expected one of cifar10"):
        download("cifar11", tmp_path)
