"""Gradient matching, held against the authors' code on one fixed problem."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import reference
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trustdd.distillation.gradient_matching import (
    gradient_distance,
    grouped_matching_loss,
    matching_loss,
)
from trustdd.networks.losses import uniform_cross_entropy

TOLERANCE = 1e-4


def criterion(kind: str, label: int) -> Callable[[Tensor], Tensor]:
    if kind == "oe":
        return uniform_cross_entropy
    return lambda logits: cross_entropy(logits, torch.full((len(logits),), label))


@pytest.mark.parametrize("theirs", ["ours", "mse", "cos"])
@pytest.mark.parametrize("kind", ["ce", "oe"])
def test_distance_and_gradient_of_the_synthetic_images(kind: str, theirs: str) -> None:
    network = reference.network("gm.network")
    parameters = list(network.parameters())
    vectors, numbers = reference.tensors(), reference.numbers()
    synthetic = vectors["gm.synthetic"].clone().requires_grad_()
    distances = []
    for label, (real, group) in enumerate(zip(vectors["gm.real"], synthetic, strict=True)):
        loss = criterion(kind, label)
        of_real = torch.autograd.grad(loss(network(real)), parameters)
        of_group = torch.autograd.grad(loss(network(group)), parameters, create_graph=True)
        distances.append(gradient_distance(of_group, of_real, reference.METRIC_NAMES[theirs]))
    total = torch.stack(distances).sum()
    (gradient,) = torch.autograd.grad(total, synthetic)
    key = f"gm.{kind}.{theirs}"
    assert [float(d.detach()) for d in distances] == pytest.approx(
        numbers[f"{key}.distance_per_class"], rel=TOLERANCE
    )
    assert float(total.detach()) == pytest.approx(numbers[f"{key}.distance"], rel=TOLERANCE)
    assert reference.relative_error(gradient, vectors[f"{key}.synthetic_grad"]) < TOLERANCE


@pytest.mark.parametrize("theirs", ["ours", "mse", "cos"])
@pytest.mark.parametrize("kind", ["ce", "oe"])
def test_the_loss_that_distillation_descends(kind: str, theirs: str) -> None:
    network = reference.network("gm.network")
    vectors, numbers = reference.tensors(), reference.numbers()
    synthetic = vectors["gm.synthetic"].clone().requires_grad_()
    total = torch.zeros(())
    for label, (real, group) in enumerate(zip(vectors["gm.real"], synthetic, strict=True)):
        metric = reference.METRIC_NAMES[theirs]
        total = total + matching_loss(network, real, group, criterion(kind, label), metric)
    (gradient,) = torch.autograd.grad(total, synthetic)
    key = f"gm.{kind}.{theirs}"
    assert float(total.detach()) == pytest.approx(numbers[f"{key}.distance"], rel=TOLERANCE)
    assert reference.relative_error(gradient, vectors[f"{key}.synthetic_grad"]) < TOLERANCE


@pytest.mark.parametrize("theirs", ["ours", "mse", "cos"])
@pytest.mark.parametrize("kind", ["ce", "oe"])
def test_all_groups_at_once(kind: str, theirs: str) -> None:
    network = reference.network("gm.network")
    vectors, numbers = reference.tensors(), reference.numbers()
    synthetic = vectors["gm.synthetic"].clone().requires_grad_()
    groups, classes = len(synthetic), int(numbers["classes"])
    one_hot = torch.eye(classes)[:groups]
    targets = one_hot if kind == "ce" else torch.full((groups, classes), 1 / classes)
    total = grouped_matching_loss(
        network, list(vectors["gm.real"]), synthetic.flatten(0, 1), targets,
        reference.METRIC_NAMES[theirs],
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(total, synthetic)
    key = f"gm.{kind}.{theirs}"
    assert float(total.detach()) == pytest.approx(numbers[f"{key}.distance"], rel=TOLERANCE)
    assert reference.relative_error(gradient, vectors[f"{key}.synthetic_grad"]) < TOLERANCE
