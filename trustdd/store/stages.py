"""The stages of a run: what each needs, what its result depends on, and what it writes.

``distill`` and ``evaluate`` are done for every run; the others for the runs of the profile's group
of the same name. ``distill`` makes a set, once a run. The others test it: each with
``experiment.students`` students, under the settings that are named here, and what is made under
other settings lies beside it (`trustdd.store.run`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment

#: the OOD suite that a student is tested on
SUITE = ("ood", "ood_limit")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: as on the command line and in the manifest.
        needs: the stage that it goes on from; none for the first.
        files: names of the files that it may write.
        made_from: files of the stage before that its result depends on.
        settings: fields of the experiment that its result depends on and the run's key does not.
        everywhere: whether it is done for every run.
    """

    name: str
    needs: str
    files: tuple[str, ...]
    made_from: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    everywhere: bool = False

    @property
    def by_student(self) -> bool:
        """Whether it is done with each student for itself, rather than once a run."""
        return bool(self.settings)


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "distill", "",
            ("distilled.safetensors", "initial.safetensors", "snapshots.safetensors", "curves.csv"),
            everywhere=True,
        ),
        Stage(
            "evaluate", "distill",
            ("report.csv", "student.safetensors", "logits.safetensors", "features.safetensors",
             "samples.safetensors"),
            ("distilled.safetensors",), SUITE, everywhere=True,
        ),
        Stage(
            "course", "distill", ("snapshots.csv",),
            ("distilled.safetensors", "snapshots.safetensors"), SUITE,
        ),
        Stage(
            "transfer", "evaluate", ("transfer.csv",),
            ("distilled.safetensors",), (*SUITE, "networks"),
        ),
        Stage("detectors", "evaluate", ("detectors.csv",), ("student.safetensors",), SUITE),
    )
}  # fmt: skip
#: stages of every run, in order
MAIN_STAGES = tuple(name for name, stage in STAGES.items() if stage.everywhere)
#: stages of the runs of a group of the same name
FURTHER_STAGES = tuple(name for name, stage in STAGES.items() if not stage.everywhere)
#: file → the stage that writes it
WRITTEN_BY = {file: stage.name for stage in STAGES.values() for file in stage.files}


def check_stage(name: str) -> str:
    """Return `name` if there is such a stage.

    Raises:
        ValueError: there is not.
    """
    if name not in STAGES:
        raise BadInput(f"stage '{name}'; expected one of {', '.join(STAGES)}")
    return name


def stage_settings(name: str, experiment: Experiment) -> dict[str, Any]:
    """Return the settings to record with a stage, as JSON values."""
    return experiment.identity(STAGES[check_stage(name)].settings)


def stage_folder(name: str, settings: Mapping[str, Any]) -> str:
    """Return the folder of a stage that tests a set: its name and a hash of its settings."""
    text = json.dumps(settings, sort_keys=True)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def covers(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Tell whether what was made under some settings holds all that others ask for.

    Lists (of OOD sets, of networks) are tested one by one, so a longer one holds a shorter one, and
    so it is with what folders of one's own hold (`Experiment.identity`).
    """
    for name, value in asked.items():
        known = stored.get(name)
        if isinstance(value, list) and isinstance(known, list):
            if not set(value) <= set(known):
                return False
        elif isinstance(value, dict) and isinstance(known, dict):
            if not value.items() <= known.items():
                return False
        elif name not in stored or value != known:
            return False
    return True
