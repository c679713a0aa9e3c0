"""What does not fit a network is refused by every pass, compiled or not, in one line."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trustdd.networks.architectures import NETWORKS, build
from trustdd.networks.convnet import ConvNet
from trustdd.networks.native.library import library
from trustdd.networks.passes import Passes, SoftTargets, logits_and_features
from trustdd.settings.errors import BadInput
from trustdd.students.descent import JointDescent
from trustdd.students.recipe import Recipe

needs_compiler = pytest.mark.skipif(library() is None, reason="no C compiler here")


@dataclass(frozen=True)
class Call:
    """What goes into a pass, all of it right until something is changed."""

    passes: Passes
    parameters: Any
    images: Any
    targets: Any
    weights: Any
    direction: Any

    @classmethod
    def right(cls, width: int, dtype: torch.dtype = torch.float32, channels: int = 3) -> Call:
        draw = torch.Generator().manual_seed(0)
        network = build("convnet", channels, 4, 16, width, 2, draw)
        parameters = [p.detach().to(dtype) for p in network.parameters()]
        loss = SoftTargets.of(torch.tensor([0, 1, 2, 3, 0, 1]), 4, dtype=dtype)
        images = torch.randn(6, channels, 16, 16, generator=draw).to(dtype)
        direction = [torch.randn(p.shape, generator=draw).to(dtype) for p in parameters]
        return cls(Passes(network), parameters, images, loss.targets, loss.weights, direction)

    @property
    def loss(self) -> SoftTargets:
        return SoftTargets(self.targets, self.weights)

    @property
    def lead(self) -> Any:
        """The direction, of each of two groups."""
        if not isinstance(self.direction, list):
            return self.direction
        return [
            torch.stack([d, d]) if isinstance(d, Tensor) and d.layout == torch.strided else d
            for d in self.direction
        ]


def trace(call: Call) -> Any:
    return call.passes.forward(call.parameters, call.images)


def backward(call: Call) -> Any:
    return call.passes.backward(call.parameters, right_trace(call), call.loss)


def right_trace(call: Call) -> Any:
    known = Call.right(call.passes.sizes.width, torch.float64 if is_double(call) else torch.float32)
    found = known.passes.forward(known.parameters, known.images)
    known.passes.backward(known.parameters, found, known.loss)
    return found


def is_double(call: Call) -> bool:
    return isinstance(call.images, Tensor) and call.images.dtype == torch.float64


#: pass → what it reads, and the pass
PASSES: dict[str, tuple[tuple[str, ...], Callable[[Call], Any]]] = {
    "outputs": (
        ("parameters", "images"),
        lambda c: c.passes.outputs(c.parameters, c.images),
    ),
    "forward": (("parameters", "images"), trace),
    "backward": (("parameters", "targets", "weights"), backward),
    "along": (
        ("parameters", "direction"),
        lambda c: c.passes.along(c.parameters, right_trace(c), c.direction),
    ),
    "gradients": (
        ("parameters", "images", "targets", "weights"),
        lambda c: c.passes.gradients(c.parameters, c.images, c.loss),
    ),
    "products": (
        ("parameters", "images", "targets", "weights", "direction"),
        lambda c: c.passes.products(c.parameters, c.images, c.loss, c.direction),
    ),
    "of_groups": (
        ("parameters", "images", "targets", "weights", "direction"),
        lambda c: c.passes.of_groups(c.parameters, c.images, c.loss, 2)[1](c.lead),
    ),
}  # fmt: skip

#: width and kind: by the compiled passes, where they are there; by PyTorch's; the same in float64
WAYS = [(16, torch.float32), (24, torch.float32), (16, torch.float64)]


def reshaped(tensor: Tensor, draw: random.Random, what: str = "") -> Tensor:
    """The same numbers, or some of them, in a random other shape."""
    shape = list(tensor.shape)
    kind = draw.choice(["grow", "shrink", "nothing", "less", "more", "turn"])
    place = draw.randrange(len(shape))
    if kind == "less":
        shape.pop(place)
    elif kind == "more":
        shape.insert(place, draw.choice([1, 2]))
    elif kind == "turn" and len(set(shape)) > 1:
        while shape == list(tensor.shape):
            draw.shuffle(shape)
    else:
        size = shape[place]
        options = {"grow": size + draw.randint(1, 24), "shrink": max(size - 1, 0), "nothing": 0}
        shape[place] = options.get(kind, size + 1)
    return torch.randn(shape).to(tensor.dtype)


def of_other_kind(tensor: Tensor, draw: random.Random, what: str) -> Any:
    """The same tensor of another dtype, device, layout or type."""
    others = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
    return draw.choice([
        lambda: tensor.to(draw.choice([d for d in others if d != tensor.dtype])),
        lambda: tensor.to("meta"),
        lambda: tensor.to_sparse(),
        lambda: tensor.to(torch.complex64),
        lambda: tensor.numpy(),
        lambda: tensor.tolist(),
        lambda: "None" if what == "direction" else None,
    ])()  # fmt: skip


def spoilt(call: Call, what: str, draw: random.Random) -> Call:
    """A call of which one tensor is of another shape or kind, or one list of another length."""
    given = getattr(call, what)
    change = draw.choice([reshaped, of_other_kind])
    if what == "images" and change is reshaped:
        # another number of images is nothing wrong
        others = [
            given[:0],
            given[0],
            given[:, :, 1:],
            *(reshaped(given[0], draw)[None] for _ in "ab"),
        ]
        return replace(call, images=draw.choice(others))
    if isinstance(given, Tensor):
        return replace(call, **{what: change(given, draw, what)})
    if draw.random() < 0.2:
        return replace(call, **{what: draw.choice([given[:-1], [*given, given[0]], [], None, 3])})
    place = draw.randrange(len(given))
    return replace(
        call, **{what: [*given[:place], change(given[place], draw, what), *given[place + 1 :]]}
    )


@pytest.mark.parametrize("width, dtype", WAYS)
@pytest.mark.parametrize("name", PASSES)
def test_what_does_not_fit_is_refused_in_one_line(
    name: str, width: int, dtype: torch.dtype
) -> None:
    read, function = PASSES[name]
    call = Call.right(width, dtype)
    compiled = call.passes.compiled(call.parameters, call.images) is not None
    assert compiled == (width == 16 and dtype == torch.float32 and library() is not None)
    function(call)  # what is right is not refused
    draw = random.Random(name)
    for _ in range(40):
        what = draw.choice(read)
        wrong = spoilt(call, what, draw)
        with pytest.raises(BadInput) as refused:
            function(wrong)
        message = str(refused.value)
        assert "expected" in message and "\n" not in message, what


@pytest.mark.parametrize("shape", [(2, 3, 40, 32), (20, 1, 8, 8), (0, 3, 16, 16), (2, 3, 17, 17)])
def test_a_refusal_names_what_was_given_and_what_is_allowed(shape: tuple[int, ...]) -> None:
    call = Call.right(16)
    loss = SoftTargets(torch.ones(shape[0], 4), torch.ones(shape[0], 1))
    given = str(list(shape)).replace("[", r"\[")
    with pytest.raises(
        BadInput, match=rf"images of shape {given}; expected \[n, 3, 16, 16\], n ≥ 1"
    ):
        call.passes.products(call.parameters, torch.ones(shape), loss, call.direction)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(0, 3, 16, 16), (2, 1, 16, 16), (2, 3, 20, 16), (3, 16, 16)])
def test_no_network_tells_images_of_another_shape_apart(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, 3, 4, 16, 16, 2, torch.Generator().manual_seed(0)).eval()
    with pytest.raises(BadInput, match=r"expected \[n, 3, 16, 16\]"):
        logits_and_features(network, torch.ones(shape))
    with pytest.raises(BadInput, match="images of uint8; expected float32"):
        logits_and_features(network, torch.ones(2, 3, 16, 16, dtype=torch.uint8))


def test_several_networks_are_held_to_their_own_sizes() -> None:
    draw = torch.Generator().manual_seed(0)
    networks = [build("convnet", 3, 4, 16, 16, 2, draw) for _ in range(2)]
    assert all(isinstance(network, ConvNet) for network in networks)
    joint = JointDescent(networks, Recipe(epochs=1, lr=0.1, batch=4))
    passes, parameters = Passes(networks[0], networks=2), joint.parameters
    images = torch.randn(5, 6, 16, 16)
    loss = SoftTargets.of(torch.randint(4, (5, 2)), 4)
    passes.gradients(parameters, images, loss)
    for wrong in (images[:, :3], images[:, :, :8], images[:0], images.double()):
        with pytest.raises(BadInput, match="images"):
            passes.gradients(parameters, wrong, loss)
        with pytest.raises(BadInput, match="images"):
            passes.outputs(parameters, wrong)
    with pytest.raises(BadInput, match="targets"):
        passes.gradients(parameters, images, SoftTargets.of(torch.randint(4, (5,)), 4))
    with pytest.raises(BadInput, match=r"parameter 0 of shape \[16, 3, 3, 3\]; expected \[32"):
        passes.gradients(list(networks[0].parameters()), images, loss)
    with pytest.raises(BadInput, match="of 2 networks at once; expected passes of one"):
        passes.products(parameters, images, loss, [None] * len(parameters))
    with pytest.raises(BadInput, match="0 networks at once"):
        Passes(networks[0], networks=0)


def test_there_are_no_derivatives_along_a_direction_in_bfloat16() -> None:
    call = Call.right(16)
    low = replace(call, passes=Passes(build("convnet", 3, 4, 16, 16, 2, torch.Generator()), "bf16"))
    for name in ("products", "of_groups", "along"):
        with pytest.raises(BadInput, match="in bf16; expected passes in float32"):
            PASSES[name][1](low)


def test_the_way_tensors_lie_does_not_matter() -> None:
    """Views, gaps, other orders of channels, and numbers that are only negative by a flag."""
    call = Call.right(16)
    expected = call.passes.products(call.parameters, call.images, call.loss, call.direction)

    def scattered(tensor: Tensor) -> Tensor:
        found = torch.full((*tensor.shape, 3), torch.nan)[..., 1]
        return found.copy_(tensor)

    def flagged(tensor: Tensor) -> Tensor:
        found = torch.complex(torch.zeros_like(tensor), -tensor).conj().imag
        assert found.is_neg() and torch.equal(found, tensor)
        return found

    def required(tensor: Tensor) -> Tensor:
        return tensor.clone().requires_grad_()

    for change in (scattered, flagged, required, nn.Parameter):
        parameters, direction = (
            [change(t) for t in own] for own in (call.parameters, call.direction)
        )
        images = change(call.images)
        loss = SoftTargets(change(call.targets), change(call.weights))
        found = call.passes.products(parameters, images, loss, direction)
        for a, b in zip(flat(found), flat(expected), strict=True):
            assert torch.equal(a, b) and not a.requires_grad


def flat(tensors: Sequence[Any]) -> list[Tensor]:
    return [t for own in tensors for t in (flat(own) if isinstance(own, list | tuple) else [own])]


@pytest.mark.parametrize("width", [16, 24])
def test_pytorchs_defaults_change_nothing(width: int) -> None:
    """Neither the default dtype nor the default device is anybody's dtype or device here."""
    call = Call.right(width)

    def everything() -> list[Tensor]:
        return flat([
            call.passes.outputs(call.parameters, call.images),
            call.passes.gradients(call.parameters, call.images, call.loss),
            call.passes.products(call.parameters, call.images, call.loss, call.direction),
        ])  # fmt: skip

    expected = everything()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        found = everything()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32 and torch.equal(a, b)


