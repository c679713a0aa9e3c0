"""Gradient matching: how far the synthetic set's gradient is from the real one's.

Dataset condensation (Zhao et al. 2021, Eq. 9) asks that, at the parameters θ of a network in
training, the loss on the synthetic set has the same gradient as the loss on real data. Classes
are matched one by one; outliers form one more group per class slot, with the uniform
cross-entropy in place of the labels' (TrustDD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trustdd.networks.capture import Captured
from trustdd.networks.convnet import ConvNet
from trustdd.networks.passes import Passes, SoftTargets
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import METRICS

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
        raise BadInput(f"metric {metric!r}; expected one of {', '.join(METRICS)}")
    shapes = [[tuple(g.shape) for g in grads] for grads in (synthetic_gradients, real_gradients)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"gradients of shapes {shapes[0]} and {shapes[1]}; expected equal shapes")
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
        raise BadInput("a batch of 0 images has no gradient; expected at least one")
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


def grouped_matching_loss(
    network: nn.Module,
    real: Sequence[Tensor],
    synthetic: Tensor,
    targets: Tensor,
    metric: str = "layerwise",
    precision: str = "float32",
) -> Tensor:
    """Gradient distance of several groups at once, summed: the sum of their `matching_loss`.

    A `ConvNet` takes the synthetic images of all groups through its written-out passes together
    (`trustdd.networks.passes`); no graph is built. Any other network is matched group by group.

    Args:
        network: the network at the parameters to match; they are not changed.
        real: normalised (and augmented) real images of each group, ``[n, c, h, w]``.
        synthetic: the groups' synthetic images behind each other, equally many of each,
            ``[groups · ipc, c, h, w]``.
        targets: each group's target distribution, ``[groups, k]``: one-hot for a class, uniform
            for outliers. Their cross-entropy is the loss whose gradients are matched.
        metric: see `gradient_distance`.
        precision: of the real images' gradients, ``"float32"`` or ``"bf16"``; those of the
            synthetic images, and the distance, are float32's in either case.

    Returns:
        A scalar, differentiable once with respect to `synthetic`.

    Raises:
        ValueError: an unknown metric or precision, or images that cannot be split into the groups.
    """
    if len(targets) != len(real) or len(synthetic) % len(real):
        raise BadInput(
            f"{len(real)} groups of real images, {len(targets)} targets and {len(synthetic)} "
            "synthetic images; expected as many targets as groups, and a multiple of images"
        )
    if metric not in METRICS:
        raise BadInput(f"metric {metric!r}; expected one of {', '.join(METRICS)}")
    if Passes.supports(network):
        return GroupedMatching(network, metric, precision)(real, synthetic, targets)
    parts = synthetic.split(len(synthetic) // len(real))
    losses = [
        matching_loss(network, own, part, _SoftCrossEntropy(target), metric)
        for own, part, target in zip(real, parts, targets, strict=True)
    ]
    return torch.stack(losses).sum()


class _SoftCrossEntropy:
    """Mean cross-entropy to one distribution ``[k]``."""

    def __init__(self, target: Tensor) -> None:
        self.target = target

    def __call__(self, logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, self.target.expand_as(logits))


class GroupedMatching:
    """`grouped_matching_loss` of one ConvNet, to be called again as its parameters move.

    On a GPU the loss and its gradient are a CUDA graph from the second call of a kind on
    (`trustdd.networks.capture`).
    """

    def __init__(self, network: ConvNet, metric: str, precision: str = "float32") -> None:
        """Take the network's parameters where they are; they may change in place.

        Args:
            network: whose gradients are matched.
            metric: see `gradient_distance`.
            precision: of the real images' gradients.
        """
        self.metric = metric
        self.passes, self.of_real = Passes(network), Passes(network, precision)
        self.parameters = [p.detach() for p in network.parameters()]
        self.captured = Captured(self._loss)

    def __call__(self, real: Sequence[Tensor], synthetic: Tensor, targets: Tensor) -> Tensor:
        """The loss, see `grouped_matching_loss`."""
        return _GroupedLoss.apply(synthetic, real, targets, self)

    def loss_and_gradient(
        self, real: Sequence[Tensor], synthetic: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient with respect to the synthetic images."""
        loss, gradient = self.captured(synthetic.detach(), targets, *real)
        # what was recorded is overwritten by the next call
        return loss.clone(), gradient.clone()

    def _loss(self, synthetic: Tensor, targets: Tensor, *real: Tensor) -> tuple[Tensor, Tensor]:
        passes, parameters = self.passes, self.parameters
        share = len(synthetic) // len(real)
        # as many groups at once as a piece of a batch has room for
        together = max(1, passes.piece(parameters, synthetic) // share)
        totals, by_images = [], []
        for first in range(0, len(real), together):
            chosen = slice(first, first + together)
            images = synthetic[first * share : (first + together) * share]
            total, of_images = _match_groups(
                passes, self.of_real, parameters, real[chosen], images, targets[chosen], self.metric
            )
            totals.append(total)
            by_images.append(of_images)
        return torch.stack(totals).sum(), torch.cat(by_images)


class _GroupedLoss(torch.autograd.Function):
    """The loss with its gradient, made together; ``backward`` only scales it."""

    @staticmethod
    def forward(
        ctx: Any,
        synthetic: Tensor,
        real: Sequence[Tensor],
        targets: Tensor,
        matching: GroupedMatching,
    ) -> Tensor:
        loss, gradient = matching.loss_and_gradient(real, synthetic, targets)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (by_images,) = ctx.saved_tensors
        return (by_images * grad_outputs[0], *[None] * 3)


def _match_groups(
    passes: Passes,
    of_real: Passes,
    parameters: Sequence[Tensor],
    real: Sequence[Tensor],
    synthetic: Tensor,
    targets: Tensor,
    metric: str,
) -> tuple[Tensor, Tensor]:
    """The distance of a few groups, and its gradient with respect to their synthetic images."""
    groups, norms = len(real), metric != "layerwise"
    share = len(synthetic) // groups
    aims = []
    for own, target in zip(real, targets, strict=True):
        each = own.new_full((len(own), 1), 1 / max(len(own), 1))
        loss = SoftTargets(target.expand(len(own), -1), each)
        aims.append(of_real.gradients(parameters, own, loss, norms)[1])
    weights = synthetic.new_full((len(synthetic), 1), 1 / share)
    loss = SoftTargets(targets.repeat_interleave(share, 0), weights)
    gradients, along = passes.of_groups(parameters, synthetic, loss, groups, norms)
    matched = [i for i, g in enumerate(gradients) if g.numel()]
    stacked = [torch.stack([aim[i] for aim in aims]) for i in matched]
    leaves = [gradients[i].detach().requires_grad_() for i in matched]
    with torch.enable_grad():
        total = _grouped_distance(leaves, stacked, metric)
    direction: list[Tensor | None] = [None] * len(gradients)
    for i, part in zip(matched, torch.autograd.grad(total, leaves), strict=True):
        direction[i] = part
    return total.detach(), along(direction)


def _grouped_distance(synthetic: Sequence[Tensor], real: Sequence[Tensor], metric: str) -> Tensor:
    """Sum of `gradient_distance` over the first dimension of all tensors."""
    if metric == "cosine":
        pairs = range(len(synthetic[0]))
        parts = [gradient_distance([s[i] for s in synthetic], [r[i] for r in real], metric)
                 for i in pairs]  # fmt: skip
        return torch.stack(parts).sum()
    # both are sums over units, whichever group these belong to
    folded = [[t.flatten(0, 1) for t in tensors] for tensors in (synthetic, real)]
    return gradient_distance(folded[0], folded[1], metric)
