"""Training on sets of images, with and without outliers beside them."""

from __future__ import annotations

import pytest
import torch

from trustdd.distillation import distill
from trustdd.experiment import Experiment
from trustdd.inliers import load_inliers
from trustdd.losses import uniform_cross_entropy
from trustdd.networks import ConvNet, build
from trustdd.outliers import outlier_source
from trustdd.randomness import stream
from trustdd.training import fit, resolve_device, train_on_real, train_student

SMALL = Experiment(
    outliers="oe", ipc=2, selection="random", outlier_selection="random", width=8, depth=1,
    training_epochs=40, device="cpu",
)  # fmt: skip


def plain_settings(**changes: object) -> dict:
    return {
        "epochs": 3, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "batch": 4,
        "outlier_weight": 0.5, "augmentation": None, **changes,
    }  # fmt: skip


def test_fit_is_the_plain_loop_written_out() -> None:
    torch.manual_seed(0)
    images, outliers = torch.randn(10, 1, 8, 8), torch.randn(6, 1, 8, 8)
    labels = torch.arange(10) % 3
    network, oracle = (ConvNet(1, 3, 8, width=4, depth=1) for _ in range(2))
    oracle.load_state_dict(network.state_dict())
    fit(network, images, labels, outliers, generator=stream(0, "a"), decay=True, **plain_settings())
    optimiser = torch.optim.SGD(oracle.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    generator = stream(0, "a")
    for epoch in range(3):
        if epoch == 2:
            optimiser.param_groups[0]["lr"] = 0.005
        order = torch.randperm(10, generator=generator)
        beside = torch.randperm(6, generator=generator)
        for rows, others in zip(order.tensor_split(3), beside.tensor_split(3), strict=True):
            loss = torch.nn.functional.cross_entropy(oracle(images[rows]), labels[rows])
            loss = loss + 0.5 * uniform_cross_entropy(oracle(outliers[others]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for ours, theirs in zip(network.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_training_in_bfloat16_is_near_and_not_the_same(name: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(12, 1, 16, 16), torch.arange(12) % 3
    trained = []
    for precision in ("float32", "bf16"):
        network = build(name, 1, 3, 16, 8, 2, torch.Generator().manual_seed(1))
        settings = plain_settings(precision=precision)
        fit(network, images, labels, None, generator=stream(0, "a"), **settings)
        trained.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    start = build(name, 1, 3, 16, 8, 2, torch.Generator().manual_seed(1))
    begun = torch.cat([p.detach().flatten() for p in start.parameters()])
    way, other = (t - begun for t in trained)
    assert other.dtype == torch.float32 and not torch.equal(way, other)
    assert float(torch.cosine_similarity(way, other, dim=0)) > 0.98


def test_outliers_make_a_student_less_sure_of_them() -> None:
    distilled = distill(SMALL, progress=False)
    student = train_student(distilled, SMALL)
    ordinary = train_student(
        distilled, SMALL.but(outliers="none", selection="random")
    )  # λ is 0 without outliers
    assert not student.training
    with torch.inference_mode():
        confidence = [
            float(n(distilled.outliers).softmax(1).amax(1).mean()) for n in (student, ordinary)
        ]
    assert confidence[0] < confidence[1] - 0.05


def test_the_same_student_twice() -> None:
    distilled = distill(SMALL, progress=False)
    one, two = (train_student(distilled, SMALL) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_learned_student_learning_rate_is_used() -> None:
    from dataclasses import replace

    distilled = distill(SMALL, progress=False)
    still = train_student(replace(distilled, student_lr=1e-12), SMALL.but(training_epochs=2))
    fresh = train_student(replace(distilled, student_lr=1e-12), SMALL.but(training_epochs=1))
    for a, b in zip(still.parameters(), fresh.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_training_on_all_real_data_learns() -> None:
    experiment = Experiment(
        outliers="poe", selection="full", width=8, depth=1, training_epochs=5, training_batch=64,
        training_lr=0.05, device="cpu",
    )  # fmt: skip
    data = load_inliers(experiment)
    student = train_on_real(experiment, data, outlier_source(experiment, data))
    with torch.inference_mode():
        guessed = student(data.normalise(data.test.images)).argmax(1)
    assert float((guessed == data.test.labels).float().mean()) > 0.6


def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert resolve_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="this machine offers cpu only"):
            resolve_device("cuda")