@pytest.mark.parametrize("labels, classes, outliers", [
    (torch.tensor([0.0, 1.0]), 2, 0), (torch.tensor([[[0]]]), 2, 0), (torch.tensor([0, 2]), 2, 0),
    (torch.tensor([0, -1]), 2, 0), (torch.full((2, 3), 0.5), 2, 0), (torch.ones(2, 2).bool(), 2, 0),
    (torch.tensor([0]), 0, 0), (torch.tensor([0]), 2, -1),
])  # fmt: skip
def test_labels_that_make_no_targets_are_refused(
    labels: Tensor, classes: int, outliers: int
) -> None:
    with pytest.raises(BadInput, match="expected"):
        SoftTargets.of(labels, classes, outliers)


def test_a_loss_is_one_of_its_own_logits() -> None:
    loss = SoftTargets.of(torch.tensor([0, 1]), 3)
    with pytest.raises(
        BadInput, match=r"logits of shape \(2, 1\); expected the targets', \(2, 3\)"
    ):
        loss.loss(torch.zeros(2, 1))
    for weights in (torch.ones(2), torch.ones(1, 1), torch.ones(2, 3)):
        with pytest.raises(BadInput, match=r"expected \[n, k\] and \[n, 1\]"):
            SoftTargets(loss.targets, weights)


