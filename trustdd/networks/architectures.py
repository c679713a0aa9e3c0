"""The networks by name: the ConvNet that is distilled with, and others to test what was distilled.

All are `Network`: ``forward`` gives logits, ``embed`` the penultimate features, and
``classifier`` is the last linear layer. They normalise each image and channel by itself
(InstanceNorm) or not at all, never over the batch: a handful of synthetic images gives no usable
batch statistics, and InD and OOD images must not see each other. This is how the field evaluates
distilled sets (Zhao et al. 2021, App. A).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, nn

from trustdd.networks.convnet import ConvNet, Network
from trustdd.networks.evaluation import MLP, VGG11, AlexNet, LeNet, ResNet18
from trustdd.settings.errors import BadInput

#: the names that `build` knows
NETWORKS: dict[str, Callable[..., Network]] = {
    "convnet": ConvNet,
    "mlp": MLP,
    "lenet": LeNet,
    "alexnet": AlexNet,
    "vgg11": VGG11,
    "resnet18": ResNet18,
}


def build(
    name: str,
    channels: int,
    classes: int,
    image_size: int,
    width: int,
    depth: int,
    generator: Generator,
) -> Network:
    """Make a network whose weights are drawn from `generator` and nothing else.

    The distributions are torch's defaults: weights and biases of convolutions and linear layers
    uniform in ±1/√fan_in, norms 1 and 0. They are drawn in torch's order too: but for ResNet-18,
    whose layers torchvision initialises in its own way, the bytes are those of constructing the
    network after ``torch.manual_seed`` with the generator's seed.

    Args:
        name: one of `NETWORKS`.
        channels: of the images.
        classes: number of logits.
        image_size: height = width in pixels.
        width: channels of a ConvNet block; the others have their published width.
        depth: blocks of a ConvNet; likewise.
        generator: source of the weights; they are made on its device.

    Returns:
        The network in training mode. The global random state is neither read nor changed.

    Raises:
        ValueError: an unknown name, or sizes that the network cannot have.
    """
    if name not in NETWORKS:
        raise BadInput(f"network '{name}'; expected one of {', '.join(NETWORKS)}")
    size = {"width": width, "depth": depth} if name == "convnet" else {}
    # constructed without storage, so that torch's own initialisation draws nothing
    with torch.device("meta"):
        network = NETWORKS[name](channels, classes, image_size, **size)
    network.to_empty(device=generator.device)
    for module in network.modules():
        _initialise(module, generator)
    return network


@torch.no_grad()
def _initialise(module: nn.Module, generator: Generator) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
        if module.bias is not None:
            bound = 1 / math.sqrt(module.weight[0].numel())
            module.bias.uniform_(-bound, bound, generator=generator)
    elif isinstance(module, nn.GroupNorm):
        module.weight.fill_(1.0)
        module.bias.fill_(0.0)
    elif next(module.parameters(recurse=False), None) is not None:
        raise TypeError(f"no initialisation for the parameters of {type(module).__name__}")
