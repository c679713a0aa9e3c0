"""Stored runs as frames: which there are, what their reports say, and what the seeds say together.

Files of a run that are read here, all written by the stages below this floor:

========================= =====================================================================
``distilled.safetensors`` the set after distillation
``initial.safetensors``   the set before distillation
``curves.csv``            `iteration`, `loss_in`, `loss_out`
``report.csv``            a row per (`ood`, `score`), see ``trustdd.students.detection.report``
``logits.safetensors``    ``in``, ``in_labels``, ``ood.NAME``
``features.safetensors``  where the images lie, see ``trustdd.students.feature_space``
``snapshots.csv``         the report's columns and `iteration`: students of the set on its way
``transfer.csv``          the report's columns and `network`: students of other architectures
``detectors.csv``         the report's columns, further values of `score`
========================= =====================================================================

From ``report.csv`` on they are of a student, and a run has ``experiment.students`` of them:
`reports` gives their mean, the run's value; `student_reports` each; `student_spread` how far they
lie apart; `arrays` the logits of one. All are of the OOD sets that the run's experiment names.

Torch is not imported: arrays are read with ``safetensors.numpy``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trustdd.settings.errors import BadInput, Explained
from trustdd.store.files import results_root
from trustdd.store.profiles import Profile, list_profiles, load_profile, profiles_folder
from trustdd.store.records import Damaged, is_whole, remedy
from trustdd.store.run import Run
from trustdd.store.stages import WRITTEN_BY
from trustdd.store.tensors import read_arrays

if TYPE_CHECKING:
    from trustdd.store.expert_store import Experts

#: fields that say how much was computed: runs that differ in them are not compared
BUDGET_COLUMNS = ("iterations", "real_batch", "training_epochs")
#: fields of the experiment that stand beside the numbers of its report
EXPERIMENT_COLUMNS = (
    "dataset", "method", "outliers", "ipc", "seed", "selection", "outlier_selection",
    "outlier_ipc", "outlier_weight", "corruptions", *BUDGET_COLUMNS,
)  # fmt: skip
#: detection metrics of a report, in [0, 1]
METRICS = ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in")
#: of these, a smaller value is the better one
SMALLER_IS_BETTER = ("fpr95", "fpr95_in", "ece", "aurc")
#: the score that every figure shows where it does not compare scores
SCORE = "msp"
#: OOD sets that share the InD set's kind of content; all others are far
NEAR_OOD = {
    "digits": ("transposed_digits", "printed_text"),
    "mnist": ("fashionmnist", "printed_text"),
    "fashionmnist": ("mnist",),
    "cifar10": ("cifar100", "tiny_near", "photos"),
    "cifar100": ("cifar10", "photos"),
    "imagenette": ("photos",),
    "tiny100": ("tiny_cifar", "photos"),
}


class MissingArtefacts(Explained, ValueError):  # noqa: N818 - it names a state
    """What an entry is made from is not there; the message says what, and how to make it.

    Attributes:
        experiments: keys of the experiments that are missing; empty where a group is.
        command: the command that makes what is missing.
    """

    def __init__(self, message: str, experiments: Sequence[str], command: str) -> None:
        super().__init__(message)
        self.experiments = tuple(experiments)
        self.command = command


class Results:
    """The stored results of one profile.

    Attributes:
        profile: the profile.
        folder: ``results/PROFILE``.
    """

    def __init__(self, profile: str | Path | Profile = "quick", root: Path | None = None) -> None:
        """Open a profile's results below `root` (by default where this project keeps them)."""
        self.profile = profile if isinstance(profile, Profile) else load_profile(profile)
        self.root = root or results_root()
        self.folder = self.root / self.profile.name

    @property
    def name(self) -> str:
        """What to call the profile on the command line: its name, or its file."""
        named = profiles_folder() / f"{self.profile.name}.yaml"
        return self.profile.name if self.profile.path == named else str(self.profile.path)

    def planned(self, *groups: str) -> list[Run]:
        """Return the runs of some groups, finished or not, each once.

        Raises:
            MissingArtefacts: the profile lacks a group; the message says which profiles hold it.
        """
        for group in groups:
            if group not in self.profile.groups:
                raise self._no_group(group)
        unique = {e.key: e for group in groups for e in self.profile.group(group)}
        return [Run.of(e, self.profile.name, self.root) for e in unique.values()]

    def runs(self, *groups: str, files: Sequence[str] = ("report.csv",)) -> list[Run]:
        """Return the runs of some groups that hold `files`.

        Raises:
            MissingArtefacts: a run is not finished, or the profile lacks a group.
        """
        return require(self.planned(*groups), files, self.name)

    def _no_group(self, group: str) -> MissingArtefacts:
        name = self.profile.name
        holders = [p for p in list_profiles() if p != name and group in load_profile(p).groups]
        command = f"make book PROFILE={holders[0]}" if holders else ""
        advice = (
            f"it is in profile {', '.join(holders)}: {command}"
            if holders
            else f"no profile has it; add it to {self.profile.path.name}"
        )
        text = f"profile '{name}' has no experiments of group '{group}'; {advice}"
        return MissingArtefacts(text, (), command)


