"""Training on sets of images, with and without outliers beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trustdd.data.inliers import load_inliers
from trustdd.data.outliers import outlier_source
from trustdd.distillation.loop import distill
from trustdd.networks.architectures import build
from trustdd.networks.convnet import ConvNet
from trustdd.networks.losses import uniform_cross_entropy
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream
from trustdd.students.descent import Descent
from trustdd.students.fitting import fit, fit_together
from trustdd.students.recipe import Recipe, expert_recipe, inner_recipe, student_recipe
from trustdd.students.training import (
    _train_together,
    resolve_device,
    train_on_real,
    train_student,
    train_students,
)

SMALL = Experiment(
    outliers="oe", ipc=2, selection="random", outlier_selection="random", width=8, depth=1,
    training_epochs=40, device="cpu",
)  # fmt: skip


PLAIN = Recipe(epochs=3, lr=0.05, momentum=0.9, weight_decay=5e-4, batch=4, outlier_weight=0.5)


def test_fit_is_the_plain_loop_written_out() -> None:
    torch.manual_seed(0)
    images, outliers = torch.randn(10, 1, 8, 8), torch.randn(6, 1, 8, 8)
    labels = torch.arange(10) % 3
    network, oracle = (ConvNet(1, 3, 8, width=4, depth=1) for _ in range(2))
    oracle.load_state_dict(network.state_dict())
    fit(network, images, labels, outliers, replace(PLAIN, decay=True), stream(0, "a"))
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


def test_fit_on_distributions_is_the_plain_loop_written_out() -> None:
    torch.manual_seed(0)
    images, outliers = torch.randn(10, 1, 8, 8), torch.randn(6, 1, 8, 8)
    labels = torch.randn(10, 3).softmax(1)
    network, oracle = (ConvNet(1, 3, 8, width=4, depth=1) for _ in range(2))
    oracle.load_state_dict(network.state_dict())
    fit(network, images, labels, outliers, PLAIN, stream(0, "a"))
    optimiser = torch.optim.SGD(oracle.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    generator = stream(0, "a")
    for _ in range(3):
        order = torch.randperm(10, generator=generator)
        beside = torch.randperm(6, generator=generator)
        for rows, others in zip(order.tensor_split(3), beside.tensor_split(3), strict=True):
            loss = -(labels[rows] * oracle(images[rows]).log_softmax(1)).sum(1).mean()
            loss = loss + 0.5 * uniform_cross_entropy(oracle(outliers[others]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    for ours, theirs in zip(network.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("with_outliers", [True, False])
@pytest.mark.parametrize("name, width", [("convnet", 4), ("convnet", 16), ("lenet", 4)])
def test_a_temperature_softens_labels_and_logits(
    name: str, width: int, with_outliers: bool
) -> None:
    """By PyTorch's passes, the compiled ones where they are there, and autograd's."""
    torch.manual_seed(0)
    images, labels = torch.randn(6, 1, 16, 16), torch.randn(6, 3).softmax(1)
    outliers = torch.randn(4, 1, 16, 16) if with_outliers else None
    network = build(name, 1, 3, 16, width, 2, torch.Generator().manual_seed(1))
    oracle = build(name, 1, 3, 16, width, 2, torch.Generator().manual_seed(1))
    warm = replace(PLAIN, epochs=2, batch=6, label_temperature=4.0)
    fit(network, images, labels, outliers, warm, stream(0, "a"))
    teacher = labels.log()  # logits that the labels are the softmax of
    optimiser = torch.optim.SGD(oracle.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(2):
        of = (teacher / 4).softmax(1)
        loss = 16 * -(of * (oracle(images) / 4).log_softmax(1)).sum(1).mean()
        if outliers is not None:
            loss = loss + 0.5 * uniform_cross_entropy(oracle(outliers))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for ours, theirs in zip(network.parameters(), oracle.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("network", ["convnet", "lenet"])
def test_one_hot_labels_train_the_student_of_hard_ones(network: str) -> None:
    distilled = distill(SMALL, progress=False)
    soft = replace(distilled, labels=torch.nn.functional.one_hot(distilled.labels).float())
    short = SMALL.but(training_epochs=3)
    one, two = (train_student(d, short, network) for d in (distilled, soft))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    blurred = replace(distilled, labels=0.5 * soft.labels + 0.05)
    third = train_student(blurred, short, network)
    assert not torch.allclose(next(third.parameters()), next(one.parameters()), atol=1e-5)


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_training_in_bfloat16_is_near_and_not_the_same(name: str) -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(12, 1, 16, 16), torch.arange(12) % 3
    trained = []
    for precision in ("float32", "bf16"):
        network = build(name, 1, 3, 16, 8, 2, torch.Generator().manual_seed(1))
        fit(network, images, labels, None, replace(PLAIN, precision=precision), stream(0, "a"))
        trained.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    start = build(name, 1, 3, 16, 8, 2, torch.Generator().manual_seed(1))
    begun = torch.cat([p.detach().flatten() for p in start.parameters()])
    way, other = (t - begun for t in trained)
    assert other.dtype == torch.float32 and not torch.equal(way, other)
    assert float(torch.cosine_similarity(way, other, dim=0)) > 0.98


@pytest.mark.parametrize("name", ["convnet", "lenet"])
def test_a_distribution_over_classes_is_a_label(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    images, outliers = torch.randn(10, 1, 16, 16, generator=draw), torch.randn(6, 1, 16, 16)
    labels = torch.arange(10) % 3
    sharp = torch.nn.functional.one_hot(labels, 3).float()
    soft = torch.rand(10, 3, generator=draw).softmax(1)
    trained = []
    for targets in (labels, sharp, soft, soft.flip(1)):
        network = build(name, 1, 3, 16, 8, 2, torch.Generator().manual_seed(1))
        fit(network, images, targets, outliers, PLAIN, stream(0, "a"))
        trained.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    torch.testing.assert_close(trained[0], trained[1], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(trained[2], trained[3], atol=1e-3)
    assert not torch.allclose(trained[0], trained[2], atol=1e-3)


def test_a_descent_on_soft_labels_goes_down_their_cross_entropy() -> None:
    network = build("convnet", 1, 3, 16, 8, 2, stream(0, "n"))
    images, soft = torch.randn(5, 1, 16, 16), torch.rand(5, 3).softmax(1)
    loss = -(soft * network(images).log_softmax(1)).sum(1).mean()
    expected = torch.autograd.grad(loss, list(network.parameters()))
    before = [p.detach().clone() for p in network.parameters()]
    _, seen = Descent(network, Recipe(epochs=1, lr=0.1, batch=5)).step(images, soft, None, 0.1)
    torch.testing.assert_close(seen, loss.detach())
    for old, new, slope in zip(before, network.parameters(), expected, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * slope, rtol=1e-4, atol=1e-6)


def test_the_steps_of_another_recipe_or_network_are_refused() -> None:
    images, labels = torch.randn(6, 1, 16, 16), torch.arange(6) % 3
    network, other = (build("convnet", 1, 3, 16, 8, 2, stream(0, "n")) for _ in range(2))
    descent = Descent(network, PLAIN)
    longer = replace(PLAIN, epochs=1, lr=0.1, batch=2, augmentation="flip", decay=True)
    fit(network, images, labels, None, longer, stream(0, "a"), descent=descent)
    for change in ({"momentum": 0.0}, {"weight_decay": 0.0}, {"outlier_weight": 0.1},
                   {"precision": "bf16"}):  # fmt: skip
        recipe = replace(PLAIN, **change)
        with pytest.raises(ValueError, match="expected this network's"):
            fit(network, images, labels, None, recipe, stream(0, "a"), descent=descent)
    with pytest.raises(ValueError, match="expected this network's"):
        fit(other, images, labels, None, PLAIN, stream(0, "a"), descent=descent)


def test_an_experiment_says_how_each_network_is_trained() -> None:
    experiment = Experiment(
        method="mtt", outliers="poe", outlier_weight=0.3, training_lr=0.2, training_momentum=0.7,
        training_weight_decay=0.1, training_batch=9, training_epochs=8, lr_network=0.3,
        network_batch=7, inner_loops=5, expert_lr=0.4, expert_batch=6, expert_augmentation="flip",
        augmentation="crop", precision="bf16",
    )  # fmt: skip
    shared = {"outlier_weight": 0.3, "precision": "bf16"}
    student = Recipe(
        epochs=8, lr=0.2, batch=9, momentum=0.7, weight_decay=0.1, augmentation="crop",
        decay=True, **shared,
    )  # fmt: skip
    assert student_recipe(experiment) == student
    assert student_recipe(experiment, 0.05) == replace(student, lr=0.05)
    inner = Recipe(epochs=5, lr=0.3, batch=7, augmentation="crop", **shared)
    assert inner_recipe(experiment) == inner
    expert = Recipe(epochs=1, lr=0.4, batch=6, augmentation="flip", **shared)
    assert expert_recipe(experiment) == expert


def test_outliers_make_a_student_less_sure_of_them() -> None:
    distilled = distill(SMALL, progress=False)
    student = train_student(distilled, SMALL)
    ordinary = train_student(replace(distilled, outliers=None), SMALL)
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


def test_to_name_a_device_changes_nothing_and_to_train_sets_the_process_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    resolve_device("auto")
    assert not torch.backends.cudnn.deterministic
    train_student(distill(SMALL, progress=False), SMALL.but(training_epochs=1))
    assert torch.backends.cudnn.deterministic


def _several(count: int, with_outliers: bool) -> dict:
    draw = torch.Generator().manual_seed(0)
    networks = [
        build("convnet", 1, 3, 16, 8, 2, torch.Generator().manual_seed(i)) for i in range(3)
    ]
    images = [torch.randn(count, 1, 16, 16, generator=draw) for _ in networks]
    labels = [torch.randint(3, (count,), generator=draw) for _ in networks]
    outliers = [torch.randn(4, 1, 16, 16, generator=draw) for _ in networks]
    return {
        "networks": networks, "images": images, "labels": labels,
        "outliers": outliers if with_outliers else None,
        "generators": [stream(i, "several") for i in range(3)],
    }  # fmt: skip


@pytest.mark.parametrize("with_outliers", [True, False])
def test_trained_together_they_are_what_they_are_alone(with_outliers: bool) -> None:
    recipe = replace(PLAIN, augmentation="flip_color_crop", decay=True)
    together, alone = _several(7, with_outliers), _several(7, with_outliers)
    fit_together(**together, recipe=recipe)
    for i, network in enumerate(alone["networks"]):
        outliers = None if alone["outliers"] is None else alone["outliers"][i]
        fit(
            network, alone["images"][i], alone["labels"][i], outliers,
            recipe, alone["generators"][i],
        )  # fmt: skip
        for ours, theirs in zip(together["networks"][i].parameters(), network.parameters(),
                                strict=True):  # fmt: skip
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_trained_together_is_refused() -> None:
    wrong = _several(5, False)
    wrong["images"][1] = wrong["images"][1][:4]
    with pytest.raises(ValueError, match="images of different shapes"):
        fit_together(**wrong, recipe=PLAIN)
    wrong = _several(5, False)
    wrong["networks"][2] = build("convnet", 1, 3, 16, 4, 2, stream(0, "n"))
    with pytest.raises(ValueError, match="networks of different shapes"):
        fit_together(**wrong, recipe=PLAIN)
    wrong = _several(5, False)
    wrong["networks"] = [build("mlp", 1, 3, 16, 8, 2, stream(0, "n")) for _ in range(3)]
    with pytest.raises(ValueError, match="no ConvNet"):
        fit_together(**wrong, recipe=PLAIN)
    wrong = _several(5, False)
    wrong["labels"].pop()
    with pytest.raises(ValueError, match="3 networks, 3 and 2 and 3 and 3 sets"):
        fit_together(**wrong, recipe=PLAIN)


def test_students_of_several_sets_are_those_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [distill(SMALL, progress=False)]
    sets.append(replace(sets[0], images=sets[0].images + 1))
    alone = [train_student(own, SMALL) for own in sets]
    one_by_one = train_students(sets, SMALL)
    # as on a GPU, where they go together
    device = torch.device("cpu")
    outliers = [own.outliers for own in sets]
    together = _train_together(sets, outliers, SMALL, device, progress=False)
    for first, second, third in zip(alone, one_by_one, together, strict=True):
        assert not third.training
        for a, b, c in zip(*(n.parameters() for n in (first, second, third)), strict=True):
            assert torch.equal(a, b)
            torch.testing.assert_close(a, c, rtol=1e-3, atol=1e-4)
