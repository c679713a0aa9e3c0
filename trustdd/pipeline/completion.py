"""The stages of a run, made once, and made again when the source that makes them has changed."""

from __future__ import annotations

import contextlib
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from trustdd.pipeline.machine import check_machine
from trustdd.settings.defaults import METHODS
from trustdd.settings.errors import Explained
from trustdd.settings.experiment import OUTLIERS, Experiment
from trustdd.store.files import write_text
from trustdd.store.locks import lock, lock_path
from trustdd.store.profiles import Profile
from trustdd.store.published import published_folders
from trustdd.store.records import MANIFEST, Damaged, set_aside, write_record
from trustdd.store.run import Folder, Run
from trustdd.store.source_hash import source_hash
from trustdd.store.stages import MAIN_STAGES, STAGES, check_stage

_STUDENT = ("trustdd.students.training", "trustdd.students.detection", "trustdd.data.distilled_set")
#: what runs in each stage; of the pipeline only its own file, since it calls every stage
SOURCES = {
    "distill": ("trustdd.distillation.loop",),
    "evaluate": _STUDENT,
    "course": _STUDENT,
    "transfer": _STUDENT,
    "detectors": ("trustdd.students.detectors",),
}
CHECKPOINT = "checkpoint.safetensors"
#: names the source that wrote the checkpoint
CHECKPOINT_SOURCE = "checkpoint.source"


def stage_source(stage: str, experiment: Experiment) -> str:
    """Hash the source that a stage of an experiment runs, see `trustdd.store.source_hash`.

    Raises:
        ValueError: unknown stage.
    """
    modules = SOURCES[check_stage(stage)]
    # imported by their names, each only by those who need it
    if stage == "distill":
        modules += (METHODS[experiment.method].module,)
    if stage == "distill" or experiment.selection == "full":
        modules += OUTLIERS[experiment.outliers]
    return source_hash(modules, () if stage == "distill" else ("trustdd.pipeline.work",))


def bring_up_to_date(run: Run, stage: str, *, progress: bool = True) -> bool:
    """Make a stage of a run unless it is there and was made by the source as it is now.

    A checkpoint that other source wrote is dropped. What tested a set that is no longer there goes
    with it. What is published, see `published_folders`, is taken as it is, whatever made it.

    Args:
        run: the run.
        stage: one of ``trustdd.store.stages.STAGES``; those that it needs have to be done.
        progress: show bars.

    Returns:
        Whether anything had to be made.

    Raises:
        ValueError: unknown stage, the data is not there, the stage before is not done, or this
            machine has not the memory or the device.
    """
    source = stage_source(stage, run.experiment)
    published = published_folders(run.directory)

    def waiting() -> list[int]:
        students = range(run.experiment.students) if STAGES[stage].by_student else (0,)
        return [i for i in students if not _is_fresh(run, stage, i, source, published)]

    with contextlib.suppress(Damaged):
        if not waiting():
            return False
    check_machine(run.experiment)
    profile, key = run.directory.parents[1], run.directory.name
    # another process may be at it, such as one that outlived a killed workflow
    with lock(lock_path(profile, key)):
        _set_damaged_aside(run, published)
        still = waiting()
        for student in still:
            _make(run, stage, student, source, published, progress)
    return bool(still)


def _set_damaged_aside(run: Run, published: frozenset[Path]) -> None:
    """Move manifests that cannot be believed out of the way: their stages are made again.

    Raises:
        Damaged: of what is published.
    """
    for folder in (run, *run.parts()):
        try:
            folder.manifest()
        except Damaged as error:
            if folder.directory in published:
                raise
            set_aside(folder.directory / MANIFEST, error)


def taken_as_it_is(run: Run, stage: str, published: frozenset[Path]) -> bool:
    """Tell whether a stage is published, for all that the run's experiment asks of it."""
    students = range(run.experiment.students) if STAGES[stage].by_student else (0,)
    places = [_stored(run, stage, student) for student in students]
    return all(place is not None and place.directory in published for place in places)


def _stored(run: Run, stage: str, student: int) -> Folder | None:
    if STAGES[stage].by_student:
        return run.stored_part(stage, student)
    return run if run.finished(stage) else None


def _is_fresh(run: Run, stage: str, student: int, source: str, published: frozenset[Path]) -> bool:
    """Tell whether a stage of a student is stored and made by `source`, or to be taken as it is."""
    place = _stored(run, stage, student)
    if place is None:
        return False
    if not place.whole(stage):
        if place.directory not in published:
            warnings.warn(
                f"{place.directory}: changed since stage '{stage}' wrote it; it is made again",
                stacklevel=2,
            )
        return False
    return place.directory in published or place.manifest()[stage].get("source") == source


def complete(
    experiment: Experiment, profile: str | Profile = "quick", progress: bool = True
) -> Run:
    """Do whatever is not done yet of an experiment, and return its run.

    A stage that other source made is made again, unless the run is published, see
    `published_folders`.

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
    runs = [Run.of(experiment, name) for experiment in experiments]
    for run in runs:
        for stage in MAIN_STAGES:
            bring_up_to_date(run, stage, progress=progress)
    return runs


def _make(
    run: Run, stage: str, student: int, source: str, published: frozenset[Path], progress: bool
) -> None:
    by_student = STAGES[stage].by_student
    place = run.part(stage, student) if by_student else run
    if place.directory in published:
        raise Explained(
            f"{place.directory}: published, and not as it is recorded; restore it with: "
            f"git checkout -- {place.directory}"
        )
    run.facts = {"source": source}
    before = run.made_from("course")
    forget(place, stage)
    if not by_student:
        _begin_checkpoint(run, source)
    # torch only where there is something to make
    from trustdd.pipeline.work import run_stage

    if by_student:
        run_stage(stage, run, progress, student)
    else:
        run_stage(stage, run, progress, images_of=_with_same_images(run))
    if not by_student:
        run.path(CHECKPOINT_SOURCE).unlink(missing_ok=True)
        # what tested another set than this one is of no more use
        for part in run.parts() if run.made_from("course") != before else ():
            if part.directory not in published:
                shutil.rmtree(part.directory)


def _with_same_images(run: Run) -> Run | None:
    """The run beside this one that has its images already, where that is stored and fresh."""
    from trustdd.distillation.loop import same_images

    ordinary = same_images(run.experiment)
    if ordinary is None:
        return None
    beside = Run(run.directory.parent / ordinary.key, ordinary)
    published = published_folders(beside.directory)
    source = stage_source("distill", ordinary)
    return beside if _is_fresh(beside, "distill", 0, source, published) else None


def forget(folder: Folder, stage: str) -> None:
    """Remove a stage from a folder's manifest, and then its files."""
    manifest = folder.manifest()
    entry = manifest.pop(stage, None)
    if entry is None:
        return
    write_record(folder.directory / MANIFEST, manifest)
    for name in entry["files"]:
        (folder.directory / name).unlink(missing_ok=True)


def _begin_checkpoint(run: Run, source: str) -> None:
    """Note who writes the checkpoints; one that other source wrote is not gone on from."""
    note = run.path(CHECKPOINT_SOURCE)
    if note.is_file() and note.read_text(encoding="utf-8").strip() != source:
        run.path(CHECKPOINT).unlink(missing_ok=True)
    write_text(note, source + "\n")
