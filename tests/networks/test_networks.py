"""Networks: the ConvNet's layout and arithmetic, and how weights are drawn."""

from __future__ import annotations

import math

import pytest
import reference
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trustdd import networks
from trustdd.networks.architectures import NETWORKS
from trustdd.networks.convnet import ConvNet
from trustdd.networks.evaluation import VGG11

#: name → parameters for 3x32x32 images and ten classes, of the published layouts
PUBLISHED_SIZES = {
    "mlp": 3072 * 128 + 128 + 128 * 128 + 128 + 1290,
    "lenet": 456 + 2416 + 48120 + 10164 + 850,
    "alexnet": 9728 + 614592 + 442624 + 442560 + 331968 + 30730,
    "vgg11": 9231114,
    "resnet18": 11173962,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, channels: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=generator(seed))


def make(name: str, seed: int = 0, **changes: int) -> networks.Network:
    sizes = {"channels": 3, "classes": 10, "image_size": 32, "width": 8, "depth": 2, **changes}
    return networks.build(name, **sizes, generator=generator(seed))


# -- the ConvNet --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "channels, size, depth, left", [(3, 32, 3, 4), (1, 28, 3, 4), (1, 16, 2, 4), (3, 128, 5, 4)]
)
def test_parameters_come_in_the_agreed_order(
    channels: int, size: int, depth: int, left: int
) -> None:
    network = ConvNet(channels, 7, size, width=5, depth=depth)
    expected: list[tuple[int, ...]] = []
    for block in range(depth):
        expected += [(5, channels if block == 0 else 5, 3, 3), (5,), (5,), (5,)]
    expected += [(7, 5 * left * left), (7,)]
    assert [tuple(p.shape) for p in network.parameters()] == expected
    batch = images(2, channels, size)
    assert network(batch).shape == (2, 7)
    assert torch.equal(network.classifier(network.embed(batch)), network(batch))


def convnet_written_out(parameters: list[Tensor], batch: Tensor, padding: int = 1) -> Tensor:
    """Logits by elementary arithmetic, without any of torch's layers but the convolution."""
    *blocks, weight, bias = parameters
    for block in range(0, len(blocks), 4):
        kernel, shift, scale, offset = blocks[block : block + 4]
        batch = F.conv2d(batch, kernel, shift, padding=padding)
        mean = batch.mean((2, 3), keepdim=True)
        variance = (batch - mean).square().mean((2, 3), keepdim=True)
        batch = (batch - mean) / (variance + 1e-5).sqrt()
        batch = (batch * scale[:, None, None] + offset[:, None, None]).clamp(min=0)
        even, odd = batch[:, :, ::2] / 4, batch[:, :, 1::2] / 4
        batch = even[..., ::2] + even[..., 1::2] + odd[..., ::2] + odd[..., 1::2]
        padding = 1
    return batch.flatten(1) @ weight.T + bias


@pytest.mark.parametrize("channels, size, padding", [(3, 32, 1), (1, 16, 1), (1, 28, 3)])
def test_the_convnet_is_its_formula(channels: int, size: int, padding: int) -> None:
    network = networks.build("convnet", channels, 4, size, 6, 2, generator()).double()
    with torch.no_grad():
        for parameter in network.parameters():  # norms that are not 1 and 0
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=generator(1), dtype=torch.float64
            )
    batch = images(3, channels, size).double()
    expected = convnet_written_out(list(network.parameters()), batch, padding)
    assert torch.allclose(network(batch), expected, atol=1e-10)


def test_the_authors_parameters_fit_by_order() -> None:
    network = reference.network("tm.start")
    batch = reference.tensors()["tm.images"]
    expected = convnet_written_out(reference.parameters("tm.start"), batch)
    assert torch.allclose(network(batch), expected, atol=1e-5)


def test_the_convnet_as_a_function_of_its_parameters() -> None:
    network, other = make("convnet", 0), make("convnet", 1)
    batch = images(3, 3, 32)
    parameters = {name: p.detach().clone().requires_grad_() for name, p in other.named_parameters()}
    logits = torch.func.functional_call(network, parameters, (batch,))
    assert torch.equal(logits, other(batch))
    gradients = torch.autograd.grad(
        logits.square().sum(), list(parameters.values()), create_graph=True
    )
    curvature = torch.autograd.grad(
        sum(g.square().sum() for g in gradients), list(parameters.values())
    )
    assert all(bool(torch.isfinite(c).all()) for c in curvature)


