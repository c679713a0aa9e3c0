"""What is kept from a first use under inference mode may be used outside it, for gradients too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trustdd.data import corruptions, embedded, inliers, inputs
from trustdd.data.corruptions import CORRUPTIONS
from trustdd.data.embedded import digits, embedded_images
from trustdd.data.inputs import load_inputs
from trustdd.networks import pooling
from trustdd.settings.experiment import Experiment

DIGITS = Experiment(dataset="digits")
WHITENED = Experiment(dataset="digits", method="mtt", zca=True)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is kept between calls is made anew."""
    found = 0
    for module in (corruptions, embedded, inliers, inputs):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
                found += 1
    assert found > 4
    monkeypatch.setattr(pooling, "_MATRICES", {})


def floats() -> Tensor:
    return torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


#: what keeps something → a use of it, of images that gradients may go through
USES: dict[str, Callable[[Tensor], Tensor]] = {
    "normalise": lambda images: load_inputs(DIGITS).normalise(images),
    "pictures": lambda images: load_inputs(DIGITS).pictures(images),
    "whiten": lambda images: load_inputs(WHITENED).normalise(images),
    "unwhiten": lambda images: load_inputs(WHITENED).pictures(images),
    "pool": pooling.average_pool,
    **{name: lambda images, own=own: own(images, generator=torch.Generator().manual_seed(0))
       for name, own in CORRUPTIONS.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
def test_first_used_under_inference_mode_it_works_outside(name: str) -> None:
    use = USES[name]
    with torch.inference_mode():
        inside = use(floats())
    images = floats().requires_grad_()
    outside = use(images)
    assert torch.equal(inside, outside)
    if outside.requires_grad:
        (outside * outside).sum().backward()
        assert bool(torch.isfinite(images.grad).all())


def test_whitening_that_is_read_under_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.inference_mode():
        data = load_inputs(WHITENED)
    images = floats().requires_grad_()
    data.normalise(images).square().sum().backward()
    assert float(images.grad.abs().sum()) > 0


@pytest.mark.parametrize("get", [lambda: digits(16)[0][0], lambda: embedded_images("gaussian", 16, 1)])
def test_kept_images_may_be_changed_in_place_where_they_are_copied(
    get: Callable[[], Tensor],
) -> None:
    with torch.inference_mode():
        assert get().is_inference() is False
    weights = torch.ones(1, requires_grad=True)
    (get()[:2] * weights).sum().backward()
    assert weights.grad is not None
