"""Gradient matching: the synthetic set's gradient should be that of the real one.

Dataset condensation (Zhao et al. 2021, Eq. 9) asks that, at the parameters θ of a network in
training, the loss on the synthetic set has the same gradient as the loss on real data. Classes
are matched one by one; outliers form one more group per class slot, with the uniform
cross-entropy in place of the labels' (TrustDD).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trustdd.distillation.groups import Groups
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks.capture import Captured
from trustdd.networks.convnet import ConvNet
from trustdd.networks.memory import move
from trustdd.networks.passes import Passes, SoftTargets
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import METRICS, Experiment
from trustdd.settings.randomness import stream
from trustdd.settings.validation import check_choice
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit
from trustdd.students.recipe import inner_recipe
from trustdd.students.training import build_network


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
    check_choice("metric", metric, METRICS)
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


class GroupedMatching:
    """The sum of several groups' gradient distances, at one ConvNet whose parameters may move.

    The synthetic images of all groups go through its written-out passes together
    (`trustdd.networks.passes`); no graph is built. On a GPU the loss and its gradient
    are a CUDA graph from the second call of a kind on (`trustdd.networks.capture`).
    """

    def __init__(self, network: ConvNet, metric: str, precision: str = "float32") -> None:
        """Take the network's parameters where they are; they may change in place.

        Args:
            network: whose gradients are matched.
            metric: see `gradient_distance`.
            precision: of the real images' gradients, ``"float32"`` or ``"bf16"``; those of the
                synthetic images, and the distance, are float32's in either case.

        Raises:
            ValueError: unknown metric or precision.
        """
        check_choice("metric", metric, METRICS)
        self.metric = metric
        self.passes, self.of_real = Passes(network), Passes(network, precision)
        self.parameters = [p.detach() for p in network.parameters()]
        self.captured = Captured(self._loss)

    def __call__(self, real: Sequence[Tensor], synthetic: Tensor, targets: Tensor) -> Tensor:
        """Compare the groups' gradients.

        Args:
            real: normalised (and augmented) real images of each group, ``[n, c, h, w]``.
            synthetic: the groups' synthetic images behind each other, equally many of each,
                ``[groups · ipc, c, h, w]``.
            targets: each group's target distribution, ``[groups, k]``: one-hot for a class, uniform
                for outliers. Their cross-entropy is the loss whose gradients are compared.

        Returns:
            A scalar, the sum of `gradient_distance` over the groups; differentiable once with
            respect to `synthetic`.

        Raises:
            ValueError: images that cannot be split into the groups.
        """
        if len(targets) != len(real) or not len(real) or len(synthetic) % len(real):
            raise BadInput(
                f"{len(real)} groups of real images, {len(targets)} targets and {len(synthetic)} "
                "synthetic images; expected as many targets as groups, and a multiple of images"
            )
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


class GradientMatching:
    """One iteration of DC or DSA: a fresh network; then, over and over, match gradients, train it.

    Source: Algorithm 1 of Zhao et al. (DC) with Siamese augmentation (DSA), and for the outliers
    Ma et al. (TrustDD): the same matching with the uniform cross-entropy, one group per class
    slot, and λ in the training of the network only.
    """

    LEARNS_STUDENT_LR: ClassVar[bool] = False

    def __init__(self, materials: Materials) -> None:
        """See `trustdd.distillation.objective`."""
        self.experiment, self.data = materials.experiment, materials.data
        self.device = materials.device
        self.groups = Groups(materials)
        self.network: nn.Module | None = None
        classes = torch.arange(self.groups.count, device=self.device)
        self.labels = materials.labels
        one_hot = nn.functional.one_hot(classes).float()
        self.targets = {
            "images": one_hot,
            "outliers": one_hot.mean(1, keepdim=True).expand_as(one_hot),
        }

    @staticmethod
    def apart(experiment: Experiment) -> bool:
        """They meet where a network trains on both: between two matching steps, if there are."""
        return experiment.outer_loops == 1

    def step(self, state: State, iteration: int) -> tuple[float, float]:
        """One iteration; returns the mean matching loss of a class, and of an outlier slot."""
        network = self._fresh_network(iteration)
        outer_loops = self.experiment.outer_loops
        totals: dict[str, list[Tensor]] = {"images": [], "outliers": []}
        for outer in range(outer_loops):
            for name in self.groups.names:
                totals[name].append(self._match(state, name, iteration, outer))
            if outer < outer_loops - 1:
                self._train(network, state, iteration, outer)
        means = [float(torch.stack(t).mean()) if t else math.nan for t in totals.values()]
        return means[0], means[1]

    def _fresh_network(self, iteration: int) -> nn.Module:
        """The iteration's network: other weights at the same place, for what was recorded there."""
        fresh = build_network(
            self.experiment, self.data.channels, len(self.data.classes), "network", iteration
        )
        if self.network is None:
            self.network = fresh.to(self.device)
            assert isinstance(self.network, ConvNet)
            experiment = self.experiment
            self.matching = GroupedMatching(self.network, experiment.metric, experiment.precision)
            self.descent = Descent(self.network, inner_recipe(experiment))
        else:
            with torch.no_grad():
                for old, new in zip(self.network.parameters(), fresh.parameters(), strict=True):
                    old.copy_(move(new, self.device))
        return self.network

    def _match(self, state: State, name: str, iteration: int, outer: int) -> Tensor:
        """Match every group's gradients and move the images `name` once."""
        synthetic = getattr(state, name).detach().requires_grad_()
        pairs = self.groups.pairs(synthetic, name, "matching", name, iteration, outer)
        seen, real = zip(*pairs, strict=True)
        total = self.matching(real, torch.cat(seen), self.targets[name])
        (gradient,) = torch.autograd.grad(total, synthetic)
        self.groups.descend(state, name, gradient)
        return total.detach() / len(real)

    def _train(self, network: nn.Module, state: State, iteration: int, outer: int) -> None:
        """Train the network on the synthetic set, outliers beside it, before the next match."""
        experiment = self.experiment
        fit(
            network,
            state.images.detach(),
            self.labels,
            None if state.outliers is None else state.outliers.detach(),
            self.descent.recipe,
            stream(experiment.seed, "inner loop", iteration, outer),
            descent=self.descent,
        )
