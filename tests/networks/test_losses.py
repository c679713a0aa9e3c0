"""The losses against torch's own, and the property that makes outliers uncertain."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from trustdd.networks.losses import training_loss, uniform_cross_entropy


def logits(count: int = 6, classes: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(count, classes, generator=generator, dtype=torch.float64)


def test_it_is_the_cross_entropy_to_uniform_targets() -> None:
    given = logits()
    expected = cross_entropy(given, torch.full_like(given, 1 / 5))
    assert torch.allclose(uniform_cross_entropy(given), expected)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_it_is_smallest_at_uniform_logits_where_it_is_log_k(classes: int) -> None:
    level = torch.full((3, classes), 4.2, dtype=torch.float64, requires_grad=True)
    loss = uniform_cross_entropy(level)
    assert float(loss.detach()) == pytest.approx(math.log(classes), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, level)
    assert float(gradient.abs().max()) < 1e-15
    for seed in range(20):
        elsewhere = level.detach() + 0.1 * logits(3, classes, seed)
        assert float(uniform_cross_entropy(elsewhere)) > math.log(classes)


def test_a_constant_added_to_an_images_logits_changes_nothing_and_large_ones_are_fine() -> None:
    given = logits()
    shift = torch.tensor([0.0, 1, -5, 100, -1000, 1e4], dtype=torch.float64)[:, None]
    assert torch.allclose(uniform_cross_entropy(given + shift), uniform_cross_entropy(given))
    assert torch.isfinite(uniform_cross_entropy(torch.tensor([[1e30, -1e30]])))


def test_training_adds_the_weighted_outliers() -> None:
    known, unknown, labels = logits(), logits(3, seed=1), torch.tensor([0, 1, 2, 3, 4, 0])
    plain = cross_entropy(known, labels)
    assert torch.equal(training_loss(known, labels, None, 0.5), plain)
    assert torch.allclose(
        training_loss(known, labels, unknown, 0.25), plain + 0.25 * uniform_cross_entropy(unknown)
    )


def test_distributions_are_labels_too() -> None:
    known, unknown = logits(), logits(3, seed=1)
    soft = logits(seed=2).softmax(1)
    by_hand = -(soft * known.log_softmax(1)).sum(1).mean()
    assert torch.allclose(training_loss(known, soft, None, 0.5), by_hand)
    # in single precision beside logits in double, as labels are stored
    expected = by_hand + 0.5 * uniform_cross_entropy(unknown)
    assert torch.allclose(training_loss(known, soft.float(), unknown, 0.5), expected)
    sure = torch.nn.functional.one_hot(torch.arange(6) % 5, 5).double()
    hard = training_loss(known, torch.arange(6) % 5, None, 0.5)
    assert torch.allclose(training_loss(known, sure, None, 0.5), hard)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (5,), (2, 3, 4)])
def test_logits_of_another_shape_or_of_nothing_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[n, k\], both at least 1"):
        uniform_cross_entropy(torch.zeros(shape))
