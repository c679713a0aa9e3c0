"""A ConvNet's written-out passes, held against reverse mode through reverse mode."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trustdd.networks.architectures import build
from trustdd.networks.convnet import ConvNet
from trustdd.networks.losses import training_loss
from trustdd.networks.passes import Passes, SoftTargets


class Problem:
    """A network away from its initial norms, and batches of equal groups, in float64."""

    def __init__(
        self, channels: int, size: int, depth: int, groups: int, each: int, width: int = 5
    ) -> None:
        draw = torch.Generator().manual_seed(size)
        self.network = build("convnet", channels, 4, size, width, depth, draw).double()
        self.parameters = [p.detach() for p in self.network.parameters()]
        for parameter in self.parameters:
            noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.add_(0.1 * noise)
        self.groups, self.each = groups, each
        shape = (groups * each, channels, size, size)
        self.images = torch.randn(shape, generator=draw, dtype=torch.float64)
        self.labels = torch.randint(4, (groups * each,), generator=draw)
        lead = (groups,) if groups > 1 else ()
        self.direction = [
            torch.randn(*lead, *p.shape, generator=draw, dtype=torch.float64)
            for p in self.parameters
        ]
        weights = torch.full((groups * each, 1), 1 / each, dtype=torch.float64)
        self.loss = SoftTargets(nn.functional.one_hot(self.labels, 4).double(), weights)

    def of_group(self, tensors: list[Tensor], group: int) -> list[Tensor]:
        return [t[group] for t in tensors] if self.groups > 1 else tensors

    def by_autograd(self, skipped: set[int]) -> tuple[list[list[Tensor]], Tensor, list[Tensor]]:
        """Gradients of each group; the product's gradients for images and parameters."""
        images = self.images.clone().requires_grad_()
        parameters = list(self.network.parameters())
        product, gradients = torch.zeros((), dtype=torch.float64), []
        for g, part in enumerate(images.split(self.each)):
            labels = self.labels[g * self.each : (g + 1) * self.each]
            loss = cross_entropy(self.network(part), labels)
            own = torch.autograd.grad(loss, parameters, create_graph=True)
            gradients.append([t.detach() for t in own])
            directions = self.of_group(self.direction, g)
            for i, (a, b) in enumerate(zip(own, directions, strict=True)):
                if i not in skipped:
                    product = product + (a * b).sum()
        by_images, *by_parameters = torch.autograd.grad(
            product, [images, *parameters], materialize_grads=True
        )
        return gradients, by_images, by_parameters


SHAPES = [(1, 16, 2), (3, 28, 3), (3, 25, 2), (1, 8, 1)]


