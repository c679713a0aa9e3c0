"""The gradient distance and the matching loss, held against properties and plain autograd."""

from __future__ import annotations

import plain_matching
import pytest
import torch
from plain_matching import to_class
from torch import nn

from trustdd.distillation.gradient_matching import GroupedMatching, gradient_distance
from trustdd.networks.convnet import ConvNet

METRICS = ("layerwise", "mse", "cosine")


@pytest.fixture
def network() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet(1, 4, 8, width=4, depth=1).double()


def images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


def one_hot(*labels: int) -> torch.Tensor:
    return nn.functional.one_hot(torch.tensor(labels), 4).double()


@pytest.mark.parametrize("metric", METRICS)
def test_a_set_matched_with_itself_costs_nothing(network: ConvNet, metric: str) -> None:
    matching, same = GroupedMatching(network, metric), images(6, 1)
    assert float(matching([same], same, one_hot(2))) == pytest.approx(0, abs=1e-3)
    assert float(matching([same], images(6, 2), one_hot(2))) > 0.01


def test_layerwise_is_the_sum_over_units_of_one_minus_cosine() -> None:
    one = [torch.randn(3, 2, 2), torch.randn(3)]
    two = [torch.randn(3, 2, 2), torch.randn(3)]
    expected = sum(
        1 - float(nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0))
        for a, b in zip(one[0], two[0], strict=True)
    )
    assert float(gradient_distance(one, two)) == pytest.approx(expected, rel=1e-4)
    # scale does not matter to a cosine, and vectors count nothing
    scaled = [two[0] * 7, two[1] * -3]
    assert float(gradient_distance(one, scaled)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_of_the_images_agrees_with_finite_differences(
    network: ConvNet, metric: str
) -> None:
    matching = GroupedMatching(network, metric)
    real, synthetic, direction = images(5, 4), images(2, 5).requires_grad_(), images(2, 6)
    loss = matching([real], synthetic, one_hot(1))
    (gradient,) = torch.autograd.grad(loss, synthetic)
    step = 1e-6
    high, low = (
        float(matching([real], synthetic.detach() + s * step * direction, one_hot(1)))
        for s in (1, -1)
    )
    expected = (high - low) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("metric", METRICS)
def test_groups_together_are_the_sum_of_groups_alone(metric: str) -> None:
    torch.manual_seed(1)
    network = ConvNet(1, 4, 8, width=4, depth=2).double()
    # more than one piece of a real batch
    real = [images(40, 10), images(33, 11), images(3, 12)]
    synthetic = images(6, 13).requires_grad_()
    total = GroupedMatching(network, metric)(real, synthetic, one_hot(0, 1, 2))
    (gradient,) = torch.autograd.grad(total, synthetic)
    alone = plain_matching.grouped_matching_loss(
        network, real, synthetic, [to_class(label) for label in range(3)], metric
    )
    (expected,) = torch.autograd.grad(alone, synthetic)
    assert float(total.detach()) == pytest.approx(float(alone.detach()), rel=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)


def test_wrong_arguments_are_named(network: ConvNet) -> None:
    with pytest.raises(ValueError, match="'manhattan'; expected one of layerwise, mse, cosine"):
        gradient_distance([torch.zeros(2)], [torch.zeros(2)], "manhattan")
    with pytest.raises(ValueError, match="expected equal shapes"):
        gradient_distance([torch.zeros(2)], [torch.zeros(3)])
    with pytest.raises(ValueError, match="'manhattan'"):
        GroupedMatching(network, "manhattan")
    with pytest.raises(ValueError, match="'fp8'; expected one of float32, bf16"):
        GroupedMatching(network, "mse", "fp8")
    matching = GroupedMatching(network, "mse")
    with pytest.raises(ValueError, match="2 groups of real images, 2 targets and 5 synthetic"):
        matching([images(2, 1)] * 2, images(5, 2), one_hot(0, 1))
    with pytest.raises(ValueError, match="0 groups of real images"):
        matching([], images(2, 2), one_hot(0)[:0])
