"""What pages show of experts, of trajectory matching, and of methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fabricated_runs import fabricate, fabricate_run, write_profile
from torch.nn.functional import cosine_similarity

from trustdd.distillation.loop import distill
from trustdd.report import show
from trustdd.report.analysis.costs import costs
from trustdd.report.comparison import paired_difference, percent
from trustdd.report.numbers import in_words
from trustdd.report.results import experts_of
from trustdd.report.show import trajectories
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import load_profile
from trustdd.store.run import Run

TINY = Experiment(
    dataset="digits", method="mtt", outliers="poe", ipc=1, iterations=2, experts=1, width=4,
    depth=2, max_start_epoch=1, expert_epochs=1, expert_lr=0.05, expert_batch=256, student_steps=4,
    student_lr=0.05, lr_student_lr=1e-3, lr_images=5.0, augmentation=None, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    found = Run(tmp_path_factory.mktemp("tiny") / "runs" / TINY.key, TINY)
    distill(TINY, found, progress=False)
    return found


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Runs of DSA and of MTT with the same settings and seeds."""
    profile = load_profile(write_profile(tmp_path_factory.mktemp("both")))
    root = tmp_path_factory.mktemp("runs")
    fabricate(profile, root, ("main", "mtt"))
    mtt = [Run.of(e, profile.name, root) for e in profile.group("mtt")]
    wanted = {(r.experiment.outliers, r.experiment.seed) for r in mtt}
    main = [Run.of(e, profile.name, root) for e in profile.group("main")]
    return [r for r in main if (r.experiment.outliers, r.experiment.seed) in wanted] + mtt


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """What is displayed as tables by either module."""
    shown: list[tuple[Any, str]] = []
    for module in ("trajectories", "side_by_side"):
        monkeypatch.setattr(
            f"trustdd.report.show.{module}.table",
            lambda frame, caption="": shown.append((frame, caption)),
        )
    return shown


def test_the_finding_on_experts_is_that_of_the_files(run: Run) -> None:
    text = show.experts_finding([run])
    curves = experts_of(run).curves()
    assert "**1 expert**" in text
    assert f"**{percent(curves['test_accuracy'].iloc[-1])} %**" in text
    assert f"{TINY.max_start_epoch + TINY.expert_epochs} snapshots" in text


def test_the_finding_on_matching_is_a_distance_not_its_square(run: Run) -> None:
    losses = run.read_frame("curves.csv")["loss_in"]
    text = show.trajectory_finding(run)
    assert f"**{np.sqrt(losses.iloc[-1]):.0%}** remain" in text
    assert f"it was {np.sqrt(losses.iloc[0]):.0%}" in text


def test_a_frozen_adjoint_is_the_gradient_of_one_step_and_of_no_more(run: Run) -> None:
    unrolled, adjoint, frozen = trajectories._gradients(run, 1)
    assert torch.allclose(unrolled, adjoint, rtol=1e-9)
    assert torch.allclose(unrolled, frozen, rtol=1e-9)
    unrolled, adjoint, frozen = (g.flatten() for g in trajectories._gradients(run, 4))
    assert torch.allclose(unrolled, adjoint, rtol=1e-9, atol=1e-15)
    assert not torch.allclose(unrolled, frozen, rtol=1e-3)
    assert 0 < float(cosine_similarity(unrolled, frozen, dim=0)) < 0.99999


def test_exactness_shows_as_many_steps_as_a_run_has(run: Run, tables: list[Any]) -> None:
    show.exactness(run)
    ((frame, _),) = tables
    assert frame["student steps"].tolist() == ["1", "2", "4"]
    assert all(float(v) < 1e-9 for v in frame["adjoint: relative error"])


def test_the_methods_finding_pairs_by_seed_and_says_which_is_first(both: list[Run]) -> None:
    text = show.methods_finding(both)
    frame = costs(both)
    own = frame[frame["outliers"] == "poe"]
    gap = paired_difference(own[own["method"] == "mtt"], own[own["method"] == "dsa"], "accuracy")
    assert text.startswith("MTT against DSA, at 2 images a class")
    assert in_words(gap) in text
    assert "2 seeds" in text


def test_methods_stand_side_by_side_with_what_they_cost(both: list[Run], tables: list[Any]) -> None:
    show.methods(both)
    show.method_differences(both)
    show.outlier_gains(both)
    side, differences, gains = (frame for frame, _ in tables)
    assert side["method"].tolist() == ["DSA", "MTT"] * 2
    # two experts of 1.5 s each
    assert side["experts (s)"].tolist() == ["–", "3"] * 2
    assert side["distilling (s)"].tolist() == ["30"] * 4
    assert side["memory (MiB)"].tolist() == ["700"] * 4
    assert len(differences) == 2
    assert gains["method"].tolist() == ["DSA", "MTT"]
    # outliers are built to help detection
    assert all(text.startswith("+") for text in gains.filter(like="AUROC").iloc[:, 0])


def test_every_further_method_is_compared_with_the_first(
    both: list[Run], tables: list[Any], tmp_path: Path
) -> None:
    third = []
    for run in both:
        if run.experiment.method == "dsa":
            experiment = run.experiment.but(method="dc")
            folder = tmp_path / "made-up" / "runs" / experiment.key
            third.append(fabricate_run(experiment, Run(folder, experiment)))
    runs = [*both, *third]
    show.method_differences(both)
    show.method_differences(runs)
    show.outlier_gains(runs)
    (two, _), (three, caption), (gains, _) = tables
    assert three["method"].tolist() == ["MTT", "DC"] * 2
    # a third method changes nothing about the other two
    assert three[three["method"] == "MTT"].to_numpy().tolist() == two.to_numpy().tolist()
    assert caption.startswith("MTT and DC minus DSA")
    assert gains["method"].tolist() == ["DSA", "MTT", "DC"]
    show.method_differences(third)
    assert len(tables) == 3, "there is nothing to compare one method with"
    assert show.methods_finding(third).startswith("A distillation by DC took ")
    text = show.methods_finding(runs)
    assert text.startswith(show.methods_finding(both))
    assert "DC against DSA, at 2 images a class" in text


def test_the_settings_of_a_page_are_those_of_its_method(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("trustdd.report.show.distilled.table", lambda frame, _: shown.append(frame))
    show.settings(TINY)
    show.settings(TINY, experts=True)
    show.settings(TINY.but(method="dsa"))
    names = [set(frame["setting"]) for frame in shown]
    assert "`student_steps`" in names[0]
    assert "`expert_lr`" in names[1]
    assert "`outer_loops`" in names[2]
    assert "`student_steps`" not in names[1] | names[2]
