"""What a GPU would be asked to do, on fake tensors: no mixed devices, and no waiting for a value.

PyTorch's fake tensors have a device and a shape and no values; they refuse operations between
devices, and whatever has to read a value (``float``, ``item``, a boolean mask) on the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)

from trustdd.data import augmentation
from trustdd.data.augmentation import OPERATIONS
from trustdd.data.corruptions import CORRUPTIONS
from trustdd.data.outliers import OutlierSource
from trustdd.distillation.gradient_matching import GroupedMatching
from trustdd.distillation.state import State
from trustdd.networks import capture
from trustdd.networks.architectures import NETWORKS
from trustdd.settings.randomness import stream
from trustdd.students.descent import Descent, JointDescent
from trustdd.students.fitting import fit, fit_together
from trustdd.students.recipe import Recipe

SHAPE = (3, 16, 16)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fake GPU; functions are called instead of recorded, and pinned memory is memory."""
    monkeypatch.setattr(capture, "_recorder", lambda inputs: None)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    draw = augmentation.draw

    def drawn(*given: Any) -> augmentation.Draw:
        with unset_fake_temporarily():  # on the host, where draws are made, values may be read
            return draw(*given)

    monkeypatch.setattr(augmentation, "draw", drawn)
    if not torch.cuda.is_available():
        # autograd's engine asks the driver for a stream; what it would call is PyTorch's own
        monkeypatch.setattr(torch.autograd, "grad", empty_gradients)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def empty_gradients(outputs: Tensor, inputs: Any, **_: Any) -> tuple[Tensor, ...]:
    given = [inputs] if isinstance(inputs, Tensor) else inputs
    return tuple(torch.empty_like(tensor) for tensor in given)


def on_gpu(*shape: int, kind: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=kind, device="cuda")


def network(name: str = "convnet") -> torch.nn.Module:
    sizes = {"width": 16, "depth": 2} if name == "convnet" else {}
    with torch.device("cuda"):
        return NETWORKS[name](3, 4, 16, **sizes)


RECIPE = Recipe(
    epochs=2, lr=0.1, batch=4, momentum=0.9, weight_decay=1e-3, outlier_weight=0.5,
    augmentation="color_crop_cutout_flip_scale_rotate", decay=True,
)  # fmt: skip


def test_reading_a_value_would_be_noticed(gpu: None) -> None:
    with pytest.raises(DataDependentOutputException):
        float(on_gpu(1).sum())
    with pytest.raises(RuntimeError, match="device"):
        on_gpu(3) + torch.empty(3)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("metric", ["layerwise", "mse", "cosine"])
def test_matching(metric: str, precision: str, gpu: None) -> None:
    matching = GroupedMatching(network(), metric, precision)  # type: ignore[arg-type]
    synthetic = on_gpu(8, *SHAPE).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    drawn = augmentation.draw("rotate", 1, SHAPE, generator, True)
    seen = augmentation.apply(synthetic, drawn)
    loss = matching([on_gpu(16, *SHAPE) for _ in range(4)], seen, on_gpu(4, 4))
    (gradient,) = torch.autograd.grad(loss, synthetic)
    assert gradient.device.type == "cuda"
    state = State(on_gpu(8, *SHAPE), None)
    state.descend("images", gradient, 0.1, 0.5)
    assert state.images.device.type == "cuda"


@pytest.mark.parametrize("outliers", [True, False])
def test_training(outliers: bool, gpu: None) -> None:
    loss = fit(
        network(), on_gpu(10, *SHAPE, kind=torch.uint8), on_gpu(10, kind=torch.int64),
        (lambda count, generator: on_gpu(count, *SHAPE)) if outliers else None,
        RECIPE, torch.Generator().manual_seed(0), normalise=lambda images: images.float(),
    )  # fmt: skip
    assert loss.device.type == "cuda"


def test_training_several_at_once(gpu: None) -> None:
    networks = [network() for _ in range(3)]
    sets = [on_gpu(6, *SHAPE) for _ in networks]
    labels = [on_gpu(6, kind=torch.int64) for _ in networks]
    fit_together(networks, sets, labels, sets, RECIPE, [stream(i, "together") for i in range(3)])


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_a_step(name: str, gpu: None) -> None:
    descent = Descent(network(name), RECIPE)
    known, loss = descent.step(
        on_gpu(4, *SHAPE), on_gpu(4, kind=torch.int64), on_gpu(2, *SHAPE), 0.1
    )
    assert known.shape == (4, 4) and loss.shape == ()
    joint = JointDescent([network(), network()], RECIPE)
    labels = on_gpu(4, 2, kind=torch.int64)
    known, loss = joint.step(on_gpu(4, 6, 16, 16), labels, on_gpu(2, 6, 16, 16), 0.1)
    assert known.shape == (4, 2, 4) and loss.shape == (2,)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_pseudo_outliers(name: str, gpu: None) -> None:
    made = CORRUPTIONS[name](on_gpu(4, *SHAPE), generator=torch.Generator().manual_seed(0))
    assert made.device.type == "cuda"


@pytest.mark.parametrize("siamese", [True, False])
@pytest.mark.parametrize("operation", list(OPERATIONS))
def test_augmentation(operation: str, siamese: bool, gpu: None) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = augmentation.draw(operation, 4, SHAPE, generator, siamese)
    assert augmentation.apply(on_gpu(4, *SHAPE), drawn).device.type == "cuda"


@pytest.mark.parametrize("corruption", ["speckle", "arithmetic_mean", ""])
def test_outliers_are_drawn_and_made_there(corruption: str, gpu: None) -> None:
    source = OutlierSource(
        on_gpu(12, *SHAPE, kind=torch.uint8),
        (torch.arange(12),),
        (corruption,) if corruption else (),
    )
    batch = source.batch(0, 5, torch.Generator().manual_seed(0))
    assert batch.device.type == "cuda" and batch.shape == (5, *SHAPE)