@pytest.mark.parametrize("groups, each", [(1, 5), (3, 2)])
@pytest.mark.parametrize("channels, size, depth", SHAPES)
def test_gradients_and_their_products_are_those_of_autograd(
    channels: int, size: int, depth: int, groups: int, each: int
) -> None:
    problem = Problem(channels, size, depth, groups, each)
    passes = Passes(problem.network)
    trace = passes.forward(problem.parameters, problem.images)
    assert torch.allclose(trace.logits, problem.network(problem.images))
    gradients = passes.backward(problem.parameters, trace, problem.loss, groups)
    by_images, by_parameters = passes.along(
        problem.parameters, trace, problem.direction, groups, gradients=groups == 1
    )
    expected, images_expected, parameters_expected = problem.by_autograd(set())
    for g, of_group in enumerate(expected):
        for mine, theirs in zip(problem.of_group(gradients, g), of_group, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(by_images, images_expected, rtol=1e-9, atol=1e-11)
    if groups == 1:
        for mine, theirs in zip(by_parameters, parameters_expected, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("groups, each", [(1, 4), (2, 3)])
def test_vectors_may_be_left_out(groups: int, each: int) -> None:
    problem = Problem(3, 16, 2, groups, each)
    passes = Passes(problem.network)
    trace = passes.forward(problem.parameters, problem.images)
    gradients = passes.backward(problem.parameters, trace, problem.loss, groups, norms=False)
    vectors = {i for i, p in enumerate(problem.parameters) if p.ndim == 1}
    assert {i for i, g in enumerate(gradients) if not g.numel()} == vectors
    direction = [None if i in vectors else d for i, d in enumerate(problem.direction)]
    by_images, nothing = passes.along(problem.parameters, trace, direction, groups)
    assert nothing == []
    _, expected, _ = problem.by_autograd(vectors)
    torch.testing.assert_close(by_images, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("norms", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups, each", [(1, 4), (3, 2)])
def test_groups_and_their_directions(
    groups: int, each: int, dtype: torch.dtype, norms: bool
) -> None:
    """In float32 by the compiled passes, where they are there; in float64 by PyTorch's."""
    problem = Problem(3, 16, 2, groups, each, width=16)
    skipped = set() if norms else {i for i, p in enumerate(problem.parameters) if p.ndim == 1}
    lead = [d if groups > 1 else d[None] for d in problem.direction]
    direction = [None if i in skipped else d.to(dtype) for i, d in enumerate(lead)]
    expected, by_images, _ = problem.by_autograd(skipped)
    loss = SoftTargets(problem.loss.targets.to(dtype), problem.loss.weights.to(dtype))
    gradients, along = Passes(problem.network).of_groups(
        [p.to(dtype) for p in problem.parameters], problem.images.to(dtype), loss, groups, norms
    )
    close = (
        {"rtol": 1e-9, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
    )
    for i, of_parameter in enumerate(gradients):
        if i in skipped:
            assert not of_parameter.numel()
            continue
        theirs = torch.stack([of_group[i] for of_group in expected])
        torch.testing.assert_close(of_parameter.double(), theirs, **close)
    torch.testing.assert_close(along(direction).double(), by_images, **close)


@pytest.mark.parametrize("groups", [0, 4, 7])
def test_images_that_do_not_make_the_groups_are_refused(groups: int) -> None:
    problem = Problem(3, 16, 2, 3, 2)
    with pytest.raises(ValueError, match=f"6 images; expected a positive multiple of {groups} gr"):
        Passes(problem.network).of_groups(problem.parameters, problem.images, problem.loss, groups)


def test_gradients_in_bfloat16_point_the_same_way() -> None:
    problem = Problem(3, 32, 3, 1, 16)
    parameters = [p.float() for p in problem.parameters]
    weights = SoftTargets(problem.loss.targets.float(), problem.loss.weights.float())
    images = problem.images.float()
    exact, low = (
        Passes(problem.network, precision).gradients(parameters, images, weights)[1]
        for precision in ("float32", "bf16")
    )
    for i, (a, b) in enumerate(zip(exact, low, strict=True)):
        assert b.dtype == torch.float32
        if i in (1, 5, 9):  # a convolution's bias
            assert not b.any()
            continue
        assert float(torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)) > 0.995
        assert float((a - b).norm() / a.norm()) > 1e-4  # it is not float32 by another name


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision 'half'; expected one of float32, bf16"):
        Passes(ConvNet(1, 2, 8, width=4, depth=1), "half")


def test_soft_targets_are_the_training_loss() -> None:
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 3, 1, 1])
    loss = SoftTargets.of(labels, 4, outliers=3, outlier_weight=0.5)
    expected = training_loss(logits[:4], labels, logits[4:], 0.5)
    assert float(loss.loss(logits)) == pytest.approx(float(expected), rel=1e-6)
    alone = SoftTargets.of(labels, 4)
    assert float(alone.loss(logits[:4])) == pytest.approx(float(cross_entropy(logits[:4], labels)))


def test_soft_targets_of_distributions_are_the_training_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    labels = torch.randn(4, 4, generator=generator).softmax(1)
    loss = SoftTargets.of(labels, 4, outliers=3, outlier_weight=0.5, dtype=torch.float64)
    torch.testing.assert_close(
        loss.loss(logits), training_loss(logits[:4], labels, logits[4:], 0.5)
    )
    several = torch.stack([labels, labels.flip(0)], 1)
    of_each = SoftTargets.of(several, 4, dtype=torch.float64)
    both = of_each.loss(torch.stack([logits[:4], logits[:4]], 1))
    alone = [SoftTargets.of(own, 4, dtype=torch.float64).loss(logits[:4])
             for own in (labels, labels.flip(0))]  # fmt: skip
    torch.testing.assert_close(both, torch.stack(alone))


def test_only_a_convnet_is_written_out() -> None:
    class Other(ConvNet):
        pass

    assert Passes.supports(ConvNet(1, 4, 8, width=4, depth=1))
    assert not Passes.supports(Other(1, 4, 8, width=4, depth=1))
    assert not Passes.supports(nn.Linear(2, 2))


@pytest.mark.parametrize("kept", [False, True])
def test_freed_memory_is_kept_where_the_c_library_can(kept: bool) -> None:
    """Pages that are given back when a tensor is freed are faults when they are used anew."""
    glibc = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"
    script = f"""
import resource, torch
from trustdd.networks.memory import keep_freed_memory
told = [keep_freed_memory(), keep_freed_memory()] if {kept} else [False]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**18)
begun = faults()
for _ in range(100):
    torch.ones(2**18)
print(*told, faults() - begun)
"""
    # what glibc does by itself depends on what lies where; this has it give back each large block
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    finished = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    *told, faults = finished.stdout.split()
    assert set(told) == {str(glibc and kept)}
    if glibc:
        pages = 100 * 2**20 // resource.getpagesize()
        assert (int(faults) < pages / 4) == kept


def test_a_batch_in_pieces_is_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(3, 16, 2, 1, 7)
    passes = Passes(problem.network)
    whole = passes.products(problem.parameters, problem.images, problem.loss, problem.direction)
    assert passes.piece(problem.parameters, problem.images) >= 7
    # two images of 5 channels, 16 px, in doubles
    monkeypatch.setattr("trustdd.networks.passes.CPU_BYTES", 2 * 5 * 16 * 16 * 8)
    assert passes.piece(problem.parameters, problem.images) == 2
    pieces = passes.products(problem.parameters, problem.images, problem.loss, problem.direction)
    torch.testing.assert_close(pieces, whole, rtol=1e-9, atol=1e-11)
    logits, gradients = passes.gradients(problem.parameters, problem.images, problem.loss)
    torch.testing.assert_close(gradients, whole[0], rtol=1e-9, atol=1e-11)
    assert logits.shape == (7, 4)
