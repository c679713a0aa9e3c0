"""The experts that several runs are distilled by, trained once, before any of these starts.

A distillation trains the experts that are missing, and waits for those that another process trains.
Where every run is a job of its own on a cluster that wait would hold a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from trustdd.pipeline.completion import stage_source
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import experts_directory, experts_key
from trustdd.store.published import published_folders
from trustdd.store.records import Damaged, is_whole, read_manifest
from trustdd.store.run import Run


def needs_experts(experiment: Experiment) -> bool:
    """Tell whether distilling reads expert trajectories: MTT, unless all of the set is random."""
    if experiment.method != "mtt" or experiment.selection == "full":
        return False
    of_outliers = experiment.outliers != "none" and experiment.outlier_selection == "distilled"
    return experiment.selection == "distilled" or of_outliers


def all_experts(experiments: Sequence[Experiment]) -> Experiment:
    """Return an experiment that asks for as many experts as any, trained as long as for any.

    Raises:
        ValueError: the experiments share no experts.
    """
    if len({experts_key(e) for e in experiments}) != 1:
        keys = ", ".join(sorted({experts_key(e) for e in experiments})) or "none"
        raise BadInput(f"experts of {keys}; expected runs that share their experts")
    longest = max(experiments, key=lambda e: e.max_start_epoch + e.expert_epochs)
    return replace(longest, experts=max(e.experts for e in experiments))


def train_for(runs: Iterable[Run], *, progress: bool = True) -> Path | None:
    """Train the experts that runs share, as far as one of them is still to be distilled.

    Experts that are damaged are trained again, whether or not a run still reads them.

    Args:
        runs: of one profile, whose experiments share their experts.
        progress: show a bar.

    Returns:
        The folder of the experts; ``None`` where no run is in need of them.

    Raises:
        ValueError: the experiments share no experts, or the data is not there.
    """
    reading = [run for run in runs if needs_experts(run.experiment)]
    needing = [run for run in reading if not _distilled(run) or _are_damaged(run)]
    if not needing:
        return None
    wanted = all_experts([run.experiment for run in needing])
    folder = experts_directory(wanted, needing[0].directory.parents[1])
    # torch only where there is something to train
    from trustdd.distillation.experts import train_experts

    train_experts(wanted, folder, progress)
    return folder


def _are_damaged(run: Run) -> bool:
    """Tell whether some of a run's experts are not what was trained."""
    folder = experts_directory(run.experiment, run.directory.parents[1])
    try:
        return not all(is_whole(folder / name) for name in read_manifest(folder).get("files", {}))
    except Damaged:
        return True


def _distilled(run: Run) -> bool:
    """Tell whether a run's set is there, and is not going to be made again."""
    if not run.finished("distill"):
        return False
    if run.directory in published_folders(run.directory):
        return True
    return run.manifest()["distill"].get("source") == stage_source("distill", run.experiment)
