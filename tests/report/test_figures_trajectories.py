"""fig21: the curves of stored experts, told from experts whose every distance is known."""

from pathlib import Path

import pytest
from fabricated_runs import fabricate_experts
from matplotlib.colors import to_hex

from trustdd.report import style
from trustdd.report.figures import FIGURES
from trustdd.report.results import MissingArtefacts, expert_manifests
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run

MTT = Experiment(
    dataset="digits", method="mtt", ipc=2, width=16, experts=2, max_start_epoch=3,
    expert_epochs=2, device="cpu",
)  # fmt: skip


def runs_of(root: Path, *modes: str, seeds: tuple[int, ...] = (0, 1)) -> list[Run]:
    experiments = [MTT.but(outliers=mode, seed=seed) for mode in modes for seed in seeds]
    return [Run.of(experiment, "made-up", root) for experiment in experiments]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("experts")
    found = runs_of(root, "none", "poe")
    for run in found:
        # one epoch more than trajectory matching reads, which the figure leaves out
        fabricate_experts(run.experiment, root / "made-up", epochs=5)
    return found


def test_the_series_are_those_of_the_experts(runs: list[Run]) -> None:
    data = FIGURES.make("fig21", runs).data
    assert len(data) == 2 * 2 * 2 * 5  # modes, seeds, experts, epochs 0 to 4
    assert sorted(data["epoch"].unique()) == [0, 1, 2, 3, 4]
    one = data[(data["outliers"] == "poe") & (data["seed"] == 1) & (data["expert"] == 1)]
    # (1 + i + s) = 3 along each of 4 parameters: |(3, 3, 3, 3)| = 6 in the first epoch
    assert one["distance"].tolist() == pytest.approx([0, 6, 9, 11, 12.5])
    assert one["step"].tolist()[1:] == pytest.approx([6, 3, 2, 1.5])
    assert one["test_accuracy"].tolist() == pytest.approx([0.08, 0.28, 0.48, 0.68, 0.88])


def test_lines_are_means_over_seeds_in_the_colours_of_the_modes(runs: list[Run]) -> None:
    accuracy, distance, step = FIGURES.make("fig21", runs).figure.axes
    lines = {to_hex(line.get_color()).upper(): line for line in distance.lines}
    assert set(lines) == {style.colour("none").upper(), style.colour("poe").upper()}
    # experts of (1 + i + s) ∈ {1, 2} and {2, 3}: means 1.5 and 2.5, over seeds 2
    drawn = lines[style.colour("poe").upper()]
    assert drawn.get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert drawn.get_ydata().tolist() == pytest.approx([0, 4, 6, 22 / 3, 25 / 3])
    assert step.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert accuracy.lines[0].get_ydata().tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_the_finding_is_computed(runs: list[Run]) -> None:
    made = FIGURES.make("fig21", runs)
    assert made.finding.startswith(
        "After 4 epochs, experts classify 90.0% (ordinary DD) and 88.0% (POE)"
    )
    # 1 of 1 + 1/2 + 1/3 + 1/4
    assert "48% of their way" in made.finding
    assert "2 seeds" in made.caption


def test_missing_or_short_experts_are_named(runs: list[Run], tmp_path: Path) -> None:
    (lonely,) = runs_of(tmp_path, "oe", seeds=(0,))
    with pytest.raises(MissingArtefacts, match=r"figure fig21: .*2 experts of 4 epochs") as caught:
        FIGURES.make("fig21", [*runs, lonely])
    assert caught.value.experiments == (lonely.experiment.key,)
    assert "make book PROFILE=made-up" in str(caught.value)
    fabricate_experts(lonely.experiment, tmp_path / "made-up", epochs=3)
    with pytest.raises(MissingArtefacts, match="2 experts of 4 epochs"):
        FIGURES.make("fig21", [lonely])
    with pytest.raises(MissingArtefacts, match="none of the runs is by trajectory matching"):
        FIGURES.make("fig21", [Run.of(MTT.but(method="dsa"), "made-up", tmp_path)])


def test_its_record_names_the_experts(runs: list[Run]) -> None:
    manifests = expert_manifests(runs)
    assert len(manifests) == 4
    for manifest in manifests.values():
        assert set(manifest["files"]) == {"expert-000.safetensors", "expert-001.safetensors"}
