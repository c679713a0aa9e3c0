"""The stages of a run, made once, and made again when the source that makes them has changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence

from trustdd.settings.defaults import METHODS
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import Profile
from trustdd.store.run import Run, results_root, write_json, write_text
from trustdd.store.source_hash import source_hash
from trustdd.store.stages import MAIN_STAGES, begun_from, check_stage, finished

_STUDENT = ("trustdd.students.training", "trustdd.students.detection", "trustdd.data.distilled_set")
#: what runs in each stage; of the pipeline only its own file, since it calls every stage
SOURCES = {
    "distill": ("trustdd.distillation.loop",),
    "evaluate": _STUDENT,
    "course": _STUDENT,
    "transfer": _STUDENT,
    "detectors": ("trustdd.students.detectors",),
}
#: imports that an experiment does not take: the corruptions where outliers are none or real
_CORRUPTIONS = ("trustdd.data.outliers", "trustdd.data.corruptions")
CHECKPOINT = "checkpoint.safetensors"
#: names the source that wrote the checkpoint
CHECKPOINT_SOURCE = "checkpoint.source"


def stage_source(stage: str, experiment: Experiment) -> str:
    """Hash the source that a stage of an experiment runs, see `trustdd.store.source_hash`.

    Raises:
        ValueError: unknown stage.
    """
    without = [] if experiment.outliers == "poe" else [_CORRUPTIONS]
    alone = () if stage == "distill" else ("trustdd.pipeline.work",)
    modules = SOURCES[check_stage(stage)]
    if stage == "distill":
        # imported by its name, since every method has its own
        modules += (METHODS[experiment.method].module,)
    return source_hash(modules, without, alone)


def bring_up_to_date(run: Run, stage: str, *, keep: bool = False, progress: bool = True) -> bool:
    """Make a stage of a run unless it is there and was made by the source as it is now.

    What a stage goes on from is made anew with it: a checkpoint that other source wrote is
    dropped, and a new distilled set leaves no student of the old one behind.

    Args:
        run: the run.
        stage: one of ``trustdd.store.stages.STAGES``; those that it needs have to be done.
        keep: take what is stored as it is, whatever source made it.
        progress: show bars.

    Returns:
        Whether anything had to be made.

    Raises:
        ValueError: unknown stage, the data is not there, or the stage before is not done.
    """
    source = stage_source(stage, run.experiment)
    with _alone(run):
        if finished(run, stage) and (keep or run.manifest()[stage].get("source") == source):
            return False
        _make(run, stage, source, progress)
    return True


def complete(
    experiment: Experiment, profile: str | Profile = "quick", progress: bool = True
) -> Run:
    """Do whatever is not done yet of an experiment, and return its run.

    A stage that other source made is made again, unless the run is published, see
    `published_runs`.

    Args:
        experiment: the settings.
        profile: under whose results the run is stored.
        progress: show bars.

    Returns:
        The finished run; `Run.read_frame("report.csv")` is its detection report.
    """
    return complete_all([experiment], profile, progress)[0]


def complete_all(
    experiments: Sequence[Experiment], profile: str | Profile = "quick", progress: bool = True
) -> list[Run]:
    """Do whatever is not done yet of several experiments, in order; see `complete`."""
    name = profile if isinstance(profile, str) else profile.name
    published = published_runs(name)
    runs = [Run.of(experiment, name) for experiment in experiments]
    for run in runs:
        for stage in MAIN_STAGES:
            keep = run.experiment.key in published
            bring_up_to_date(run, stage, keep=keep, progress=progress)
    return runs


def published_runs(profile: str) -> set[str]:
    """Keys of a profile's runs whose artefacts are in git: taken as they are, whatever made them.

    They may have cost days on another machine. Where there is no git nothing counts as published.
    """
    folder = results_root() / profile / "runs"
    command = ["git", "-C", str(folder), "ls-files", "--", "*/manifest.json"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    return {line.split("/")[0] for line in listed.splitlines()}


def _make(run: Run, stage: str, source: str, progress: bool) -> None:
    for later in begun_from(stage):
        forget(run, later)
    if stage == "distill":
        _begin_checkpoint(run, source)
    # torch only where there is something to make
    from trustdd.pipeline.work import run_stage

    run_stage(stage, run, progress)
    manifest = run.manifest()
    write_json(run.path("manifest.json"), {**manifest, stage: manifest[stage] | {"source": source}})
    run.path(CHECKPOINT_SOURCE).unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Wait for any other process that makes this run, such as one that outlived a killed workflow.

    The lock lies on the run's folder and goes with the process that holds it.
    """
    run.directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(run.directory, os.O_RDONLY)
    try:
        # some network file systems cannot lock a folder
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def forget(run: Run, stage: str) -> None:
    """Remove a stage from the manifest, and then its files."""
    manifest = run.manifest()
    entry = manifest.pop(stage, None)
    if entry is None:
        return
    write_json(run.path("manifest.json"), manifest)
    for name in entry["files"]:
        run.path(name).unlink(missing_ok=True)


def _begin_checkpoint(run: Run, source: str) -> None:
    """Note who writes the checkpoints; one that other source wrote is not gone on from."""
    note = run.path(CHECKPOINT_SOURCE)
    if note.is_file() and note.read_text(encoding="utf-8").strip() != source:
        run.path(CHECKPOINT).unlink(missing_ok=True)
    write_text(note, source + "\n")
