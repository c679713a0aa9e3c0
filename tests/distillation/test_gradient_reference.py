"""Gradient matching, held against the authors' code on one fixed problem."""

from __future__ import annotations

from collections.abc import Callable

import plain_matching
import pytest
import reference
import torch
from torch import Tensor

from trustdd.distillation.gradient_matching import GroupedMatching, gradient_distance
from trustdd.networks.losses import uniform_cross_entropy

TOLERANCE = 1e-4
#: of the problem's loss, and the reference's names of the distances
CASES = [(kind, theirs) for kind in ("ce", "oe") for theirs in reference.METRIC_NAMES]


def criterion(kind: str, label: int) -> Callable[[Tensor], Tensor]:
    return uniform_cross_entropy if kind == "oe" else plain_matching.to_class(label)


def check(kind: str, theirs: str, total: Tensor, synthetic: Tensor) -> None:
    """Hold a loss and its gradient against the reference's."""
    key = f"gm.{kind}.{theirs}"
    (gradient,) = torch.autograd.grad(total, synthetic)
    expected = reference.tensors()[f"{key}.synthetic_grad"].reshape(gradient.shape)
    distance = reference.numbers()[f"{key}.distance"]
    assert float(total.detach()) == pytest.approx(distance, rel=TOLERANCE)
    assert reference.relative_error(gradient, expected) < TOLERANCE


@pytest.mark.parametrize("kind, theirs", CASES)
def test_distance_and_gradient_of_the_synthetic_images(kind: str, theirs: str) -> None:
    network = reference.network("gm.network")
    parameters = list(network.parameters())
    vectors = reference.tensors()
    synthetic = vectors["gm.synthetic"].clone().requires_grad_()
    distances = []
    for label, (real, group) in enumerate(zip(vectors["gm.real"], synthetic, strict=True)):
        loss = criterion(kind, label)
        of_real = torch.autograd.grad(loss(network(real)), parameters)
        of_group = torch.autograd.grad(loss(network(group)), parameters, create_graph=True)
        distances.append(gradient_distance(of_group, of_real, reference.METRIC_NAMES[theirs]))
    assert [float(d.detach()) for d in distances] == pytest.approx(
        reference.numbers()[f"gm.{kind}.{theirs}.distance_per_class"], rel=TOLERANCE
    )
    check(kind, theirs, torch.stack(distances).sum(), synthetic)


@pytest.mark.parametrize("kind, theirs", CASES)
def test_the_tests_oracle(kind: str, theirs: str) -> None:
    real = list(reference.tensors()["gm.real"])
    synthetic = reference.tensors()["gm.synthetic"].flatten(0, 1).requires_grad_()
    criteria = [criterion(kind, label) for label in range(len(real))]
    total = plain_matching.grouped_matching_loss(
        reference.network("gm.network"), real, synthetic, criteria, reference.METRIC_NAMES[theirs]
    )
    check(kind, theirs, total, synthetic)


@pytest.mark.parametrize("kind, theirs", CASES)
def test_the_loss_that_distillation_descends(kind: str, theirs: str) -> None:
    vectors, classes = reference.tensors(), int(reference.numbers()["classes"])
    synthetic = vectors["gm.synthetic"].flatten(0, 1).requires_grad_()
    groups = len(vectors["gm.real"])
    one_hot = torch.eye(classes)[:groups]
    targets = one_hot if kind == "ce" else torch.full((groups, classes), 1 / classes)
    matching = GroupedMatching(reference.network("gm.network"), reference.METRIC_NAMES[theirs])
    check(kind, theirs, matching(list(vectors["gm.real"]), synthetic, targets), synthetic)
