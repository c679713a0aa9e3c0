"""The trajectory loss: the public code's numbers, and the exact gradient at constant memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trustdd.data.initial_set import initial_set
from trustdd.data.inputs import load_inputs
from trustdd.data.outliers import outlier_source
from trustdd.distillation.adjoint import StudentStep, flatten_parameters, unflatten_parameters
from trustdd.distillation.objective import Materials
from trustdd.distillation.state import State
from trustdd.distillation.trajectory_matching import (
    TrajectoryMatching,
    draw_schedule,
    trajectory_loss,
    trajectory_step,
)
from trustdd.networks.convnet import ConvNet
from trustdd.settings.experiment import Experiment

DATA = Path(__file__).resolve().parents[1] / "vectors"
STRATEGY = "color_crop_cutout_flip_scale_rotate"


def relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def reference() -> tuple[dict[str, Tensor], dict[str, float]]:
    numbers = json.loads((DATA / "reference.json").read_text())
    return load_file(DATA / "reference.safetensors"), numbers


@pytest.mark.parametrize("memory", ["adjoint", "unrolled"])
@pytest.mark.parametrize("kind", ["ce", "trustdd"])
def test_equals_the_public_code(kind: str, memory: str, reference) -> None:
    tensors, numbers = reference
    blocks = [f"features.{i}" for i in (0, 1, 4, 5, 8, 9)] + ["classifier"]
    names = [f"{block}.{part}" for block in blocks for part in ("weight", "bias")]
    network = ConvNet(3, numbers["classes"], 32, width=numbers["width"], depth=numbers["depth"])
    images = tensors["tm.images"].requires_grad_()
    outliers = tensors["tm.outliers"].requires_grad_() if kind == "trustdd" else None
    student_lr = torch.tensor(numbers["tm.student_lr"], requires_grad=True)
    loss = trajectory_loss(
        network, [tensors[f"tm.start.{n}"] for n in names],
        [tensors[f"tm.target.{n}"] for n in names], images, tensors["tm.labels"], student_lr,
        numbers["mtt_steps"], outliers, numbers["tm.outlier_weight"], memory=memory,
    )  # fmt: skip
    leaves = [student_lr, images] + ([] if outliers is None else [outliers])
    by_rate, by_images, *by_outliers = torch.autograd.grad(loss, leaves)
    assert float(loss.detach()) == pytest.approx(numbers[f"tm.{kind}.loss"], rel=1e-4)
    assert float(by_rate) == pytest.approx(numbers[f"tm.{kind}.lr_grad"], rel=1e-4)
    assert relative_error(by_images, tensors[f"tm.{kind}.images_grad"]) < 1e-4
    if by_outliers:
        assert relative_error(by_outliers[0], tensors["tm.trustdd.outliers_grad"]) < 1e-4


def published_loss(
    network: nn.Module, start: Tensor, target: Tensor, images: Tensor, labels: Tensor,
    rate: Tensor, steps: int, outliers: Tensor | None, weight: float,
) -> Tensor:  # fmt: skip
    """Algorithm 1 of Cazenavette et al., line by line: SGD on one vector, and a ratio of means."""
    names, shapes = zip(*((n, p.shape) for n, p in network.named_parameters()), strict=True)
    student = start.clone().requires_grad_()
    for _ in range(steps):
        cut = student.split([shape.numel() for shape in shapes])
        values = {n: part.view(s) for n, s, part in zip(names, shapes, cut, strict=True)}
        logits = torch.func.functional_call(network, values, (images,))
        loss = nn.functional.cross_entropy(logits, labels)
        if outliers is not None:
            unknown = torch.func.functional_call(network, values, (outliers,))
            loss = loss - weight * unknown.log_softmax(1).mean()
        (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
        student = student - rate * gradient
    mse = nn.functional.mse_loss
    return mse(student, target) / mse(start, target)


@pytest.mark.parametrize("mode", ["none", "oe", "poe"])
@pytest.mark.parametrize("width", [8, 16])
def test_iterations_are_those_of_the_definition(width: int, mode: str, tmp_path: Path) -> None:
    experiment = Experiment(
        dataset="digits", method="mtt", outliers=mode, ipc=1, width=width, depth=2, iterations=3,
        experts=1, max_start_epoch=1, expert_epochs=1, expert_lr=0.05, student_steps=4, zca=False,
        student_lr=0.05, lr_student_lr=1e-5, lr_images=5.0, lr_outliers=7.0, augmentation=None,
        device="cpu",
    )  # fmt: skip
    data = load_inputs(experiment)
    source = outlier_source(experiment, data)
    objective = TrajectoryMatching(
        Materials(experiment, data, source, torch.device("cpu"), tmp_path)
    )
    start = initial_set(experiment, data, source)
    rate = torch.tensor(experiment.student_lr)
    moved = {"images": (start.images, 5.0), "student_lr": (rate, 1e-5)}
    if start.outliers is not None:
        moved["outliers"] = (start.outliers, 7.0)
    copies = {name: tensor.clone() for name, (tensor, _) in moved.items()}
    state = State(copies["images"], copies.get("outliers"), copies["student_lr"])
    plain = {name: tensor.clone().requires_grad_() for name, (tensor, _) in moved.items()}
    optimiser = torch.optim.SGD(
        [{"params": [plain[name]], "lr": lr} for name, (_, lr) in moved.items()],
        lr=0.0, momentum=0.5,
    )  # fmt: skip
    ends = objective.experts.segment(0, 0, 1)
    for iteration in range(3):
        loss, beside = objective.step(state, iteration)
        expected = published_loss(
            objective.network, *ends, plain["images"], start.labels, plain["student_lr"], 4,
            plain.get("outliers"), experiment.outlier_weight,
        )  # fmt: skip
        optimiser.zero_grad()
        expected.backward()
        optimiser.step()
        assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
        assert beside != beside, "one loss moves all"
    for name, (before, _) in moved.items():
        got, wanted = getattr(state, name) - before, plain[name].detach() - before
        assert relative_error(got, wanted) < 2e-3


class Problem:
    """A small student in float64 whose steps are large enough to bend its way."""

    def __init__(self, image_size: int = 8, channels: int = 3) -> None:
        generator = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.network = ConvNet(channels, 4, image_size, width=6, depth=2).double()
        self.start = [p + 0.3 * normal(*p.shape) for p in _fresh(self.network, generator)]
        self.target = [p + 0.2 * normal(*p.shape) for p in self.start]
        self.images = normal(7, channels, image_size, image_size).requires_grad_()
        self.labels = torch.arange(7) % 4
        self.outliers = normal(5, channels, image_size, image_size).requires_grad_()
        self.student_lr = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        self.steps = 4

    def loss(self, memory: str, schedule: list[StudentStep] | None, outliers: bool) -> Tensor:
        return trajectory_loss(
            self.network, self.start, self.target, self.images, self.labels, self.student_lr,
            self.steps, self.outliers if outliers else None, 0.7, schedule=schedule, memory=memory,
        )  # fmt: skip

    def gradients(self, loss: Tensor, outliers: bool) -> list[Tensor]:
        leaves = [self.images, self.student_lr] + ([self.outliers] if outliers else [])
        return list(torch.autograd.grad(loss, leaves))


def _fresh(network: nn.Module, generator: torch.Generator) -> list[Tensor]:
    shapes = [p.shape for p in network.parameters()]
    return [torch.randn(s, generator=generator, dtype=torch.float64) * 0.3 for s in shapes]


def schedule_of(problem: Problem, kind: str, outliers: bool) -> list[StudentStep] | None:
    if kind == "whole":
        return None
    return draw_schedule(
        problem.steps, problem.images, problem.outliers if outliers else None,
        torch.Generator().manual_seed(1), batch=3 if "batches" in kind else 0,
        strategy=STRATEGY if "augmented" in kind else None,
    )  # fmt: skip


@pytest.mark.parametrize("outliers", [False, True])
@pytest.mark.parametrize("kind", ["whole", "batches", "augmented", "augmented batches"])
def test_adjoint_is_the_gradient_of_the_unrolled_student(kind: str, outliers: bool) -> None:
    problem = Problem()
    schedule = schedule_of(problem, kind, outliers)
    unrolled = problem.loss("unrolled", schedule, outliers)
    adjoint = problem.loss("adjoint", schedule, outliers)
    assert float(adjoint.detach()) == pytest.approx(float(unrolled.detach()), rel=1e-12)
    pairs = zip(
        problem.gradients(adjoint, outliers), problem.gradients(unrolled, outliers), strict=True
    )
    for got, expected in pairs:
        assert expected.norm() > 0
        assert relative_error(got, expected) < 1e-5


def test_gradients_are_slopes() -> None:
    """An oracle that knows nothing of autograd: central differences along a direction."""
    problem = Problem()
    schedule = schedule_of(problem, "augmented batches", True)
    leaves = [problem.images, problem.student_lr, problem.outliers]
    gradients = problem.gradients(problem.loss("adjoint", schedule, True), True)
    generator = torch.Generator().manual_seed(2)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        direction = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for side in (1, -2):
                leaf.add_(direction, alpha=side * 1e-6)
                values.append(float(problem.loss("adjoint", schedule, True)))
            leaf.add_(direction, alpha=1e-6)
        slope = (values[0] - values[1]) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5)


def test_two_calls_give_the_same_bytes_and_touch_nothing() -> None:
    problem = Problem()
    schedule = schedule_of(problem, "augmented batches", True)
    before = [p.detach().clone() for p in problem.network.parameters()]
    state = torch.get_rng_state()
    results = [problem.gradients(problem.loss("adjoint", schedule, True), True) for _ in range(2)]
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    for parameter, kept in zip(problem.network.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
        assert parameter.grad is None
    assert problem.images.grad is None


def test_loss_is_scaled_by_the_outer_gradient_and_adds_up() -> None:
    problem = Problem()
    loss = problem.loss("adjoint", None, True)
    plain = problem.gradients(problem.loss("adjoint", None, True), True)
    summed = problem.gradients(3 * loss + problem.images.square().sum(), True)
    assert relative_error(summed[0], 3 * plain[0] + 2 * problem.images.detach()) < 1e-12
    assert float(summed[1]) == pytest.approx(3 * float(plain[1]))


def test_value_means_what_it_says() -> None:
    problem = Problem()
    still = trajectory_loss(
        problem.network, problem.start, problem.target, problem.images, problem.labels, 0.0, 3
    )
    assert float(still.detach()) == pytest.approx(1.0)
    # a target that one step of gradient descent reaches
    start = [p.clone().requires_grad_() for p in problem.start]
    names = [n for n, _ in problem.network.named_parameters()]
    logits = torch.func.functional_call(
        problem.network, dict(zip(names, start, strict=True)), (problem.images.detach(),)
    )
    step = torch.autograd.grad(nn.functional.cross_entropy(logits, problem.labels), start)
    target = [p.detach() - 0.3 * g for p, g in zip(start, step, strict=True)]
    arrived = trajectory_loss(
        problem.network, problem.start, target, problem.images, problem.labels, 0.3, 1
    )
    assert float(arrived.detach()) < 1e-20


def peak_graph_bytes(problem: Problem, memory: str, steps: int) -> int:
    """Most bytes that autograd's graphs hold at any moment of computing loss and gradients."""
    problem.steps = steps
    now = peak = 0

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, peak
            self.tensor = tensor
            now += tensor.nbytes
            peak = max(peak, now)

        def __del__(self) -> None:
            nonlocal now
            now -= self.tensor.nbytes

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        problem.gradients(problem.loss(memory, None, True), True)
    return peak