# -- what is not a number -----------------------------------------------------------------------


def unknown(tensors: Sequence[Any]) -> list[bool]:
    """Of each tensor: whether anything in it is not finite."""
    return [not bool(torch.isfinite(t).all()) for t in flat(tensors)]


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("depth, size", [(1, 8), (2, 16), (2, 15), (3, 28)])
def test_what_is_not_a_number_comes_out_as_such(
    depth: int, size: int, value: float, precision: str
) -> None:
    """One value in one place of one tensor: PyTorch's own network says what it spoils."""
    draw = torch.Generator().manual_seed(depth)
    network = build("convnet", 2, 3, size, 16, depth, draw)
    network.requires_grad_(False)
    passes = Passes(network, precision)
    clean = [p.clone() for p in network.parameters()]
    for place in range(-1, len(clean)):
        parameters = [p.clone() for p in clean]
        images = torch.randn(3, 2, size, size, generator=draw)
        spoilt = images[1] if place < 0 else parameters[place]
        spoilt.view(-1)[int(torch.randint(spoilt.numel(), (), generator=draw))] = value
        logits, features = passes.outputs(parameters, images)
        named = dict(zip(dict(network.named_parameters()), parameters, strict=True))
        expected = torch.func.functional_call(network, named, (images,))
        assert unknown(list(logits)) == unknown(list(expected)), place
        if place < 0:
            assert unknown(list(logits)) == [False, True, False]
        assert not features.isnan().any() or logits.isnan().any()
        loss = SoftTargets.of(torch.tensor([0, 1, 2]), 3)
        wanted = [p.clone().requires_grad_() for p in parameters]
        named = dict(zip(dict(network.named_parameters()), wanted, strict=True))
        total = loss.loss(torch.func.functional_call(network, named, (images,)))
        theirs = torch.autograd.grad(total, wanted)
        _, ours = passes.gradients(parameters, images, loss)
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            if i not in range(1, 4 * depth, 4):  # a convolution's bias, whose gradient is always 0
                assert unknown([a]) == unknown([b]), (place, i)


@needs_compiler
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("what", ["images", "parameters", "direction", "targets", "weights"])
def test_derivatives_of_what_is_not_a_number_are_none(what: str, value: float) -> None:
    """As the passes in float64 say, which are PyTorch's."""
    call, double = Call.right(16), Call.right(16, torch.float64)
    for known in (call, double):
        tensor = getattr(known, what)
        tensor = tensor[0] if isinstance(tensor, list) else tensor
        tensor.view(-1)[0] = value
    ours, theirs = (
        known.passes.products(known.parameters, known.images, known.loss, known.direction)
        for known in (call, double)
    )
    assert any(unknown(ours))
    assert unknown(ours) == unknown(theirs)


@needs_compiler
def test_a_student_of_nan_is_not_measured() -> None:
    from trustdd.students.metrics import ood_metrics
    from trustdd.students.scores import SCORES

    call = Call.right(16)
    call.images[3, 0, 0, 0] = torch.nan
    logits, _ = call.passes.outputs(call.parameters, call.images)
    for score in SCORES.values():
        with pytest.raises(BadInput, match="logits hold NaN or infinite values"):
            score(logits)
        with pytest.raises(BadInput, match="NaN"):
            ood_metrics([0.1, 0.2], [torch.nan])
