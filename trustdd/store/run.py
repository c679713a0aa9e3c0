"""Runs: one experiment's artefacts, each stage recorded with the hashes of what it wrote.

The layout of ``results/PROFILE``, in which nothing that is made under other settings ever takes the
place of what is there::

    runs/KEY/                       KEY: Experiment.key, everything that decides what is distilled
        experiment.json             these fields
        manifest.json               {"distill": {files: {name: sha256}, seconds, source, …}}
        distilled.safetensors  initial.safetensors  snapshots.safetensors  curves.csv
        evaluate-HASH/              HASH: what it was tested on, `ood` and `ood_limit`
            student-0/              the first student, and all that was asked of it
                manifest.json       {"evaluate": {settings, made_from, files, …}}
                report.csv  logits.safetensors  samples.safetensors  student.safetensors  …
            student-1/ …            `students` of them
        course-HASH/student-0/      manifest.json  snapshots.csv
        transfer-HASH/student-0/    manifest.json  transfer.csv    HASH: `networks` as well
        detectors-HASH/student-0/   manifest.json  detectors.csv

A folder's HASH covers the settings that `trustdd.store.stages` names for its stage. Who asks for
less than what is stored (fewer OOD sets, networks or students) is given rows and tensors of what is
stored. ``made_from`` holds the hashes of what a stage went on from; where these have changed it no
longer counts as done.

So `Run` answers by a file's plain name: ``run.read_frame("report.csv")`` is the report under the
run's own experiment, its values the mean over the students; ``run.read_frame("report.csv", 2)`` is
that of student 2, and ``run.read_tensors("logits.safetensors", 2)`` are its logits.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import EVALUATION_FIELDS, Experiment
from trustdd.store.files import atomic_path, results_root, sha256, write_json
from trustdd.store.provenance import provenance
from trustdd.store.records import (
    MANIFEST,
    Damaged,
    checked,
    is_whole,
    read_manifest,
    read_object,
    remedy,
    write_record,
)
from trustdd.store.stages import (
    STAGES,
    WRITTEN_BY,
    check_stage,
    covers,
    stage_folder,
    stage_settings,
)
from trustdd.store.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

Value = TypeVar("Value")
#: columns of a report that say what a row is of; students differ in the others
ROW_COLUMNS = ("iteration", "network", "ood", "score", "n_in", "n_out")


class Folder:
    """Files of one or several stages beside the ``manifest.json`` that records them.

    Each stage writes its files atomically and then records them, with their hashes; it counts as
    done once it is recorded.
    """

    def __init__(self, directory: Path) -> None:
        """Name a folder; nothing is written yet."""
        self.directory = Path(directory)

    def path(self, name: str) -> Path:
        """Return the path of one of the folder's files."""
        return self.directory / name

    def has(self, name: str) -> bool:
        """Tell whether the folder holds a file of this name."""
        return self.path(name).is_file()

    def write_tensors(
        self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write named tensors as ``name`` (safetensors)."""
        return write_tensors(self.directory / name, tensors, metadata)

    def write_frame(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a frame as CSV; floats in their shortest exact form."""
        path = self.directory / name
        with atomic_path(path) as partial:
            frame.to_csv(partial, index=False, lineterminator="\n")
        return path

    def manifest(self) -> dict[str, Any]:
        """Return what each finished stage recorded; empty before the first.

        Raises:
            Damaged: it has changed since it was written.
        """
        return read_manifest(self.directory)

    def done(self, stage: str) -> bool:
        """Tell whether a stage is recorded here and all its files are there."""
        entry = self.manifest().get(stage)
        if entry is None:
            return False
        return all((self.directory / name).is_file() for name in entry["files"])

    def whole(self, stage: str) -> bool:
        """Tell whether all files of a stage that is recorded here have the bytes that it wrote."""
        return all(is_whole(self.directory / name) for name in self.manifest()[stage]["files"])

    def record_stage(self, stage: str, files: Sequence[str], seconds: float, **facts: Any) -> None:
        """Record a finished stage: the hashes of its files, its wall time, and further facts.

        Args:
            stage: the stage's name.
            files: names of the files it wrote.
            seconds: wall time in seconds.
            facts: anything else worth keeping, as JSON values.
        """
        entry = {
            "files": {name: sha256(self.directory / name) for name in sorted(files)},
            "seconds": round(seconds, 2),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            **provenance(),
            **facts,
        }
        write_record(self.directory / MANIFEST, {**self.manifest(), stage: entry})


class Run(Folder):
    """One experiment's folder of artefacts, ``results/PROFILE/runs/KEY``; see the module.

    Attributes:
        directory: the folder.
        experiment: what it was made for; the fields outside its key choose among the evaluations.
        facts: JSON values that are recorded with every stage, such as the source that makes it.
    """

    def __init__(self, directory: Path, experiment: Experiment) -> None:
        """Open the folder of `experiment` at `directory`; nothing is written yet."""
        super().__init__(directory)
        self.experiment = experiment
        self.facts: dict[str, Any] = {}

    @classmethod
    def of(cls, experiment: Experiment, profile: str, root: Path | None = None) -> Run:
        """Return an experiment's run under a profile's results."""
        base = root or results_root()
        return cls(base / profile / "runs" / experiment.key, experiment)

    @classmethod
    def open(cls, directory: Path) -> Run:
        """Open a stored run by its folder.

        Raises:
            ValueError: the folder holds no ``experiment.json``, or a damaged one.
        """
        path = Path(directory) / "experiment.json"
        if not path.is_file():
            raise BadInput(f"{directory}: no run is stored here (experiment.json is missing)")
        values = read_object(checked(path))
        # a folder dataset needs a data_root to be valid; where it lay is not recorded
        return cls(Path(directory), Experiment.from_dict({"data_root": "data", **values}))

    # -- where things are -------------------------------------------------------------------

    def part(self, stage: str, student: int = 0) -> Folder:
        """Return where a stage of one student is written, under the experiment's own settings."""
        folder = stage_folder(stage, stage_settings(stage, self.experiment))
        return Folder(self.directory / folder / f"student-{student}")

    def parts(self) -> list[Folder]:
        """Return every student's folder of every stage and all settings that are stored."""
        names = [name for name, stage in STAGES.items() if stage.by_student]
        return [
            Folder(path.parent)
            for name in names
            for path in sorted(self.directory.glob(f"{name}-*/student-*/{MANIFEST}"))
        ]

    def stored_part(self, stage: str, student: int = 0) -> Folder | None:
        """Return where a stage of one student is stored; ``None`` where it is not.

        Under the experiment's own settings, else under others that hold all that it asks for.
        """
        own = self.part(stage, student)
        if self._counts(own, stage, student):
            return own
        for path in sorted(self.directory.glob(f"{stage}-*/student-{student}/{MANIFEST}")):
            with contextlib.suppress(Damaged):  # of other settings: it is as if it were not there
                if self._counts(Folder(path.parent), stage, student):
                    return Folder(path.parent)
        return None

    def _counts(self, part: Folder, stage: str, student: int) -> bool:
        """Tell whether a stage is done in a folder, for what the experiment asks of it."""
        entry = part.manifest().get(stage)
        if entry is None or not part.done(stage):
            return False
        if not covers(entry.get("settings", {}), stage_settings(stage, self.experiment)):
            return False
        return bool(entry.get("made_from", {}) == self.made_from(stage, student))

    def made_from(self, stage: str, student: int = 0) -> dict[str, str]:
        """Return the hashes of the files that a stage goes on from, as they are recorded now."""
        found = {}
        for name in STAGES[stage].made_from:
            needs = WRITTEN_BY[name]
            place = self.stored_part(needs, student) if STAGES[needs].by_student else self
            entry = place.manifest().get(needs, {}) if place is not None else {}
            left_out = entry.get("left_out", {}).get(name, {})
            digest = entry.get("files", {}).get(name) or left_out.get("sha256")
            if digest is not None:
                found[name] = str(digest)
        return found

    def finished(self, stage: str) -> bool:
        """Tell whether a stage is done, of a student's stages for every student asked for."""
        if not STAGES[check_stage(stage)].by_student:
            return self.done(stage)
        return all(
            self.stored_part(stage, student) is not None
            for student in range(self.experiment.students)
        )

    def path(self, name: str, student: int = 0) -> Path:
        """Return the path of one of the run's files.

        Args:
            name: the file's plain name; of a student's file, it is looked up where it is stored
                (`stored_part`), or would be.
            student: whose.
        """
        stage = WRITTEN_BY.get(name, "distill")
        if not STAGES[stage].by_student:
            return self.directory / name
        return (self.stored_part(stage, student) or self.part(stage, student)).path(name)

    def has(self, name: str) -> bool:
        """Tell whether the run holds a file of this name.

        A report has to be there of every student, tensors of the first: more is not published.
        """
        stage = WRITTEN_BY.get(name, "distill")
        if not STAGES[stage].by_student:
            return super().has(name)
        students = self.experiment.students if name.endswith(".csv") else 1
        found = [self.stored_part(stage, student) for student in range(students)]
        return all(part is not None and part.has(name) for part in found)

    # -- reading ----------------------------------------------------------------------------

    def read_frame(self, name: str, student: int | None = None) -> pd.DataFrame:
        """Read a frame.

        Args:
            name: the file's name.
            student: of a report, whose; by default the mean over the experiment's students.

        Returns:
            The frame; of a report, the rows that the experiment asks for, in its order of OOD sets.

        Raises:
            ValueError: it is not stored.
        """
        if not STAGES[WRITTEN_BY.get(name, "distill")].by_student:
            return _read_csv(self.path(name))
        if student is not None:
            return self._report(name, student)
        return _mean([self._report(name, i) for i in range(self.experiment.students)])

    def _report(self, name: str, student: int) -> pd.DataFrame:
        frame = _read_csv(self.path(name, student))
        asked = stage_settings(WRITTEN_BY[name], self.experiment)
        place = {ood: i for i, ood in enumerate(asked["ood"])}
        keep = frame["ood"].isin(place)
        if "network" in frame:
            keep &= frame["network"].isin([*asked["networks"], "convnet"])
        frame = frame[keep]
        # sorted within what else tells rows apart, each in the order of its first row
        outer = [
            frame[c].map(_first_places(frame[c])) for c in ("iteration", "network") if c in frame
        ]
        order = sorted(
            range(len(frame)),
            key=lambda i: (*(c.iloc[i] for c in outer), place[frame["ood"].iloc[i]]),
        )
        return frame.iloc[order].reset_index(drop=True)

    def read_tensors(self, name: str, student: int = 0) -> dict[str, Tensor]:
        """Read the tensors of ``name``; of a student's file, what the experiment asks for."""
        return self.asked_of(read_tensors(self.path(name, student))[0])

    def asked_of(self, stored: Mapping[str, Value]) -> dict[str, Value]:
        """Keep of tensors that are named after OOD sets the experiment's, in its order."""
        of_sets = ("ood.", "place.", "distance.")
        found = {k: v for k, v in stored.items() if not k.startswith(of_sets)}
        for start in of_sets:
            wanted = [start + ood for ood in self.experiment.ood]
            found |= {name: stored[name] for name in wanted if name in stored}
        return found

    def records(self) -> dict[str, dict[str, Any]]:
        """Return what was recorded of each stage under the experiment's settings.

        Returns:
            ``distill``, then ``evaluate-HASH/student-0`` and so on → the manifest's entry.
        """
        found = {}
        if "distill" in self.manifest():
            found["distill"] = self.manifest()["distill"]
        for name, stage in STAGES.items():
            for student in range(self.experiment.students) if stage.by_student else ():
                part = self.stored_part(name, student)
                if part is not None:
                    place = part.directory.relative_to(self.directory).as_posix()
                    found[place] = part.manifest()[name]
        return found

    # -- writing ----------------------------------------------------------------------------

    def record(
        self, stage: str, files: Sequence[str], seconds: float, *, student: int = 0, **facts: Any
    ) -> None:
        """Record a finished stage, see `Folder.record_stage`; a student's in its own folder."""
        path = self.directory / "experiment.json"
        if not path.is_file():
            values = self.experiment.to_dict()
            write_json(path, {k: v for k, v in values.items() if k not in EVALUATION_FIELDS})
        if STAGES[check_stage(stage)].by_student:
            facts["settings"] = stage_settings(stage, self.experiment)
            facts["made_from"] = self.made_from(stage, student)
            self.part(stage, student).record_stage(stage, files, seconds, **self.facts, **facts)
        else:
            self.record_stage(stage, [*files, path.name], seconds, **self.facts, **facts)


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        return pd.read_csv(checked(path))
    except (ValueError, OSError) as error:
        if isinstance(error, Damaged):
            raise
        raise Damaged(f"{path}: not readable as CSV ({error}); {remedy(path)}") from None


def _first_places(column: pd.Series) -> dict[Any, int]:
    return {value: i for i, value in enumerate(dict.fromkeys(column))}


def _mean(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average reports of the same rows; a single one is returned as it is."""
    first = frames[0]
    if len(frames) == 1:
        return first
    same = [c for c in first.columns if c in ROW_COLUMNS]
    for other in frames[1:]:
        if not other[same].equals(first[same]):
            raise ValueError("reports of students of one set differ in their rows")
    measured = [c for c in first.columns if c not in ROW_COLUMNS]
    mean = sum(frame[measured].astype(float) for frame in frames) / len(frames)
    return first.assign(**{name: mean[name] for name in measured})
