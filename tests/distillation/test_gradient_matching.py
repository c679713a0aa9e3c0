"""The gradient distance and the matching loss, held against properties and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trustdd.distillation.gradient_matching import (
    gradient_distance,
    grouped_matching_loss,
    matched_parameters,
    matching_loss,
    mean_gradient,
)
from trustdd.networks.convnet import ConvNet
from trustdd.networks.losses import uniform_cross_entropy

METRICS = ("layerwise", "mse", "cosine")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return ConvNet(1, 4, 8, width=4, depth=1).double()


def images(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator, dtype=torch.float64)


def to_class(label: int):
    return lambda logits: nn.functional.cross_entropy(logits, torch.full((len(logits),), label))


@pytest.mark.parametrize("metric", METRICS)
def test_a_set_matched_with_itself_costs_nothing(network: nn.Module, metric: str) -> None:
    same = images(6, 1)
    assert float(matching_loss(network, same, same, to_class(2), metric)) == pytest.approx(
        0, abs=1e-3
    )
    other = matching_loss(network, same, images(6, 2), to_class(2), metric)
    assert float(other) > 0.01


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


def test_the_gradient_in_pieces_is_the_gradient_of_the_mean(network: nn.Module) -> None:
    batch = images(7, 3)
    parameters = list(network.parameters())
    whole = torch.autograd.grad(uniform_cross_entropy(network(batch)), parameters)
    pieces = mean_gradient(network, batch, uniform_cross_entropy, parameters, chunk=3)
    for a, b in zip(whole, pieces, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_of_the_images_agrees_with_finite_differences(
    network: nn.Module, metric: str
) -> None:
    real, synthetic = images(5, 4), images(2, 5).requires_grad_()
    loss = matching_loss(network, real, synthetic, to_class(1), metric)
    (gradient,) = torch.autograd.grad(loss, synthetic)
    direction = images(2, 6)
    step = 1e-6
    with torch.no_grad():
        ends = [(synthetic + s * step * direction).detach() for s in (1, -1)]
    high, low = (
        float(matching_loss(network, real, end.requires_grad_(), to_class(1), metric))
        for end in ends
    )
    expected = (high - low) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_layerwise_needs_the_gradients_of_matrices_only(network: nn.Module) -> None:
    assert all(p.ndim > 1 for p in matched_parameters(network, "layerwise"))
    assert len(matched_parameters(network, "mse")) == len(list(network.parameters()))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'manhattan'; expected one of layerwise, mse, cosine"):
        gradient_distance([torch.zeros(2)], [torch.zeros(2)], "manhattan")
    with pytest.raises(ValueError, match="expected equal shapes"):
        gradient_distance([torch.zeros(2)], [torch.zeros(3)])


class OwnNetwork(ConvNet):
    """No `ConvNet` itself, so that its passes are not written out."""


@pytest.mark.parametrize("kind", [ConvNet, OwnNetwork])
@pytest.mark.parametrize("metric", METRICS)
def test_groups_together_are_the_sum_of_groups_alone(metric: str, kind: type[ConvNet]) -> None:
    torch.manual_seed(1)
    network = kind(1, 4, 8, width=4, depth=2).double()
    # more than one piece of a real batch
    real = [images(40, 10), images(33, 11), images(3, 12)]
    synthetic = images(6, 13).requires_grad_()
    targets = torch.eye(4, dtype=torch.float64)[:3]
    total = grouped_matching_loss(network, real, synthetic, targets, metric)
    (gradient,) = torch.autograd.grad(total, synthetic)
    alone = torch.zeros((), dtype=torch.float64)
    for label, (own, group) in enumerate(zip(real, synthetic.split(2), strict=True)):
        alone = alone + matching_loss(network, own, group, to_class(label), metric)
    (expected,) = torch.autograd.grad(alone, synthetic)
    assert float(total.detach()) == pytest.approx(float(alone.detach()), rel=1e-9)
    torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-10)


def test_groups_must_fit_together(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="2 groups of real images, 2 targets and 5 synthetic"):
        grouped_matching_loss(network, [images(2, 1)] * 2, images(5, 2), torch.eye(4)[:2])
    with pytest.raises(ValueError, match="'manhattan'"):
        grouped_matching_loss(
            network, [images(2, 1)], images(2, 2), torch.eye(4).double()[:1], "manhattan"
        )
