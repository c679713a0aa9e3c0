"""Recorded calls: what is replayed is what would have been computed, on static tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import outlier_source
from trustdd.distillation.gradient_matching import GradientMatching, GroupedMatching
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks import capture
from trustdd.networks.architectures import build
from trustdd.networks.capture import Captured, Outputs
from trustdd.settings.experiment import Experiment
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit
from trustdd.students.recipe import Recipe


class Recorder:
    """As a CUDA graph does: recording changes nothing, and replaying writes to the same places."""

    def __init__(self, state: Callable[[], list[Tensor]] = list) -> None:
        """`state` names what a recorded function changes from within."""
        self.state = state
        self.recorded = self.replayed = 0

    def __call__(self, function: Callable[[], Outputs]) -> tuple[Recorder.Graph, Outputs]:
        self.recorded += 1
        before = [t.detach().clone() for t in self.state()]
        # nothing has been computed yet: what comes out is rubbish until the first replay
        outputs = tuple(torch.full_like(t, torch.nan) for t in function())
        with torch.no_grad():
            for tensor, value in zip(self.state(), before, strict=True):
                tensor.copy_(value)
        return self.Graph(self, function, outputs), outputs

    class Graph:
        def __init__(
            self, recorder: Recorder, function: Callable[[], Outputs], outputs: Outputs
        ) -> None:
            self.recorder, self.function, self.outputs = recorder, function, outputs

        def replay(self) -> None:
            self.recorder.replayed += 1
            values = self.function()
            with torch.no_grad():
                for place, value in zip(self.outputs, values, strict=True):
                    place.copy_(value)


def test_the_second_call_of_a_kind_is_recorded_and_later_ones_replayed() -> None:
    calls = []

    def double(x: Tensor, factor: float = 2.0) -> Outputs:
        calls.append(tuple(x.shape))
        return (x * factor,)

    recorder = Recorder()
    captured = Captured(double, recorder)
    for i in range(4):
        assert captured(torch.full((3,), float(i)))[0].tolist() == [2.0 * i] * 3
    assert (recorder.recorded, recorder.replayed) == (1, 3)
    # another shape, another constant: recorded apart
    captured(torch.ones(2))
    captured(torch.ones(3), factor=3.0)
    assert recorder.recorded == 1
    assert captured(torch.ones(3), factor=3.0)[0].tolist() == [3.0] * 3
    assert recorder.recorded == 2


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert capture._recorder([torch.ones(1)]) is None
    captured = Captured(lambda x: (x + 1,))
    first = captured(torch.zeros(1))[0]
    captured(torch.ones(1))
    assert first.tolist() == [1.0]


def test_where_recording_fails_it_says_so_once_and_goes_on() -> None:
    def refuse(function: Callable[[], Outputs]) -> tuple[Recorder.Graph, Outputs]:
        raise RuntimeError("operation not permitted when stream is capturing")

    captured = Captured(lambda x: (x + 1,), refuse)
    captured(torch.zeros(1))
    with pytest.warns(UserWarning, match="not permitted"):
        assert captured(torch.ones(1))[0].tolist() == [2.0]
    assert captured(torch.full((1,), 2.0))[0].tolist() == [3.0]


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_training_by_replay_is_training(name: str) -> None:
    """Batches of two sizes, outliers, momentum, and a learning rate that falls."""
    draw = torch.Generator().manual_seed(0)
    images, outliers = torch.randn(7, 1, 16, 16, generator=draw), torch.randn(4, 1, 16, 16)
    recipe = Recipe(
        epochs=6, lr=0.1, momentum=0.9, weight_decay=1e-3, batch=4, outlier_weight=0.5,
        augmentation="flip_color", decay=True,
    )  # fmt: skip
    found = []
    for replayed in (False, True):
        network = build(name, 1, 3, 16, 16, 2, torch.Generator().manual_seed(1))
        descent = Descent(network, recipe)
        recorder = Recorder(
            lambda d=descent: [*d.parameters, *(b for b in d.buffers if b is not None)]
        )
        if replayed:
            descent.captured.recorder = recorder
        for _ in range(2):  # momentum starts anew
            fit(
                network, images, torch.arange(7) % 3, outliers, recipe,
                torch.Generator().manual_seed(2), descent=descent,
            )  # fmt: skip
        found.append([p.detach().clone() for p in network.parameters()])
    assert recorder.recorded >= 4 and recorder.replayed > 10
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_distilling_by_replay_is_distilling(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = Experiment(
        dataset="digits", method="dsa", outliers="poe", ipc=1, width=16, depth=2, real_batch=8,
        outer_loops=2, inner_loops=2, iterations=3, device="cpu",
    )  # fmt: skip
    data = load_inputs(experiment)
    found = []
    for replayed in (False, True):
        source = outlier_source(experiment, data)
        objective = GradientMatching(Materials(experiment, data, source, torch.device("cpu")))
        draw = torch.Generator().manual_seed(0)
        state = State(*(torch.randn(10, 1, 16, 16, generator=draw) for _ in range(2)))
        recorders: list[Recorder] = []
        for iteration in range(3):
            objective.step(state, iteration)
            if replayed and not recorders:
                recorders = [Recorder(lambda o=objective: o.descent.parameters), Recorder()]
                objective.descent.captured.recorder = recorders[0]
                objective.matching.captured.recorder = recorders[1]
        found.append(state)
    assert all(r.recorded and r.replayed > 1 for r in recorders)
    torch.testing.assert_close(found[0].images, found[1].images, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0].outliers, found[1].outliers, rtol=1e-5, atol=1e-6)


def test_a_loss_is_kept_when_the_next_one_is_replayed() -> None:
    network = build("convnet", 1, 2, 8, 16, 1, torch.Generator().manual_seed(0))
    matching = GroupedMatching(network, "layerwise")
    matching.captured.recorder = Recorder()
    draw = torch.Generator().manual_seed(1)
    losses, gradients = [], []
    for _ in range(4):
        real = [torch.randn(3, 1, 8, 8, generator=draw) for _ in range(2)]
        synthetic = torch.randn(2, 1, 8, 8, generator=draw).requires_grad_()
        loss = matching(real, synthetic, torch.eye(2))
        expected = GroupedMatching(network, "layerwise")(real, synthetic, torch.eye(2))
        losses.append((loss.detach(), float(expected.detach())))
        gradients.append(
            (torch.autograd.grad(loss, synthetic)[0], torch.autograd.grad(expected, synthetic)[0])
        )
    assert [float(a) for a, _ in losses] == pytest.approx([b for _, b in losses])
    for a, b in gradients:
        torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_cuda_graph_is_recorded_and_replayed() -> None:
    weight = torch.ones(4, 4, device="cuda")

    def step(x: Tensor) -> Outputs:
        weight.add_(1)
        return (x @ weight,)

    captured = Captured(step)
    sums = [float(captured(torch.full((2, 4), float(i), device="cuda"))[0].sum()) for i in range(4)]
    assert sums == [32 * i * (i + 2.0) for i in range(4)]
    assert sum(entry is not None for entry in captured.known.values()) == 1
