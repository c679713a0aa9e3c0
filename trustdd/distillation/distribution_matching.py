"""Distribution matching: a class's synthetic images should lie where its real ones lie on average.

Zhao and Bilen, *Dataset Condensation with Distribution Matching*, WACV 2023, Algorithm 1: to a
network with random weights f, which is drawn anew in every iteration and never trained, the mean
embeddings of both should be the same, class c by class c, under one augmentation A of both::

    L = E_f Σ_c | mean_j f(A(s_cj)) − mean_i f(A(x_ci)) |².

Outliers are one more group per class slot and are matched alike, to real outliers of their slot. No
label and no training comes into it, so images and outliers are distilled apart. Published for
CIFAR-10 are 20,000 iterations at step size 1 for up to 50 images a class, and at 10 for more.
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor

from trustdd.distillation.groups import Groups
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks.convnet import ConvNet
from trustdd.networks.passes import Passes
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.students.training import build_network


def embedding_distance(synthetic: Tensor, real: Tensor) -> Tensor:
    """Compare the means of two sets of embeddings.

    Args:
        synthetic: ``[n, d]``; differentiable.
        real: ``[m, d]``.

    Returns:
        A scalar ≥ 0, the squared Euclidean distance of the means.

    Raises:
        ValueError: embeddings that are no matrices of one width with at least one row.

    Source: Zhao and Bilen 2023 (DM).
    """
    shapes = [tuple(t.shape) for t in (synthetic, real)]
    if any(len(s) != 2 or not s[0] for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise BadInput(f"embeddings of shapes {shapes[0]} and {shapes[1]}; expected [n, d], [m, d]")
    return (synthetic.mean(0) - real.mean(0)).square().sum()


class DistributionMatching:
    """One iteration of DM: a fresh network, and a step that brings the mean embeddings together.

    Source: Zhao and Bilen 2023, Algorithm 1; the outliers as TrustDD matches them.
    """

    LEARNS_STUDENT_LR: ClassVar[bool] = False

    def __init__(self, materials: Materials) -> None:
        """See `trustdd.distillation.objective`."""
        self.experiment, self.data = materials.experiment, materials.data
        self.device = materials.device
        self.groups = Groups(materials)

    @staticmethod
    def apart(experiment: Experiment) -> bool:
        """They never meet: networks are not trained."""
        return True

    def step(self, state: State, iteration: int) -> tuple[float, float]:
        """One iteration; returns the mean distance of a class, and of an outlier slot."""
        network = build_network(
            self.experiment, self.data.channels, self.groups.count, "network", iteration
        ).to(self.device)
        assert isinstance(network, ConvNet)
        network.requires_grad_(False)
        found = {n: self._match(network, state, n, iteration) for n in self.groups.names}
        return found.get("images", math.nan), found.get("outliers", math.nan)

    def _match(self, network: ConvNet, state: State, name: str, iteration: int) -> float:
        """Match every group's mean embedding and move the images `name` once."""
        synthetic = getattr(state, name).detach().requires_grad_()
        passes, parameters = Passes(network, self.experiment.precision), list(network.parameters())
        pairs = self.groups.pairs(synthetic, name, "matching", name, iteration, 0)
        share = len(synthetic) // self.groups.count
        # as many groups at once as a piece of a batch has room for
        together = max(1, passes.piece(parameters, synthetic) // share)
        gradient, total = torch.zeros_like(synthetic), synthetic.new_zeros(())
        while piece := list(itertools.islice(pairs, together)):
            of_real = [passes.outputs(parameters, real)[1] for _, real in piece]
            embedded = network.embed(torch.cat([seen for seen, _ in piece])).split(share)
            distances = map(embedding_distance, embedded, of_real)
            loss = torch.stack(list(distances)).sum()
            gradient += torch.autograd.grad(loss, synthetic)[0]
            total += loss.detach()
        self.groups.descend(state, name, gradient)
        return float(total) / self.groups.count
