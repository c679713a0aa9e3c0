"""Whether this machine can do what an experiment asks for, found out before anything is written."""

from __future__ import annotations

from trustdd.settings.demand import check_memory
from trustdd.settings.experiment import Experiment


def check_machine(experiment: Experiment) -> None:
    """Refuse an experiment that this machine has not the memory or the device for.

    Raises:
        ValueError: which, and what there is.
    """
    check_memory(experiment)
    if experiment.device.startswith("cuda"):
        # asks torch, whose import takes seconds
        from trustdd.students.training import resolve_device

        resolve_device(experiment.device)