def test_more_blocks_than_the_images_have_halvings() -> None:
    for size, largest in ((8, 3), (16, 4), (28, 5), (32, 5), (30, 4)):
        assert ConvNet(1, 2, size, width=2, depth=largest)(images(1, 1, size)).shape == (1, 2)
        message = f"depth {largest + 1}; expected at most {largest} for images of {size} px"
        with pytest.raises(ValueError, match=message):
            ConvNet(1, 2, size, width=2, depth=largest + 1)


# -- the others ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_the_evaluation_networks_have_their_published_size(name: str) -> None:
    network = make(name, width=1, depth=1)
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED_SIZES[name]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("channels, size", [(1, 16), (1, 28), (3, 32), (3, 50), (3, 64)])
def test_every_network_tells_images_apart_at_every_size(
    name: str, channels: int, size: int
) -> None:
    network = make(name, channels=channels, classes=5, image_size=size).eval()
    batch = images(2, channels, size)
    with torch.inference_mode():
        logits, features = network(batch), network.embed(batch)
        assert torch.allclose(network.classifier(features), logits, atol=1e-6)
    assert logits.shape == (2, 5) and features.ndim == 2
    assert float((features[0] - features[1]).norm() / features[0].norm()) > 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_images_do_not_see_each_other_and_eval_changes_nothing(name: str) -> None:
    network = make(name, image_size=16).train()
    batch = images(3, 3, 16)
    with torch.no_grad():
        together = network(batch)
        apart = torch.cat([network(image[None]) for image in batch])
        assert torch.allclose(together, apart, atol=1e-5)
        assert torch.equal(network.eval()(batch), together)


def test_vgg_at_16_pixels_norms_no_map_of_one_pixel() -> None:
    sides = []
    network = VGG11(1, 2, 16)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_hook(lambda _m, inputs, _o: sides.append(inputs[0].shape[-1]))
    network(images(2, 1, 16))
    assert sides == [16, 8, 4, 4, 2, 2, 2, 2]


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"convnet"}))
def test_images_below_16_pixels_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="image_size 8; expected an integer ≥ 16"):
        make(name, image_size=8)


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = make(name, 3, image_size=16)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    two, other = make(name, 3, image_size=16), make(name, 4, image_size=16)
    pairs = list(zip(one.parameters(), two.parameters(), other.parameters(), strict=True))
    assert all(a.detach().numpy().tobytes() == b.detach().numpy().tobytes() for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)
    assert all(p.requires_grad and p.device.type == "cpu" for p in one.parameters())


@pytest.mark.parametrize("name", ["convnet", "mlp", "lenet", "alexnet", "vgg11"])
def test_the_draws_are_those_of_torchs_own_initialisation(name: str) -> None:
    built = make(name, 11)
    state = torch.get_rng_state()
    torch.manual_seed(11)
    sizes = {"width": 8, "depth": 2} if name == "convnet" else {}
    usual = NETWORKS[name](3, 10, 32, **sizes)
    torch.set_rng_state(state)
    for (key, ours), (other, theirs) in zip(
        built.named_parameters(), usual.named_parameters(), strict=True
    ):
        assert key == other and torch.equal(ours, theirs)


def test_resnet_has_torchs_default_distributions_not_torchvisions() -> None:
    network = make("resnet18")
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            largest = float(module.weight.detach().abs().max())
            assert 0.98 * bound < largest <= bound
            assert float(module.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="network 'vgg16'; expected one of convnet, mlp, lenet"):
        make("vgg16")
    for name in ("channels", "classes", "image_size", "width", "depth"):
        with pytest.raises(ValueError, match=f"{name} 0; expected an integer ≥ 1"):
            make("convnet", **{name: 0})
    with pytest.raises(ValueError, match="classes 0"):
        make("resnet18", classes=0)
