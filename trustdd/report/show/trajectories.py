"""Experts and trajectory matching on a page: what experts know, what the matching did, and how
exact its gradient is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import over_seeds, percent, seeds_text, with_std
from trustdd.report.naming import listed
from trustdd.report.results import by_mode, experts_of, seeds_of
from trustdd.report.show.display import images, table

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trustdd.data.imagesets import ImageSet
    from trustdd.data.inliers import InlierData
    from trustdd.store.expert_store import Experts
    from trustdd.store.run import Run

#: at most so many images of a set are shown to experts on a page
SHOWN_IMAGES = 500
#: at most so many student steps are differentiated twice on a page
SHOWN_STEPS = 12


def experts_finding(runs: Sequence[Run]) -> str:
    """Say how many experts there are, how good they became and what they cost, in Markdown."""
    reached, seconds, count = [], 0.0, 0
    for members in by_mode(runs).values():
        for run in members:
            experts = experts_of(run)
            reached += [float(e.curves()["test_accuracy"].iloc[-1]) for e in experts]
            seconds += _seconds(experts)
            count += len(experts)
    epochs = min(expert.epochs for expert in experts_of(runs[0]))
    low, high = percent(min(reached)), percent(max(reached))
    range_ = f"{low} %" if low == high else f"{low} to {high} %"
    return (
        f"**{count} expert{'s' * (count > 1)}** trained on real images for {epochs} "
        f"epoch{'s' * (epochs > 1)} each, and in the end classified **{range_}** of the test "
        f"images. That took {seconds:,.0f} seconds, once; what is kept of it are "
        f"{count * (epochs + 1):,} snapshots of a network's parameters."
    )


def _seconds(experts: Experts) -> float:
    """Training time of experts, from their manifest."""
    times = experts.manifest().get("seconds", {})
    return float(sum(times.get(expert.path.name, 0.0) for expert in experts))


def snapshots(run: Run, expert: int = 0) -> None:
    """Display first-layer filters of an expert after some of its epochs, and how they moved.

    Args:
        run: by trajectory matching; its experts are stored.
        expert: which expert.
    """
    trajectory = experts_of(run)[expert]
    shown = sorted({round(f * trajectory.epochs) for f in (0, 0.25, 0.5, 1)})
    network = _network(run)
    filters = {}
    for epoch in shown:
        weights = _parameters(network, trajectory.snapshot(epoch))[0][:10]
        # other numbers of channels than one and three have no colour
        filters[epoch] = (
            weights if weights.shape[1] in (1, 3) else weights.mean(dim=1, keepdim=True)
        )
    reach = max(float(f.abs().max()) for f in filters.values())
    size = len(trajectory.snapshot(0))
    images(
        {f"epoch {e}": (f / reach + 1) / 2 for e, f in filters.items()},
        alt=f"The first ten filters of the first layer of an expert after {listed(_words(shown))} "
        "epochs.",
        caption=f"The first filters of one expert (`{run.experiment.outliers}`, seed "
        f"{run.experiment.seed}), mid-grey is zero. A snapshot is all {size:,} parameters, of "
        "which these are a few.",
    )


def _words(numbers: Sequence[int]) -> list[str]:
    return [str(n) for n in numbers]


def expert_confidence(
    runs: Sequence[Run], data: InlierData | None, suite: Mapping[str, ImageSet]
) -> None:
    """Display how sure experts are of InD and of OOD images at the end of what is read of them.

    Args:
        runs: by trajectory matching; the first expert of each is asked.
        data: the InD data; without it nothing is displayed.
        suite: the OOD test sets; at most `SHOWN_IMAGES` of each set are taken.
    """
    import torch

    from trustdd.students.metrics import ood_metrics
    from trustdd.students.scores import msp

    if data is None:
        return
    rows = []
    for run in runs:
        trajectory = experts_of(run)[0]
        network = _network(run)
        for parameter, value in zip(
            network.parameters(), _parameters(network, trajectory.snapshot(trajectory.epochs)),
            strict=True,
        ):  # fmt: skip
            parameter.data.copy_(value)

        @torch.no_grad()
        def confidence(shown: Tensor, expert: nn.Module = network) -> np.ndarray:
            return msp(expert(data.normalise(shown[:SHOWN_IMAGES]))).numpy()

        inside = confidence(data.test.images)
        outside = [confidence(some.images) for some in suite.values()]
        rows.append(
            {
                "outliers": run.experiment.outliers,
                "seed": run.experiment.seed,
                "inside": inside.mean(),
                "outside": np.mean([o.mean() for o in outside]),
                "auroc": np.mean([ood_metrics(inside, o)["auroc"] for o in outside]),
            }
        )
    values = ["inside", "outside", "auroc"]
    means = over_seeds(pd.DataFrame(rows), ["outliers"], values)
    frame = pd.DataFrame({"trained with": [style.NAMES[m] for m in means["outliers"]]})
    frame["trained with"] = frame["trained with"].replace(style.NAMES["none"], "InD images alone")
    heads = ("confidence, InD", "confidence, OOD", "AUROC ↑")
    for name, head in zip(values, heads, strict=True):
        frame[head] = [
            with_std(m, s) for m, s in zip(means[name], means[f"{name}_std"], strict=True)
        ]
    table(
        frame,
        f"Mean confidence (MSP) of experts after their last epoch, and the AUROC of telling the "
        f"two apart by it, means over the {len(suite)} OOD sets (at most {SHOWN_IMAGES} images of "
        f"each). In percent, ± standard deviation over {seeds_text(len(seeds_of(runs)))}, one "
        "expert each.",
    )


def trajectory_finding(run: Run) -> str:
    """Say how much nearer to the expert the student ends, as a sentence in Markdown."""
    losses = run.read_frame("curves.csv")["loss_in"].dropna()
    experiment = run.experiment
    if losses.empty:
        return f"`{experiment.key}` was drawn at random; nothing was distilled."
    tenth = max(1, len(losses) // 10)
    # the loss is a ratio of squared distances
    before, after = (np.sqrt(part.mean()) for part in (losses[:tenth], losses[-tenth:]))
    made = run.manifest().get("distill", {})
    memory = f" and {made['peak_memory_mib'] / 1024:.1f} GiB" if "peak_memory_mib" in made else ""
    spent = f", which took {made['seconds']:,.0f} seconds{memory}," if "seconds" in made else ""
    steps, epochs = experiment.student_steps, experiment.expert_epochs
    learned = _student_lr(run)
    return (
        f"{experiment.iterations:,} iterations{spent} bring a student that takes {steps} "
        f"step{'s' * (steps > 1)} on the synthetic set closer to where an expert is after "
        f"{epochs} epoch{'s' * (epochs > 1)} on all real images: of the expert's way, "
        f"**{after:.0%}** remain{'' if after < before else ', no less'}, at first it was "
        f"{before:.0%}. The student's learning rate is learned as well, and goes from "
        f"{experiment.student_lr:g} to **{learned:.3g}**."
    )


def _student_lr(run: Run) -> float:
    from trustdd.data.distilled_set import load_distilled

    found = load_distilled(run.path("distilled.safetensors")).student_lr
    return float("nan") if found is None else found


def student_lr(runs: Sequence[Run]) -> None:
    """Display the student's learning rate before and after, for each outlier mode."""
    lines = []
    for mode, members in by_mode(runs).items():
        learned = np.array([_student_lr(run) for run in members])
        std = f" ± {learned.std(ddof=1):.4f}" if len(learned) > 1 else ""
        initial = members[0].experiment.student_lr
        lines.append([style.NAMES[mode], f"{initial:g}", f"{learned.mean():.4f}{std}"])
    table(
        pd.DataFrame(lines, columns=["outliers", "initial", "learned"]),
        f"`student_lr`, ± standard deviation over {seeds_text(len(seeds_of(runs)))}.",
    )


