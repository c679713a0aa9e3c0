"""Embedded OOD sets and the embedded pool: what they hold, and that they stay apart."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from trustdd.data.embedded import EMBEDDED, FLAT, PICTURES, embedded_images, shipped_file
from trustdd.data.inliers import load_inliers
from trustdd.data.ood import load_ood_suite, load_outlier_pool
from trustdd.settings.experiment import Experiment

DIGITS_SUITE = (
    "textures", "photos", "gaussian", "uniform", "printed_text", "transposed_digits",
)  # fmt: skip


def same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


def test_digits_suite_is_embedded_and_the_same_for_every_student():
    first = load_ood_suite(Experiment(seed=0))
    other = load_ood_suite(Experiment(seed=3, outliers="poe", ipc=5))
    assert tuple(first) == DIGITS_SUITE
    for name, images in first.items():
        assert images.images.shape[1:] == (1, 16, 16)
        assert images.images.dtype == torch.uint8
        assert images.labels is None
        assert same(images.images, other[name].images)


def test_order_and_content_do_not_depend_on_the_other_sets():
    some = load_ood_suite(Experiment(ood=("uniform", "textures")))
    assert tuple(some) == ("uniform", "textures")
    assert same(some["textures"].images, load_ood_suite(Experiment())["textures"].images)


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_moments_of_its_definition(channels):
    gaussian = embedded_images("gaussian", 32, channels).double() / 255
    # N(0.5, 1) clipped to [0, 1]: P(X<0) = Φ(−0.5) of the values lie at either end
    assert (gaussian == 0).double().mean().item() == pytest.approx(0.3085, abs=0.005)
    assert (gaussian == 1).double().mean().item() == pytest.approx(0.3085, abs=0.005)
    uniform = embedded_images("uniform", 32, channels).double() / 255
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.002)
    assert uniform.std().item() == pytest.approx(12**-0.5, abs=0.002)
    if channels == 3:
        red, green = uniform[:, 0].flatten(), uniform[:, 1].flatten()
        assert abs(torch.corrcoef(torch.stack([red, green]))[0, 1].item()) < 0.01


def test_transposed_digits_are_test_digits_without_zeros():
    test = load_inliers(Experiment()).test
    images = load_ood_suite(Experiment())["transposed_digits"].images
    assert same(images.transpose(-1, -2), test.images[test.labels != 0])


def test_a_crop_is_a_piece_of_its_picture():
    crops = embedded_images("texture_crops", 64, 1)
    for crop, (package, path) in zip(crops[:3], PICTURES["texture_crops"], strict=True):
        whole = np.asarray(Image.open(shipped_file(package, path)).convert("L"))
        assert crop.min() >= whole.min()
        assert crop.max() <= whole.max()
        # a texture's crop has the grey level of the texture
        assert abs(crop.double().mean().item() - whole.mean()) < 40
    assert crops.double().std((1, 2, 3)).min() >= FLAT


def test_printed_text_is_light_strokes_on_black():
    text = embedded_images("printed_text", 16, 1).double()
    assert (text.amin((1, 2, 3)) < 40).all()
    assert (text.amax((1, 2, 3)) > 150).all()
    # a page is mostly paper, and digits are mostly black
    assert text.mean() < 110
    assert (text.std((1, 2, 3)) > 25).double().mean() > 0.95


def test_crops_are_cut_where_they_say(monkeypatch, tmp_path):
    """A picture whose pixels name their own place: every crop must be affine in it."""
    ramp = np.zeros((256, 256, 3), np.uint8)
    ramp[..., 0] = np.arange(256)[None]
    ramp[..., 1] = np.arange(256)[:, None]
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    monkeypatch.setattr("trustdd.data.embedded.shipped_file", lambda *_: tmp_path / "ramp.png")
    monkeypatch.setattr("trustdd.data.embedded.SET_SIZE", 30)
    crops = embedded_images("photos", 21, 3, "ramp").double()  # a size no other test uses
    across = crops[:, 0].diff(dim=2)[:, :, 1:-1]
    assert (crops[:, 0].diff(dim=1).abs() <= 1).all()
    assert (across >= 0).all()
    assert (across.mean((1, 2)) >= 0.9).all()  # at least one pixel of the picture a pixel
    assert (across.mean((1, 2)) <= 128 / 21 + 0.1).all()  # at most half the picture
    assert across.mean((1, 2)).std() > 0.5  # of many sizes
    assert crops[:, 0].mean((1, 2)).std() > 20  # from many places


def test_pool_shares_no_picture_with_any_set():
    """By content: a picture shipped under two names would be found as well."""

    def prints(name):
        found = set()
        for package, path in PICTURES[name]:
            with Image.open(shipped_file(package, path)) as picture:
                grey = picture.convert("L").resize((8, 8), Image.Resampling.BOX)
            found.add(hashlib.sha256(np.asarray(grey).tobytes()).hexdigest())
        return found

    pool = prints("photo_pool")
    assert len(pool) == len(PICTURES["photo_pool"]) >= 10
    assert not pool & (prints("texture_crops") | prints("photos"))


def test_pool_shares_no_image_with_the_suite():
    experiment = Experiment(outliers="oe")
    pool = load_outlier_pool(experiment)
    assert pool.images.shape == (4000, 1, 16, 16)
    seen = {image.numpy().tobytes() for image in pool.images}
    for images in load_ood_suite(experiment).values():
        assert not seen & {image.numpy().tobytes() for image in images.images}
    assert len(seen) > 3990  # crops repeat next to never


def test_embedded_sets_need_no_network_and_no_data_root(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    from trustdd.data import embedded

    embedded._embedded.cache_clear()
    embedded._digits.cache_clear()
    for name in EMBEDDED:
        assert len(embedded_images(name, 8, 1)) >= 500
    load_inliers(Experiment())
