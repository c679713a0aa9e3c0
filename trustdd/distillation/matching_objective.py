"""Gradient matching as a step of the outer loop (DC and DSA, with TrustDD's outliers)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from trustdd.data import augmentation
from trustdd.data.inliers import InlierData
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.gradient_matching import GroupedMatching
from trustdd.distillation.state import State
from trustdd.networks.convnet import ConvNet
from trustdd.networks.memory import move
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit
from trustdd.students.training import build_network


class GradientMatching:
    """One iteration: a fresh network; then, over and over, match gradients and train it.

    Source: Algorithm 1 of Zhao et al. (DC) with Siamese augmentation (DSA), and for the outliers
    Ma et al. (TrustDD): the same matching with the uniform cross-entropy, one group per class
    slot, and λ in the training of the network only.
    """

    def __init__(
        self,
        experiment: Experiment,
        data: InlierData,
        source: OutlierSource | None,
        device: torch.device,
    ) -> None:
        """Keep the real images, as uint8, on the device that computes."""
        self.experiment = experiment
        self.data = data
        self.source = source if experiment.outlier_selection == "distilled" else None
        self.device = device
        self.network: nn.Module | None = None
        self.images = data.train.images.to(device)
        labels = data.train.labels
        assert labels is not None
        self.members = [(labels == c).nonzero().flatten() for c in range(len(data.classes))]
        classes = torch.arange(len(data.classes), device=device)
        self.labels = classes.repeat_interleave(experiment.ipc)
        one_hot = nn.functional.one_hot(classes).float()
        self.targets = {
            "images": one_hot,
            "outliers": one_hot.mean(1, keepdim=True).expand_as(one_hot),
        }

    def step(self, state: State, iteration: int) -> tuple[float, float]:
        """One iteration; returns the mean matching loss of a class, and of an outlier slot."""
        experiment = self.experiment
        network = self._fresh_network(iteration)
        outer_loops = experiment.outer_loops
        totals: dict[str, list[Tensor]] = {"images": [], "outliers": []}
        for outer in range(outer_loops):
            if experiment.selection == "distilled":
                totals["images"].append(self._match(state, "images", iteration, outer))
            if state.outliers is not None and self.source is not None:
                totals["outliers"].append(self._match(state, "outliers", iteration, outer))
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
            self.descent = Descent(
                self.network, momentum=0.0, weight_decay=0.0,
                outlier_weight=experiment.outlier_weight, precision=experiment.precision,
            )  # fmt: skip
        else:
            with torch.no_grad():
                for old, new in zip(self.network.parameters(), fresh.parameters(), strict=True):
                    old.copy_(move(new, self.device))
        return self.network

    def _match(self, state: State, name: str, iteration: int, outer: int) -> Tensor:
        """Match every group's gradients and move the images `name` once."""
        experiment = self.experiment
        synthetic = getattr(state, name).detach().requires_grad_()
        seen, real = [], []
        for slot, group in enumerate(synthetic.split(len(synthetic) // len(self.data.classes))):
            generator = stream(experiment.seed, "matching", name, iteration, outer, slot)
            images = self.data.normalise(self._real(name, slot, generator))
            if experiment.augmentation is not None:
                shape = (int(group.shape[1]), int(group.shape[2]), int(group.shape[3]))
                draw = augmentation.draw(experiment.augmentation, 1, shape, generator, True)
                group, images = (augmentation.apply(one, draw) for one in (group, images))
            seen.append(group)
            real.append(images)
        total = self.matching(real, torch.cat(seen), self.targets[name])
        (gradient,) = torch.autograd.grad(total, synthetic)
        lr = experiment.lr_images if name == "images" else experiment.lr_outliers
        state.descend(name, gradient, lr, experiment.momentum_images)
        return total.detach() / len(real)

    def _real(self, name: str, slot: int, generator: torch.Generator) -> Tensor:
        """Real images of a class, or real (pseudo-)outliers of a slot."""
        count = self.experiment.real_batch
        if name == "outliers":
            assert self.source is not None
            return self.source.batch(slot, count, generator)
        members = self.members[slot]
        drawn = members[torch.randperm(len(members), generator=generator)[:count]]
        return self.images[move(drawn, self.device)]

    def _train(self, network: nn.Module, state: State, iteration: int, outer: int) -> None:
        """Train the network on the synthetic set, outliers beside it, before the next match."""
        experiment = self.experiment
        fit(
            network,
            state.images.detach(),
            self.labels,
            None if state.outliers is None else state.outliers.detach(),
            epochs=experiment.inner_loops,
            lr=experiment.lr_network,
            momentum=0.0,
            weight_decay=0.0,
            batch=experiment.network_batch,
            outlier_weight=experiment.outlier_weight,
            augmentation=experiment.augmentation,
            precision=experiment.precision,
            generator=stream(experiment.seed, "inner loop", iteration, outer),
            descent=self.descent,
        )