def require(runs: Sequence[Run], files: Sequence[str], profile: str) -> list[Run]:
    """Return `runs` if each holds all of `files`.

    Args:
        runs: of one profile.
        files: names of files.
        profile: its name on the command line.

    Raises:
        MissingArtefacts: naming the experiments and the command that makes them.
    """
    missing = [run.experiment.key for run in runs if not holds(run, files)]
    if not missing:
        return list(runs)
    command = f"make book PROFILE={profile}"
    named = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    raise MissingArtefacts(
        f"profile '{profile}': {' and '.join(files)} not there yet for {len(missing)} of "
        f"{len(runs)} experiments ({named}); make them with: {command}",
        missing,
        command,
    )


def holds(run: Run, files: Sequence[str]) -> bool:
    """Tell whether a run has recorded `files`, for the suite and students of its experiment."""
    recorded = [name for entry in run.records().values() for name in entry["files"]]
    return all(
        name in recorded and run.has(name) and run.finished(WRITTEN_BY[name]) for name in files
    )


def experts_of(run: Run) -> Experts:
    """Open the stored experts of a run, ``results/PROFILE/experts``.

    Raises:
        MissingArtefacts: there are fewer than its experiment asks for, or with fewer epochs.
    """
    # torch reads snapshots, so it is imported only where experts are
    from trustdd.store.expert_store import Experts, experts_directory

    experiment, profile = run.experiment, profile_of([run])
    wanted = experiment.expert_length
    try:
        found = Experts(experts_directory(experiment, run.directory.parents[1]), experiment.experts)
        for expert in found:
            if not is_whole(expert.path):
                again = f"trustdd experts {experiment.key} --profile {profile}"
                raise Damaged(
                    f"{expert.path}: changed since it was trained; {remedy(expert.path, again)}"
                )
        complete = all(expert.epochs >= wanted for expert in found)
    except Damaged:
        raise
    except BadInput:
        complete = False
    if not complete:
        command = f"make book PROFILE={profile}"
        raise MissingArtefacts(
            f"profile '{profile}': {experiment.experts} experts of {wanted} epochs not there yet "
            f"for {experiment.key}; make them with: {command}",
            (experiment.key,),
            command,
        )
    return found


