"""Gradient matching: how far the synthetic set's gradient is from the real one's.

Dataset condensation (Zhao et al. 2021, Eq. 9) asks that, at the parameters θ of a network in
training, the loss on the synthetic set has the same gradient as the loss on real data. Classes
are matched one by one; outliers form one more group per class slot, with the uniform
cross-entropy in place of the labels' (TrustDD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from trustdd.experiment import METRICS

Criterion = Callable[[Tensor], Tensor]

#: images a piece when a real batch's gradient is accumulated: small enough to stay in cache
CHUNK = 32


def gradient_distance(
    synthetic_gradients: Sequence[Tensor],
    real_gradients: Sequence[Tensor],
    metric: str = "layerwise",
) -> Tensor:
    """Distance between two lists of parameter gradients.

    Args:
        synthetic_gradients: one tensor per parameter; differentiable.
        real_gradients: the same shapes.
        metric: ``"layerwise"``, per layer 1 − cosine for every output unit, summed (biases and
            norm vectors count nothing: one cosine needs more than one number a unit);
            ``"mse"``, the squared Euclidean distance of the concatenated gradients (a sum,
            despite its usual name); ``"cosine"``, 1 − cosine of the concatenated gradients.

    Returns:
        A scalar; 0 for equal gradients (up to the 1e-6 that guards the cosine).

    Raises:
        ValueError: unknown metric, or lists that differ in length or shapes.

    Source: Zhao et al. 2021, Sec. 3.3; "layerwise" is that paper's distance.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}; expected one of {', '.join(METRICS)}")
    shapes = [[tuple(g.shape) for g in grads] for grads in (synthetic_gradients, real_gradients)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"gradients of shapes {shapes[0]} and {shapes[1]}; expected equal shapes")
    pairs = list(zip(synthetic_gradients, real_gradients, strict=True))
    if metric == "layerwise":
        terms = [_unit_distance(s, r) for s, r in pairs if s.ndim > 1]
        return torch.stack(terms).sum() if terms else torch.zeros(())
    synthetic = torch.cat([s.flatten() for s, _ in pairs])
    real = torch.cat([r.flatten() for _, r in pairs])
    if metric == "mse":
        return (synthetic - real).square().sum()
    return 1 - (synthetic * real).sum() / (synthetic.norm() * real.norm() + 1e-6)


def _unit_distance(synthetic: Tensor, real: Tensor) -> Tensor:
    """Sum over output units of 1 − cosine; both ``[units, …]``."""
    synthetic, real = synthetic.flatten(1), real.flatten(1)
    cosine = (synthetic * real).sum(1) / (synthetic.norm(dim=1) * real.norm(dim=1) + 1e-6)
    return (1 - cosine).sum()


def matched_parameters(network: nn.Module, metric: str) -> list[nn.Parameter]:
    """The parameters whose gradients the metric looks at (all, or those of rank above one)."""
    parameters = list(network.parameters())
    return [p for p in parameters if p.ndim > 1] if metric == "layerwise" else parameters


def mean_gradient(
    network: nn.Module,
    images: Tensor,
    criterion: Criterion,
    parameters: Sequence[nn.Parameter],
    chunk: int = CHUNK,
) -> list[Tensor]:
    """Gradient of the mean loss over a batch, in pieces that stay in cache.

    Exact for networks that treat images independently (InstanceNorm, GroupNorm): the
    gradients of the pieces' summed losses add up.

    Args:
        network: the network at the parameters to match.
        images: ``[n, c, h, w]``, normalised.
        criterion: logits ``[m, k]`` → their mean loss.
        parameters: with respect to which the gradient is taken.
        chunk: images a piece.

    Returns:
        One detached tensor per parameter.
    """
    total: list[Tensor] | None = None
    for piece in images.split(chunk):
        loss = criterion(network(piece)) * (len(piece) / len(images))
        gradients = torch.autograd.grad(loss, list(parameters))
        if total is None:
            total = list(gradients)
        else:
            torch._foreach_add_(total, gradients)
    if total is None:
        raise ValueError("a batch of 0 images has no gradient; expected at least one")
    return total


def matching_loss(
    network: nn.Module,
    real: Tensor,
    synthetic: Tensor,
    criterion: Criterion,
    metric: str = "layerwise",
) -> Tensor:
    """Gradient distance of one group: a class, or the outliers of one class slot.

    Args:
        network: the network at the parameters to match; they are not changed.
        real: normalised (and augmented) real images, ``[n, c, h, w]``.
        synthetic: the synthetic ones ``[ipc, c, h, w]`` under the same Siamese augmentation.
        criterion: logits → mean loss: cross-entropy to the class, or uniform cross-entropy.
        metric: see `gradient_distance`.

    Returns:
        A scalar, differentiable with respect to `synthetic`.
    """
    parameters = matched_parameters(network, metric)
    target = mean_gradient(network, real, criterion, parameters)
    gradients = torch.autograd.grad(criterion(network(synthetic)), parameters, create_graph=True)
    return gradient_distance(gradients, target, metric)
