"""Matching losses written plainly, group by group and by autograd alone, as oracles."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trustdd.distillation.gradient_matching import gradient_distance

Criterion = Callable[[Tensor], Tensor]


def to_class(label: int) -> Criterion:
    """Logits → their mean cross-entropy to one class."""
    return lambda logits: cross_entropy(logits, torch.full((len(logits),), label))


def matching_loss(
    network: nn.Module, real: Tensor, synthetic: Tensor, criterion: Criterion, metric: str
) -> Tensor:
    """Gradient distance of one group, differentiable with respect to `synthetic`."""
    # biases and norm vectors count nothing layer by layer
    parameters = [p for p in network.parameters() if metric != "layerwise" or p.ndim > 1]
    of_real = torch.autograd.grad(criterion(network(real)), parameters)
    of_group = torch.autograd.grad(criterion(network(synthetic)), parameters, create_graph=True)
    return gradient_distance(of_group, of_real, metric)


def grouped_matching_loss(
    network: nn.Module,
    real: Sequence[Tensor],
    synthetic: Tensor,
    criteria: Sequence[Criterion],
    metric: str,
) -> Tensor:
    """Sum of `matching_loss` over groups that lie one behind the other in `synthetic`."""
    parts = synthetic.split(len(synthetic) // len(real))
    return torch.stack([
        matching_loss(network, own, part, criterion, metric)
        for own, part, criterion in zip(real, parts, criteria, strict=True)
    ]).sum()  # fmt: skip
