"""Distribution matching: the plain computation's steps, resumable, one path for all modes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trustdd.data.initial_set import initial_set
from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import outlier_source
from trustdd.distillation import loop
from trustdd.distillation.distribution_matching import DistributionMatching, embedding_distance
from trustdd.distillation.loop import distill
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.networks.native.library import library
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run
from trustdd.students.training import build_network

TINY = Experiment(
    dataset="digits", method="dm", outliers="poe", ipc=2, iterations=4, real_batch=16, width=8,
    depth=2, training_epochs=3, device="cpu",
)  # fmt: skip


def objective_and_state(experiment: Experiment) -> tuple[DistributionMatching, State]:
    data, cpu = load_inputs(experiment), torch.device("cpu")
    source = outlier_source(experiment, data)
    start = initial_set(experiment, data, source)
    outliers = None if start.outliers is None else start.outliers.clone()
    objective = DistributionMatching(Materials(experiment, data, source, cpu))
    return objective, State(start.images.clone(), outliers)


def of_network(experiment: Experiment, iteration: int) -> torch.nn.Module:
    return build_network(experiment, 1, 10, "network", iteration)


def squared_gap(network: torch.nn.Module, synthetic: Tensor, real: Tensor) -> Tensor:
    """The loss of a group, in as few words as it has."""
    means = [torch.flatten(network.features(x), 1).sum(0) / len(x) for x in (synthetic, real)]
    return ((means[0] - means[1]) ** 2).sum()


def relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("width", [8, 16])
def test_two_steps_without_augmentation_are_those_of_plain_autograd(width: int) -> None:
    # every real image of a class, so that nothing depends on which are drawn
    experiment = TINY.but(outliers="none", augmentation=None, real_batch=10**6, width=width)
    objective, state = objective_and_state(experiment)
    data = load_inputs(experiment)
    images, velocity = state.images.clone(), torch.zeros_like(state.images)
    for iteration in range(2):
        loss_in, loss_out = objective.step(state, iteration)
        network, leaf = of_network(experiment, iteration), images.clone().requires_grad_()
        total = torch.zeros(())
        for label, group in enumerate(leaf.split(experiment.ipc)):
            real = data.normalise(data.train.images[data.train.labels == label])
            total = total + squared_gap(network, group, real)
        (gradient,) = torch.autograd.grad(total, leaf)
        velocity = 0.5 * velocity + gradient
        images = images - 1.0 * velocity
        assert loss_in == pytest.approx(float(total.detach()) / 10, rel=1e-4)
        assert loss_out != loss_out, "there are no outliers"
        assert relative_error(state.images, images) < 1e-4
    assert not torch.equal(of_network(experiment, 0).classifier.weight, network.classifier.weight)


@pytest.mark.parametrize("ipc, outlier_ipc", [(2, 2), (1, 3), (40, 1)])
@pytest.mark.parametrize("outliers", ["oe", "poe"])
def test_a_step_under_a_shared_draw_is_that_of_plain_autograd(
    outliers: str, ipc: int, outlier_ipc: int
) -> None:
    experiment = TINY.but(outliers=outliers, ipc=ipc, outlier_ipc=outlier_ipc, width=16)
    objective, state = objective_and_state(experiment)
    before = {"images": state.images.clone(), "outliers": state.outliers.clone()}
    losses = objective.step(state, 3)
    network = of_network(experiment, 3)
    for name, loss in zip(before, losses, strict=True):
        leaf = before[name].requires_grad_()
        pairs = list(objective.groups.pairs(leaf, name, "matching", name, 3, 0))
        assert [len(real) for _, real in pairs] == [16] * 10
        total = torch.stack([squared_gap(network, seen, real) for seen, real in pairs]).sum()
        (gradient,) = torch.autograd.grad(total, leaf)
        assert loss == pytest.approx(float(total.detach()) / 10, rel=1e-4)
        step = leaf.detach() - getattr(state, name)
        assert relative_error(step, gradient) < 1e-3


def test_the_networks_stay_as_they_were_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from trustdd.distillation import distribution_matching

    built: list[torch.nn.Module] = []

    def build(*given: object) -> torch.nn.Module:
        built.append(build_network(*given))  # type: ignore[arg-type]
        return built[-1]

    monkeypatch.setattr(distribution_matching, "build_network", build)
    distill(TINY, progress=False)
    assert len(built) == TINY.iterations
    for iteration, network in enumerate(built):
        drawn = of_network(TINY, iteration)
        for now, then in zip(network.parameters(), drawn.parameters(), strict=True):
            assert torch.equal(now, then)


def test_distilling_brings_the_means_together_under_networks_it_has_not_seen() -> None:
    experiment = TINY.but(outliers="oe", iterations=60, real_batch=64)
    data = load_inputs(experiment)
    start = initial_set(experiment, data, outlier_source(experiment, data))
    found = distill(experiment, progress=False)

    def gap(images: Tensor, outliers: Tensor) -> Tensor:
        objective, _ = objective_and_state(experiment.but(real_batch=400, augmentation=None))
        gaps = torch.zeros(2)
        for index in range(5):
            network = build_network(experiment, 1, 10, "another network", index)
            for i, (name, own) in enumerate((("images", images), ("outliers", outliers))):
                pairs = objective.groups.pairs(own, name, "another batch", index)
                with torch.no_grad():
                    gaps[i] += sum(squared_gap(network, *pair) for pair in pairs)
        return gaps

    before = gap(start.images, start.outliers)
    after = gap(found.images, found.outliers)
    assert after[0] < 0.4 * before[0]
    assert after[1] < 0.6 * before[1]


def test_outlier_modes_are_one_path_and_leave_the_images_alone() -> None:
    sets = {
        mode: distill(TINY.but(outliers=mode), progress=False) for mode in ("none", "oe", "poe")
    }
    assert sets["none"].outliers is None
    for mode in ("oe", "poe"):
        assert torch.equal(sets[mode].images, sets["none"].images)
        start = distill(TINY.but(outliers=mode, iterations=0), progress=False)
        assert not torch.equal(sets[mode].outliers, start.outliers)
        assert not torch.equal(sets[mode].images, start.images)
    assert not torch.equal(sets["oe"].outliers, sets["poe"].outliers)


def test_outliers_alone_or_images_alone_may_be_distilled() -> None:
    both, start = distill(TINY, progress=False), distill(TINY.but(iterations=0), progress=False)
    images_only = distill(TINY.but(outlier_selection="random"), progress=False)
    outliers_only = distill(TINY.but(selection="random"), progress=False)
    assert torch.equal(images_only.images, both.images)
    assert torch.equal(images_only.outliers, start.outliers)
    assert torch.equal(outliers_only.images, start.images)
    assert torch.equal(outliers_only.outliers, both.outliers)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("width", [8, 16])
def test_an_interrupted_run_ends_in_the_same_bytes(
    width: int, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = TINY.but(width=width, precision=precision)
    runs = [Run(tmp_path / name / "runs" / experiment.key, experiment) for name in "ab"]
    distill(experiment, runs[0], progress=False)
    step = DistributionMatching.step

    def interrupted(
        self: DistributionMatching, state: State, iteration: int
    ) -> tuple[float, float]:
        if iteration == 2:
            # dirty the live state: only the checkpoint may count
            state.images.add_(1.0)
            state.momentum["outliers"].add_(1.0)
            raise KeyboardInterrupt
        return step(self, state, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
        patch.setattr(DistributionMatching, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(experiment, runs[1], progress=False)
    assert runs[1].has("checkpoint.safetensors")
    distill(experiment, runs[1], progress=False)
    recorded = [run.manifest()["distill"]["files"] for run in runs]
    assert recorded[0] == recorded[1]


@pytest.mark.parametrize("width", [8, 16])
def test_bfloat16_is_near_float32_and_not_the_same(width: int) -> None:
    experiment = TINY.but(width=width, iterations=8)
    start = distill(experiment.but(iterations=0), progress=False)
    exact = distill(experiment, progress=False)
    low = distill(experiment.but(precision="bf16"), progress=False)
    for name in ("images", "outliers"):
        moved = getattr(exact, name) - getattr(start, name)
        apart = float((getattr(low, name) - getattr(exact, name)).norm() / moved.norm())
        assert 0 < apart < 0.1


@pytest.mark.skipif(library() is None, reason="no C compiler here")
def test_compiled_passes_and_the_others_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = TINY.but(width=16)
    compiled = distill(experiment, progress=False)
    start = distill(experiment.but(iterations=0), progress=False)
    monkeypatch.setenv("TRUSTDD_NATIVE", "0")
    library.cache_clear()
    try:
        eager = distill(experiment, progress=False)
    finally:
        library.cache_clear()
    moved = float((eager.images - start.images).norm())
    assert moved > 0
    assert float((eager.images - compiled.images).norm()) < 0.02 * moved


def test_the_published_settings_are_the_defaults() -> None:
    for ipc in (1, 10, 50):
        experiment = Experiment(dataset="cifar10", method="dm", ipc=ipc)
        assert experiment.iterations == 20_000
        assert (experiment.lr_images, experiment.momentum_images) == (1.0, 0.5)
        assert experiment.real_batch == 256
        assert experiment.augmentation == "color_crop_cutout_flip_scale_rotate"
        assert experiment.training_epochs == 1000
    # loops of network training play no part: they do not make another run
    assert TINY.but(outer_loops=5, inner_loops=3).key == TINY.key
    assert replace(TINY, seed=1).key != TINY.key


def test_the_distance_is_of_the_means() -> None:
    synthetic = torch.tensor([[0.0, 2.0], [2.0, 0.0]], requires_grad=True)
    real = torch.tensor([[1.0, 1.0], [4.0, 1.0], [4.0, 1.0]])
    distance = embedding_distance(synthetic, real)
    assert float(distance.detach()) == pytest.approx(4.0)  # (1, 1) and (3, 1)
    (gradient,) = torch.autograd.grad(distance, synthetic)
    torch.testing.assert_close(gradient, torch.tensor([[-2.0, 0.0], [-2.0, 0.0]]))
    assert float(embedding_distance(real, real)) == 0
    for first, second in (((2, 3), (2, 4)), ((0, 3), (2, 3)), ((2, 3), (0, 3)), ((3,), (2, 3))):
        with pytest.raises(ValueError, match="embeddings of shapes"):
            embedding_distance(torch.zeros(first), torch.zeros(second))


def test_steps_that_are_too_long_stop_it(tmp_path: Path) -> None:
    experiment = TINY.but(lr_images=1e38)
    run = Run(tmp_path / "runs" / experiment.key, experiment)
    with pytest.raises(FloatingPointError, match="try a smaller lr_images"):
        distill(experiment, run, progress=False)
    assert not run.has("distilled.safetensors")