def expert_manifests(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Return, by their key, the manifests of the experts that runs by trajectory matching read."""
    found = [experts_of(run) for run in runs]
    return {experts.directory.name: experts.manifest() for experts in found}


def profile_of(runs: Sequence[Run]) -> str:
    """Return the profile under whose results the runs lie, ``results/PROFILE/runs/KEY``."""
    return runs[0].directory.parent.parent.name if runs else ""


# -- frames -----------------------------------------------------------------------------------


def facts(run: Run) -> dict[str, Any]:
    """Return a run's key and the experiment's columns; corruptions as one name, joined by +."""
    values = {name: getattr(run.experiment, name) for name in EXPERIMENT_COLUMNS}
    return {"key": run.experiment.key, **values, "corruptions": "+".join(values["corruptions"])}


def reports(runs: Sequence[Run], name: str = "report.csv") -> pd.DataFrame:
    """Return the reports of all runs in one long frame, with the experiment's columns first.

    A run's values are the mean over its students.
    """
    return pd.concat([_labelled(run, run.read_frame(name)) for run in runs], ignore_index=True)


def student_reports(runs: Sequence[Run], name: str = "report.csv") -> pd.DataFrame:
    """Return the reports of all runs' students, as `reports` but with a column `student`."""
    parts = [
        _labelled(run, run.read_frame(name, student)).assign(student=student)
        for run in runs
        for student in range(run.experiment.students)
    ]
    return pd.concat(parts, ignore_index=True)


def _labelled(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**facts(run))[[*facts(run), *frame.columns]]


def student_spread(runs: Sequence[Run]) -> pd.DataFrame:
    """Return how far the students of each set lie apart, beside how far sets do.

    Returns:
        As `summary`, a row per run; each measure is the standard deviation over the run's students
        (ddof 1, NaN for a single one) of the suite mean of MSP.
    """
    frame = student_reports(runs)
    each = per_run(frame, ["student"])
    measures = [*METRICS, "accuracy"]
    found = each.groupby(["key", *EXPERIMENT_COLUMNS], sort=False)[measures].std(ddof=1)
    return found.reset_index()


def per_run(frame: pd.DataFrame, also: Sequence[str] = (), score: str = SCORE) -> pd.DataFrame:
    """Average a frame of reports over the OOD sets, within each run.

    Args:
        frame: from `reports`.
        also: further columns whose values stay apart, e.g. ``["score"]``; otherwise only rows
            of one score count.
        score: that score.

    Returns:
        A row per run (and value of `also`): the experiment's columns, `METRICS` and
        `accuracy`, in the order of the runs.
    """
    if "score" not in also:
        frame = frame[frame["score"] == score]
    by = ["key", *EXPERIMENT_COLUMNS, *also]
    return frame.groupby(by, sort=False)[[*METRICS, "accuracy"]].mean().reset_index()


def summary(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run: suite means of the MSP score's metrics, and accuracy."""
    return per_run(reports(runs))


def one_setting(runs: Sequence[Run]) -> list[Run]:
    """Keep the runs of the first run's dataset, method and IPC: what a single panel can show."""
    first = runs[0].experiment
    setting = (first.dataset, first.method, first.ipc)
    return [
        r for r in runs if (r.experiment.dataset, r.experiment.method, r.experiment.ipc) == setting
    ]


def by_mode(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by outlier mode, in the order none, oe, poe; modes without runs are left out."""
    order = ("none", "oe", "poe")
    found = {mode: [r for r in runs if r.experiment.outliers == mode] for mode in order}
    return {mode: members for mode, members in found.items() if members}


def seeds_of(runs: Sequence[Run]) -> list[int]:
    """Return the runs' seeds, sorted, each once."""
    return sorted({run.experiment.seed for run in runs})


# -- arrays ---------------------------------------------------------------------------------------


def arrays(run: Run, name: str, student: int = 0) -> dict[str, np.ndarray]:
    """Read the tensors of one of a run's files, or of a student's, as numpy arrays."""
    return run.asked_of(read_arrays(run.path(name, student))[0])


def pictures(run: Run, name: str = "distilled.safetensors") -> dict[str, np.ndarray]:
    """Read a stored set as pictures.

    Returns:
        ``images`` and, if any, ``outliers``: ``[n, h, w, c]`` in [0, 1]; and ``labels [n]``.
    """
    stored, metadata = read_arrays(run.path(name))
    mean, std = (np.array(json.loads(metadata[k]), dtype=np.float32) for k in ("mean", "std"))
    shown: dict[str, np.ndarray] = {}
    for part, kept in (("images", "pictures"), ("outliers", "outlier_pictures")):
        if kept in stored:  # of whitened images, pictures are stored beside them
            shown[part] = stored[kept].transpose(0, 2, 3, 1) / np.float32(255)
        elif part in stored:
            shown[part] = np.clip(stored[part].transpose(0, 2, 3, 1) * std + mean, 0, 1)
    return {**shown, "labels": stored["labels"]}
