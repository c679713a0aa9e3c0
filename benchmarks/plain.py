"""What `speed.py` compares the package with: the same method written the plain way.

One class at a time, whole batches, autograd throughout, PyTorch's own pooling, a DataLoader for
every epoch, as public code for dataset distillation is commonly written. Augmentations are handed
in as drawn, so that both sides compute the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Augment = Callable[[Tensor], Tensor]


class PlainConvNet(nn.Module):
    """The ConvNet of dataset distillation, layer by layer as PyTorch offers them."""

    def __init__(self, channels: int, classes: int, size: int, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(channels if block == 0 else width, width, 3, padding=1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
            size //= 2
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * size * size, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images).flatten(1))


def uniform_loss(logits: Tensor) -> Tensor:
    return (logits.logsumexp(1) - logits.mean(1)).mean()


def unit_distance(synthetic: Tensor, real: Tensor) -> Tensor:
    if synthetic.ndim == 1:
        return torch.zeros(())
    synthetic, real = synthetic.flatten(1), real.flatten(1)
    lengths = synthetic.norm(dim=1) * real.norm(dim=1) + 1e-6
    return (1 - (synthetic * real).sum(1) / lengths).sum()


def matching_step(
    network: nn.Module,
    real: Sequence[Tensor],
    synthetic: Tensor,
    labels: Sequence[int] | None,
    augments: Sequence[Augment],
) -> tuple[Tensor, Tensor]:
    """Distance and gradient of one matching step; without labels, of outliers."""
    parameters = list(network.parameters())
    synthetic = synthetic.detach().requires_grad_()
    total = torch.zeros((), device=synthetic.device, dtype=synthetic.dtype)
    for slot, images in enumerate(real):
        seen = augments[slot](images)
        own = augments[slot](synthetic[slot])

        def loss(logits: Tensor, slot: int = slot) -> Tensor:
            if labels is None:
                return uniform_loss(logits)
            target = torch.full((len(logits),), labels[slot], device=logits.device)
            return F.cross_entropy(logits, target)

        of_real = torch.autograd.grad(loss(network(seen)), parameters)
        of_real = [g.detach().clone() for g in of_real]
        of_own = torch.autograd.grad(loss(network(own)), parameters, create_graph=True)
        for mine, theirs in zip(of_own, of_real, strict=True):
            total = total + unit_distance(mine, theirs)
    total.backward()
    assert synthetic.grad is not None
    return total.detach(), synthetic.grad


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    outliers: Tensor | None,
    epochs: int,
    augment: Augment,
    lr: float = 0.01,
    momentum: float = 0.0,
    outlier_weight: float = 0.5,
    batch: int = 256,
) -> None:
    """Epochs of training through a DataLoader, outliers through a second one."""
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=5e-4)
    known = DataLoader(TensorDataset(images, labels), batch, shuffle=True)
    beside = None if outliers is None else DataLoader(TensorDataset(outliers), batch, shuffle=True)
    for _ in range(epochs):
        unknown = iter(beside) if beside is not None else None
        for inputs, targets in known:
            inputs = augment(inputs)
            loss = F.cross_entropy(network(inputs), targets)
            if unknown is not None:
                (extra,) = next(unknown)
                loss = loss + outlier_weight * uniform_loss(network(augment(extra)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def detect(network: nn.Module, images: Tensor) -> Tensor:
    """MSP of images, in batches of 256 through a DataLoader."""
    parts = [
        network(batch).softmax(1).max(1).values
        for (batch,) in DataLoader(TensorDataset(images), 256)
    ]
    return torch.cat(parts)


def trajectory_step(
    network: nn.Module,
    start: Sequence[Tensor],
    target: Sequence[Tensor],
    images: Tensor,
    labels: Tensor,
    rate: Tensor,
    steps: int,
    outliers: Tensor,
    outlier_weight: float = 0.5,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Trajectory matching with every step's graph kept."""
    names = [name for name, _ in network.named_parameters()]
    images, outliers, rate = (t.detach().requires_grad_() for t in (images, outliers, rate))
    current = [p.detach().requires_grad_() for p in start]
    for _ in range(steps):
        values = dict(zip(names, current, strict=True))
        logits = torch.func.functional_call(network, values, (images,))
        loss = F.cross_entropy(logits, labels)
        logits = torch.func.functional_call(network, values, (outliers,))
        loss = loss + outlier_weight * uniform_loss(logits)
        gradients = torch.autograd.grad(loss, current, create_graph=True)
        current = [p - rate * g for p, g in zip(current, gradients, strict=True)]
    far = sum(((p - q) ** 2).sum() for p, q in zip(current, target, strict=True))
    way = sum(((p - q) ** 2).sum() for p, q in zip(start, target, strict=True))
    distance = far / way
    return distance.detach(), torch.autograd.grad(distance, [images, outliers, rate])
