"""What a GPU would be asked to do: one device, no waiting for a value, and the host's results.

The GPU is pretended (`pretended_gpu`), so every step computes, and is held against the same step on
the host, which goes by the compiled passes where there is a compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from pretended_gpu import Mixed, PretendedGPU, Waits
from torch import Tensor

from trustdd.data import augmentation
from trustdd.data.augmentation import OPERATIONS
from trustdd.data.corruptions import CORRUPTIONS
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.gradient_matching import GroupedMatching
from trustdd.distillation.state import State
from trustdd.networks import capture
from trustdd.networks.architectures import build
from trustdd.settings.randomness import stream
from trustdd.students.descent import Descent, JointDescent
from trustdd.students.fitting import fit, fit_together
from trustdd.students.recipe import Recipe

SHAPE = (3, 16, 16)
#: device → what is computed there
Computation = Callable[[str], Sequence[Tensor]]
RECIPE = Recipe(
    epochs=2, lr=0.1, batch=4, momentum=0.9, weight_decay=1e-3, outlier_weight=0.5,
    augmentation="color_crop_cutout_flip_scale_rotate", decay=True,
)  # fmt: skip


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGPU]:
    """A pretended GPU; there is no graph of it to record."""
    monkeypatch.setattr(capture, "_recorder", lambda inputs: None)
    with PretendedGPU() as pretended:
        yield pretended


@pytest.fixture
def same(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Compute on both devices, and compare."""
    monkeypatch.setattr(capture, "_recorder", lambda inputs: None)

    def compare(compute: Computation, **close: float) -> None:
        there = PretendedGPU()
        with there:
            found = compute("cuda")
            assert all(t.device.type == "cuda" for t in found)
        for ours, expected in zip(found, compute("cpu"), strict=True):
            torch.testing.assert_close(ours.detach(), expected.detach(), **close)

    return compare


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(device: str, name: str = "convnet", seed: int = 0) -> Any:
    # 5 channels would be left to PyTorch on either device
    return build(name, 3, 4, 16, 16, 2, torch.Generator().manual_seed(seed)).to(device)


# -- the pretended GPU itself -------------------------------------------------------------------


def test_to_wait_or_to_mix_devices_is_noticed(gpu: PretendedGPU) -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    waiting: list[Callable[[], object]] = [
        lambda: float(there.sum()), lambda: there.tolist(), lambda: there[there > 0],
        lambda: bool((there > 0).all()), lambda: there.cpu(), lambda: there.to("cpu"),
        lambda: torch.nonzero(there), lambda: there.to(here),
    ]  # fmt: skip
    for wait in waiting:
        with pytest.raises(Waits):
            wait()
    mixing: list[Callable[[], object]] = [
        lambda: there + here, lambda: torch.cat([there, here]), lambda: there.add_(here),
        lambda: torch.nn.functional.linear(there[None], here[None]),
        lambda: there[torch.tensor([1])],
        lambda: torch.randn(3, generator=torch.Generator(), device="cuda"),
    ]  # fmt: skip
    for mix in mixing:
        with pytest.raises(Mixed):
            mix()


def test_what_is_there_stays_there(gpu: PretendedGPU) -> None:
    there = torch.ones(4, 4).to("cuda")
    made = [
        there + 1, there @ there, there[0], there.view(-1), there.detach(), torch.zeros_like(there),
        there.new_empty(3), torch.stack([there, there]), there.double(), torch.nn.Parameter(there),
        there + torch.tensor(2.0), *there.unbind(), there.to(torch.float16),
        torch.ones(2).to(there),
    ]  # fmt: skip
    assert all(t.device.type == "cuda" and t.is_cuda and not t.is_cpu for t in made)
    here = [torch.ones(4, 4), torch.ones(2) + 1, torch.arange(3)]
    assert all(t.device.type == "cpu" and t.is_cpu for t in here)