def exactness(run: Run) -> None:
    """Display how the two ways to the gradient agree, and what freezing the adjoint would cost.

    The gradient of the images, on the run's distilled set and its first expert, in float64.

    Args:
        run: a finished run by trajectory matching.
    """
    most = min(run.experiment.student_steps, SHOWN_STEPS)
    lines = []
    for steps in sorted({1, max(1, most // 2), most}):
        unrolled, adjoint, frozen = (g.flatten() for g in _gradients(run, steps))
        gap = [float((g - unrolled).norm() / unrolled.norm()) for g in (adjoint, frozen)]
        cosine = float(frozen @ unrolled / (frozen.norm() * unrolled.norm()))
        lines.append([str(steps), f"{gap[0]:.0e}", f"{gap[1]:.0%}", f"{cosine:.3f}"])
    table(
        pd.DataFrame(
            lines,
            columns=[
                "student steps",
                "adjoint: relative error",
                "λ frozen: relative error",
                "λ frozen: cosine",
            ],
        ),
        "The gradient of the synthetic images, against that of the whole unrolled graph, in "
        f"double precision (`{run.experiment.key}`, its first expert from epoch 0).",
    )


def _gradients(run: Run, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the images by the unrolled graph, by the adjoint, and with λ frozen."""
    import torch

    from trustdd.data.distilled_set import load_distilled
    from trustdd.data.inliers import inlier_channels
    from trustdd.distillation.adjoint import Course, StudentStep, unflatten_parameters
    from trustdd.distillation.trajectory_matching import trajectory_loss
    from trustdd.students.training import build_network

    experiment = run.experiment
    found = load_distilled(run.path("distilled.safetensors"))
    classes = int(found.labels.max()) + 1
    network = build_network(
        experiment, inlier_channels(experiment), classes, "architecture"
    ).double()
    start, target = (v.double() for v in experts_of(run).segment(0, 0, experiment.expert_epochs))
    rate = float(found.student_lr or experiment.student_lr or 0.01)
    outliers = None if found.outliers is None else found.outliers.double()
    weight = experiment.outlier_weight

    def by(memory: str) -> Tensor:
        shown = found.images.double().requires_grad_()
        loss = trajectory_loss(
            network, unflatten_parameters(network, start), unflatten_parameters(network, target),
            shown, found.labels, rate, steps, outliers, weight, memory=memory,
        )  # fmt: skip
        return torch.autograd.grad(loss, shown)[0]

    step = StudentStep()
    course = Course(network, weight, start, target, found.labels, [step] * steps)
    passed = [start]
    for _ in range(steps):
        here = passed[-1].clone().requires_grad_()
        gradient = course.gradient(step, here, found.images.double(), outliers, False)
        passed.append(here.detach() - rate * gradient)
    last = (passed[-1] - target) * (2 / course.scale)
    frozen = torch.zeros_like(found.images, dtype=torch.float64)
    for parameters in passed[:-1]:
        here, shown = parameters.clone().requires_grad_(), found.images.double().requires_grad_()
        gradient = course.gradient(step, here, shown, outliers, True)
        frozen -= rate * torch.autograd.grad(gradient @ last, shown)[0]
    return by("unrolled"), by("adjoint"), frozen


def _network(run: Run) -> nn.Module:
    from trustdd.data.inliers import class_count, inlier_channels
    from trustdd.students.training import build_network

    experiment = run.experiment
    channels, classes = inlier_channels(experiment), class_count(experiment)
    return build_network(experiment, channels, classes, "architecture")


def _parameters(network: nn.Module, vector: Tensor) -> list[Tensor]:
    from trustdd.distillation.adjoint import unflatten_parameters

    return unflatten_parameters(network, vector)
