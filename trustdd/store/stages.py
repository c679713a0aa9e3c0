"""The stages of a run: what each needs, what its result depends on, and whether it is done.

``distill`` and ``evaluate`` are done for every run; the others for the runs of the profile's group
of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run

SUITE = ("ood", "ood_limit")


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: as on the command line and in the manifest.
        needs: the stage that it goes on from; none for the first.
        settings: fields of the experiment that its result depends on and the run's key does not.
        everywhere: whether it is done for every run.
    """

    name: str
    needs: str
    settings: tuple[str, ...]
    everywhere: bool = False


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("distill", "", (), everywhere=True),
        Stage("evaluate", "distill", SUITE, everywhere=True),
        Stage("course", "distill", SUITE),
        Stage("transfer", "evaluate", (*SUITE, "networks")),
        Stage("detectors", "evaluate", SUITE),
    )
}
#: stages of every run, in order
MAIN_STAGES = tuple(name for name, stage in STAGES.items() if stage.everywhere)
#: stages of the runs of a group of the same name
FURTHER_STAGES = tuple(name for name, stage in STAGES.items() if not stage.everywhere)


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
    values = experiment.to_dict()
    return {field: values[field] for field in STAGES[name].settings}


def finished(run: Run, name: str) -> bool:
    """Tell whether a stage is recorded, its files are there, and its settings are today's."""
    recorded = run.manifest().get(check_stage(name), {}).get("settings") or {}
    return run.done(name) and recorded == stage_settings(name, run.experiment)


def begun_from(name: str) -> tuple[str, ...]:
    """Return a stage and all stages that go on from it, directly or not."""
    found = [check_stage(name)]
    for other, stage in STAGES.items():
        if stage.needs in found:
            found.append(other)
    return tuple(found)
