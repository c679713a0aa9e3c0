"""Scores against plain numpy, their signs and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trustdd.settings.experiment import SCORE_NAMES
from trustdd.students.scores import SCORES, energy, max_logit, msp


def logits(count: int = 50, classes: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 4 * torch.randn(count, classes, generator=generator, dtype=torch.float64)


def test_each_is_its_formula() -> None:
    given = logits()
    z = given.numpy()
    softmax = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert np.allclose(msp(given).numpy(), softmax.max(1))
    assert np.allclose(max_logit(given).numpy(), z.max(1))
    for temperature in (0.5, 1.0, 3.0):
        expected = temperature * np.log(np.exp(z / temperature).sum(1))
        assert np.allclose(energy(given, temperature).numpy(), expected)


@pytest.mark.parametrize("name", SCORES)
def test_a_surer_image_scores_higher(name: str) -> None:
    lead = torch.arange(0.0, 10.0)
    given = torch.zeros(10, 5)
    given[:, 2] = lead
    assert bool((SCORES[name](given).diff() > 0).all())


def test_limits() -> None:
    given = logits()
    assert torch.allclose(energy(given, 1e-3), max_logit(given), atol=1e-2)
    assert bool((msp(given) >= 1 / 7).all() and (msp(given) <= 1).all())
    assert torch.allclose(msp(torch.full((2, 4), 9.0)), torch.tensor(0.25))
    # no overflow
    assert torch.equal(energy(torch.tensor([[1000.0, 0.0]])), torch.tensor([1000.0]))
    assert set(SCORES) == {"msp", "maxlogit", "energy"}


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="expected a number > 0"):
        energy(logits(), temperature)


@pytest.mark.parametrize("name", SCORES)
def test_logits_of_another_shape_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\(5,\); expected \[n, k\]"):
        SCORES[name](torch.zeros(5))


def test_settings_know_the_scores_by_name() -> None:
    assert tuple(SCORES) == SCORE_NAMES