def test_only_the_unrolled_graph_grows_with_the_steps() -> None:
    problem = Problem()
    unrolled = [peak_graph_bytes(problem, "unrolled", steps) for steps in (2, 8)]
    adjoint = [peak_graph_bytes(problem, "adjoint", steps) for steps in (2, 8)]
    assert unrolled[1] > 3 * unrolled[0]
    assert adjoint[1] == adjoint[0]
    assert adjoint[0] < unrolled[0]


def test_batches_see_every_image_before_any_twice() -> None:
    images, outliers = torch.zeros(10, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    schedule = draw_schedule(7, images, outliers, torch.Generator().manual_seed(0), batch=4)
    rows = [step.rows.tolist() for step in schedule]
    assert [len(r) for r in rows] == [4, 3, 3, 4, 3, 3, 4]
    assert sorted(rows[0] + rows[1] + rows[2]) == list(range(10))
    assert sorted(rows[3] + rows[4] + rows[5]) == list(range(10))
    assert rows[0] != rows[3]
    assert all(len(step.outlier_rows) > 0 for step in schedule)
    whole = draw_schedule(2, images, None, torch.Generator(), batch=10)
    assert [step.rows for step in whole] == [None, None]


def test_images_outside_the_batches_get_no_gradient() -> None:
    problem = Problem()
    rows = [torch.tensor([0, 2]), torch.tensor([5, 2])]
    schedule = [StudentStep(r, torch.tensor([1])) for r in rows]
    problem.steps = 2
    gradients = problem.gradients(problem.loss("adjoint", schedule, True), True)
    touched = gradients[0].flatten(1).norm(dim=1) > 0
    assert touched.tolist() == [True, False, True, False, False, True, False]


def test_augmentation_differs_between_steps_and_images() -> None:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images = images[:1].expand(6, -1, -1, -1)
    generator = torch.Generator().manual_seed(0)
    schedule = draw_schedule(6, images, None, generator, strategy=STRATEGY)
    views = [step.augment(images) for step in schedule]
    assert all(torch.equal(v, s.augment(images)) for v, s in zip(views, schedule, strict=True))
    assert len({v.numpy().tobytes() for v in views}) == len(views)
    scaled = draw_schedule(1, images, None, generator, strategy="scale")[0].augment(images)
    assert len({image.numpy().tobytes() for image in scaled}) > 1


def test_parameter_vectors_go_both_ways() -> None:
    network = ConvNet(1, 3, 8, width=4, depth=1)
    parameters = [p.detach() for p in network.parameters()]
    vector = flatten_parameters(network, parameters)
    again = unflatten_parameters(network, vector)
    for a, b in zip(parameters, again, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="expected the network's"):
        flatten_parameters(network, parameters[1:])
    with pytest.raises(ValueError, match="a parameter vector of shape"):
        unflatten_parameters(network, vector[1:])


def test_clear_errors() -> None:
    problem = Problem()
    given = (problem.network, problem.start, problem.target, problem.images, problem.labels)
    with pytest.raises(ValueError, match="memory 'graph'; expected one of adjoint, unrolled"):
        trajectory_loss(*given, 0.1, 2, memory="graph")
    with pytest.raises(ValueError, match="student_steps 0; expected an integer ≥ 1"):
        trajectory_loss(*given, 0.1, 0)
    with pytest.raises(ValueError, match="schedule of 1 steps; expected student_steps = 2"):
        trajectory_loss(*given, 0.1, 2, schedule=[StudentStep()])
    with pytest.raises(ValueError, match="start and target are equal"):
        trajectory_loss(given[0], problem.start, problem.start, *given[3:], 0.1, 2)
    with pytest.raises(ValueError, match=r"student_lr of shape \(2,\)"):
        trajectory_loss(*given, torch.ones(2), 2)


class Straight:
    """Experts that walk straight on from their start; remembers what was asked for."""

    def __init__(self, network: nn.Module) -> None:
        self.start = torch.cat([p.detach().flatten() for p in network.parameters()])
        self.asked: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return 3

    def segment(self, expert: int, start_epoch: int, epochs: int) -> tuple[Tensor, Tensor]:
        self.asked.append((expert, start_epoch, epochs))
        return self.start * (1 + 0.1 * start_epoch), self.start * (1 + 0.1 * (start_epoch + epochs))


def step_of(
    network: nn.Module, experts: Straight, iteration: int, student_lr: float = 0.01
) -> Tensor:
    experiment = Experiment(
        dataset="digits", method="mtt", ipc=1, seed=4, width=4, depth=1, experts=3,
        max_start_epoch=4, expert_epochs=2, student_steps=3, outliers="poe",
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(10, 1, 16, 16, generator=generator).requires_grad_()
    return trajectory_step(
        experiment, network, experts, images, torch.arange(10), torch.tensor(student_lr),
        iteration, images.detach().flip(0),
    )  # fmt: skip


def test_a_step_draws_its_segment_from_the_iteration() -> None:
    network = ConvNet(1, 10, 16, width=4, depth=1)
    experts = Straight(network)
    losses = [float(step_of(network, experts, i).detach()) for i in [*range(12), 3]]
    assert losses[3] == losses[-1]
    assert experts.asked[3] == experts.asked[-1]
    assert len(set(losses)) == 12
    assert {e for e, _, _ in experts.asked} == {0, 1, 2}
    assert {s for _, s, _ in experts.asked} == {0, 1, 2, 3}
    assert {n for _, _, n in experts.asked} == {2}


def test_experts_take_turns_in_an_order_drawn_anew() -> None:
    network = ConvNet(1, 10, 16, width=4, depth=1)
    experts = Straight(network)
    for i in range(30):
        step_of(network, experts, i)
    rounds = [tuple(e for e, _, _ in experts.asked[i : i + 3]) for i in range(0, 30, 3)]
    assert all(sorted(turn) == [0, 1, 2] for turn in rounds)
    assert len(set(rounds)) > 1


def test_a_diverging_student_is_named() -> None:
    network = ConvNet(1, 10, 16, width=4, depth=1)
    with pytest.raises(FloatingPointError, match=r"diverged at iteration 7 .*student_lr 1e\+30"):
        step_of(network, Straight(network), 7, student_lr=1e30)