# -- what is asked of it ------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("metric", ["layerwise", "mse", "cosine"])
def test_matching(metric: str, precision: str, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        matching = GroupedMatching(network(device), metric, precision)
        synthetic = drawn(1, 8, *SHAPE).to(device).requires_grad_()
        generator = torch.Generator().manual_seed(0)
        choice = augmentation.draw("rotate", 1, SHAPE, generator, True)
        seen = augmentation.apply(synthetic, choice)
        real = [drawn(2 + i, 16, *SHAPE).to(device) for i in range(4)]
        loss = matching(real, seen, torch.eye(4).to(device))
        (gradient,) = torch.autograd.grad(loss, synthetic)
        state = State(synthetic.detach().clone(), None)
        state.descend("images", gradient, 0.1, 0.5)
        return [loss, gradient, state.images]

    # bfloat16 rounds where an operation ends, and those of the two ways end elsewhere
    close = {"rtol": 1e-3, "atol": 1e-4} if precision == "float32" else {"rtol": 0.1, "atol": 0.1}
    same(compute, **close)


@pytest.mark.parametrize("name", ["convnet", "lenet"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("outliers", ["drawn", "given", "none"])
def test_training(outliers: str, soft: bool, name: str, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        images = (50 * drawn(1, 10, *SHAPE) + 100).clamp(0, 255).to(torch.uint8).to(device)
        labels = torch.arange(10) % 4
        given = (drawn(2, 10, 4).softmax(1) if soft else labels).to(device)
        beside = {
            "drawn": lambda count, generator: torch.randn(
                count, *SHAPE, generator=generator
            ).to(device),
            "given": drawn(3, 6, *SHAPE).to(device),
            "none": None,
        }[outliers]  # fmt: skip
        student = network(device, name)

        def normalise(batch: Tensor) -> Tensor:
            return batch.float() / 255 if batch.dtype == torch.uint8 else batch

        recipe = replace(RECIPE, label_temperature=2.0 if soft else 1.0)
        generator = torch.Generator().manual_seed(0)
        loss = fit(student, images, given, beside, recipe, generator, normalise=normalise)
        return [loss, *student.parameters()]

    same(compute, rtol=2e-3, atol=2e-4)


def test_training_several_at_once(same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        networks = [network(device, seed=i) for i in range(3)]
        sets = [drawn(i, 6, *SHAPE).to(device) for i in range(3)]
        labels = [(torch.arange(6) % 4).to(device) for _ in networks]
        draws = [stream(i, "together") for i in range(3)]
        fit_together(networks, sets, labels, sets, RECIPE, draws)
        return [p for own in networks for p in own.parameters()]

    same(compute, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_a_step(name: str, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        descent = Descent(network(device, name), RECIPE)
        labels, outliers = torch.arange(4).to(device), drawn(2, 2, *SHAPE).to(device)
        return list(descent.step(drawn(1, 4, *SHAPE).to(device), labels, outliers, 0.1))

    same(compute, rtol=1e-4, atol=1e-5)


def test_a_step_of_several(same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        joint = JointDescent([network(device, seed=i) for i in range(2)], RECIPE)
        images, outliers = (drawn(i, 4, 6, 16, 16).to(device) for i in range(2))
        labels = (torch.arange(8) % 4).view(4, 2).to(device)
        known, loss = joint.step(images, labels, outliers, 0.1)
        assert known.shape == (4, 2, 4) and loss.shape == (2,)
        return [known, loss]

    same(compute, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_pseudo_outliers(name: str, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        images = drawn(1, 4, *SHAPE).sigmoid().to(device)
        return [CORRUPTIONS[name](images, generator=torch.Generator().manual_seed(0))]

    same(compute)


@pytest.mark.parametrize("siamese", [True, False])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_augmentation(operation: str, siamese: bool, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        choice = augmentation.draw(operation, 4, SHAPE, generator, siamese)
        return [augmentation.apply(drawn(1, 4, *SHAPE).to(device), choice)]

    same(compute, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("corruption", ["speckle", "arithmetic_mean", ""])
def test_outliers_are_drawn_and_made_there(corruption: str, same: Callable[..., None]) -> None:
    def compute(device: str) -> list[Tensor]:
        images = (255 * drawn(1, 12, *SHAPE).sigmoid()).to(torch.uint8).to(device)
        source = OutlierSource(images, (torch.arange(12),), (corruption,) if corruption else ())
        batch = source.batch(0, 5, torch.Generator().manual_seed(0))
        assert batch.shape == (5, *SHAPE)
        return [batch]

    same(compute)
