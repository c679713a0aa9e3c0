"""ZCA against numpy, its inverse, and its limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from trustdd.data.whitening import check_whitening, fit_whitening, load_whitening


def correlated_images(n: int = 300, channels: int = 2, size: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    values = channels * size * size
    mixing = torch.randn(6, values, generator=generator)
    smooth = torch.randn(n, 6, generator=generator) @ mixing * 20 + 128
    return smooth.clamp(0, 255).to(torch.uint8).reshape(n, channels, size, size)


def numpy_zca(images: torch.Tensor, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Whiten by the singular values of the centred data, another road than the eigenvectors'."""
    flat = images.reshape(len(images), -1).numpy().astype(np.float64) / 255
    centred = flat - flat.mean(0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=True)
    eigenvalues = np.zeros(flat.shape[1])
    eigenvalues[: len(singular)] = singular**2 / (len(images) - 1)
    matrix = (rows.T / np.sqrt(eigenvalues + epsilon)) @ rows
    return centred @ matrix, matrix


@pytest.mark.parametrize("epsilon", [0.1, 1e-3])
def test_equals_numpy(epsilon: float) -> None:
    images = correlated_images()
    whitening = fit_whitening(images, epsilon, chunk=77)
    expected, matrix = numpy_zca(images, epsilon)
    np.testing.assert_allclose(whitening.matrix.numpy(), matrix, atol=2e-5 * np.abs(matrix).max())
    got = whitening.apply(images).reshape(len(images), -1).numpy()
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("epsilon", [0.1, 1e-3])
def test_equals_kornia(epsilon: float) -> None:
    """The library that trajectory matching is published with; see ``make_whitening.py`` there."""
    stored = load_file(Path(__file__).parents[1] / "vectors" / "whitening.safetensors")
    fitted, others = stored["images"].chunk(2)
    whitening = fit_whitening(fitted, epsilon)
    whitened = whitening.apply(others)
    for name, got in (
        ("mean", whitening.mean),
        ("matrix", whitening.matrix),
        ("inverse", whitening.inverse),
        ("whitened", whitened),
        ("pictures", whitening.pictures(whitened)),
    ):
        expected = stored[f"{epsilon:g}.{name}"]
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_the_published_ridge_is_the_default() -> None:
    images = correlated_images()
    assert torch.equal(fit_whitening(images).matrix, fit_whitening(images, 0.1).matrix)


def test_chunks_do_not_matter() -> None:
    images = correlated_images()
    whole, parts = fit_whitening(images, chunk=10**6), fit_whitening(images, chunk=7)
    torch.testing.assert_close(whole.matrix, parts.matrix, rtol=1e-5, atol=1e-6)


def test_whitened_directions_carry_one_unit_of_variance() -> None:
    images = correlated_images(4000)
    before = torch.cov((images / 255).reshape(len(images), -1).double().T)
    flat = fit_whitening(images, 1e-6).apply(images).reshape(len(images), -1).double()
    after = torch.linalg.eigvalsh(torch.cov(flat.T))
    busy = int((torch.linalg.eigvalsh(before) > 1e-3).sum())
    assert after.max() == pytest.approx(1.0, abs=1e-2)
    assert busy >= 6
    assert (after > 0.99).sum() >= busy


def test_inverse_gives_the_pictures_back() -> None:
    images = correlated_images()
    whitening = fit_whitening(images)
    pictures = whitening.pictures(whitening.apply(images))
    torch.testing.assert_close(pictures, images / 255, rtol=0, atol=1e-5)


def test_float_and_uint8_images_agree_and_gradients_flow() -> None:
    images = correlated_images()
    whitening = fit_whitening(images)
    floats = (images / 255).requires_grad_()
    assert torch.equal(whitening.apply(floats), whitening.apply(images))
    weights = torch.randn(floats[:3].shape, generator=torch.Generator().manual_seed(0))
    (whitening.apply(floats[:3]) * weights).sum().backward()
    expected = (weights.reshape(3, -1) @ whitening.matrix.T).reshape(weights.shape)
    torch.testing.assert_close(floats.grad[:3], expected)


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    whitening = fit_whitening(correlated_images())
    path = whitening.save(tmp_path / "whitening.safetensors")
    again = load_whitening(path)
    for name in ("mean", "matrix", "inverse"):
        assert torch.equal(getattr(again, name), getattr(whitening, name))
    assert (again.image_shape, again.epsilon) == (whitening.image_shape, whitening.epsilon)
    second = fit_whitening(correlated_images()).save(tmp_path / "again.safetensors")
    assert second.read_bytes() == path.read_bytes()


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"zca on 3x128x128 images.*at most 12288 values"):
        check_whitening((3, 128, 128))
    with pytest.raises(ValueError, match="3x128x128"):
        fit_whitening(torch.zeros(2, 3, 128, 128, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least 2"):
        fit_whitening(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="epsilon"):
        fit_whitening(torch.zeros(3, 1, 4, 4), epsilon=0)
    whitening = fit_whitening(correlated_images())
    with pytest.raises(ValueError, match=r"\(1, 5, 5\).*\(2, 5, 5\)"):
        whitening.apply(torch.zeros(2, 1, 5, 5))
    with pytest.raises(ValueError, match="no such file"):
        load_whitening(tmp_path / "nothing.safetensors")
