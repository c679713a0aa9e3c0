"""What a notebook's parameters ask for, tried out before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trustdd.notebooks.parameters import Makes, Parameter, changed_by
from trustdd.pipeline.machine import check_machine
from trustdd.settings.errors import BadInput
from trustdd.store.files import results_root
from trustdd.store.profile_files import LIST_FIELDS
from trustdd.store.profiles import FIELD_NAMES, Profile
from trustdd.store.run import Run
from trustdd.store.stages import MAIN_STAGES

if TYPE_CHECKING:
    from trustdd.settings.experiment import Experiment

#: parameters that list values of a field under another name than the field's plural
SEVERAL = {
    "outlier_modes": "outliers", "compared_with": "outliers", "compared_methods": "method",
}  # fmt: skip
#: what a page under another profile takes from that profile's main experiments
MAIN_GROUP = "main"
MAIN_FIELDS = ("dataset", "data_root", "method", "ipc", "seed")


EVERY_RUN = Makes()


def profile_values(
    parameters: Mapping[str, Parameter], profile: Profile, given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the parameters that a profile sets: those of its main experiments.

    A notebook is written with the `quick` profile's dataset, IPC and seeds as defaults; under
    another profile it shows that one's. A field with several values in the main group sets a
    list-valued parameter (``seeds``) to all, a plain one to the first, unless its default is
    among them. A notebook on another method than the main group's takes the first group of its
    own method, or of one that it takes.

    Args:
        parameters: of the notebook.
        profile: the profile that it will run under.
        given: values that the caller gives; a `method` among them is the one to look for.

    Returns:
        Values by parameter name, those equal to the default left out.

    Raises:
        ValueError: the profile has no experiments by a method that the notebook takes.
    """
    main = _shown_experiments(parameters, profile, given or {})
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        field = name if name in FIELD_NAMES else name.removesuffix("s")
        found = list(dict.fromkeys(getattr(e, field) for e in main if field in MAIN_FIELDS))
        value: Any = None
        if parameter.kind == "list":
            value = found
        elif parameter.default in found:
            value = parameter.default
        elif found:
            value = found[0]
        if value not in (None, [], parameter.default):
            values[name] = value
    return values


def _shown_experiments(
    parameters: Mapping[str, Parameter], profile: Profile, given: Mapping[str, Any]
) -> Sequence[Experiment]:
    """The main group's, or those of the first group of a method that the notebook takes."""
    main = profile.groups.get(MAIN_GROUP, ())
    if "method" not in parameters:
        return main
    method = parameters["method"]
    wanted = [given["method"]] if "method" in given else [method.default, *method.allowed]
    for one in wanted:
        for group in (main, *profile.groups.values()):
            if found := [e for e in group if e.method == one]:
                return found
    if "method" in given or not method.allowed or not main:
        return main
    raise BadInput(
        f"profile '{profile.name}' has no experiments by {' or '.join(method.allowed)}, which this "
        f"notebook is about; expected another profile, or -p method={method.default}"
    )


def check_experiments(
    parameters: Mapping[str, Parameter],
    values: Mapping[str, Any],
    profile: Profile,
    *,
    makes: Makes = EVERY_RUN,
    data: bool = True,
) -> list[Experiment]:
    """Make every experiment that a notebook will ask for, and look for what it needs.

    A parameter that is named like a field of `Experiment`, or like its plural with a list of
    values (``seeds``, ``outlier_modes``), sets that field. One whose default is empty (``""``,
    ``0``, ``[]``, ``None``) is unset where it is left so.

    Args:
        parameters: of the notebook.
        values: given for them, already checked for type.
        profile: the profile that it will run under.
        makes: which experiments those are.
        data: also check, of experiments whose runs are not finished, that the machine has the
            memory and the device, and that datasets, OOD sets and outlier pool can be read.

    Returns:
        The experiments.

    Raises:
        ValueError: a value is impossible, or something is not there; named in one line.
    """
    axes = _axes(parameters, values)
    if not axes:
        return []
    described = [dict(zip(axes, cell, strict=True)) for cell in itertools.product(*axes.values())]
    experiments: dict[Experiment, None] = {}
    for given in described:
        experiment = profile.experiment(**given)
        for change in makes.changes:
            made = profile.experiment(**{**given, **changed_by(experiment, change)})
            experiments.setdefault(made)
    if data:
        check_readiness([e for e in experiments if not finished(e, profile)])
    return list(experiments)


def check_readiness(experiments: Sequence[Experiment]) -> None:
    """Check that this machine can do experiments, and that their data is there.

    Raises:
        ValueError: what is not there.
    """
    from trustdd.data.inliers import check_inliers
    from trustdd.data.ood import check_ood

    # memory first: of digits, looking at the data is loading it at the size asked for
    for experiment in experiments:
        check_machine(experiment)
    # what is read from disk does not depend on the seed or the method
    for experiment in {_reads(e): e for e in experiments}.values():
        check_inliers(experiment)
        check_ood(experiment)


def _axes(parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Field → the values that the parameters give it."""
    axes: dict[str, list[Any]] = {}
    for name, parameter in parameters.items():
        field = _field(name)
        if field is None:
            continue
        value = values.get(name, parameter.default)
        if value is None or (not value and value == parameter.default):
            continue
        if isinstance(value, list) and field not in LIST_FIELDS:
            axes.setdefault(field, []).extend(v for v in value if v not in axes.get(field, []))
        else:
            # `outliers` and `compared_with` give values of one field
            axes.setdefault(field, []).extend([value] if value not in axes.get(field, []) else [])
    for field, found in axes.items():
        if not found:
            names = [n for n in parameters if _field(n) == field]
            raise BadInput(f"parameter '{names[0]}' is an empty list; expected at least one value")
    return axes


def _field(name: str) -> str | None:
    """The field of an experiment that a parameter sets, if it sets one."""
    candidates = (SEVERAL.get(name, name), name.removesuffix("s"))
    return next((field for field in candidates if field in FIELD_NAMES), None)


def finished(experiment: Experiment, profile: Profile) -> bool:
    """Tell whether an experiment's run is done: it is read as it is, wherever its data may be."""
    run = Run.of(experiment, profile.name)
    return all(run.finished(stage) for stage in MAIN_STAGES)


def experts_trained(experiment: Experiment, profile: Profile) -> bool:
    """Tell whether an experiment's experts are all trained as far as they are read."""
    # reads snapshots, which takes torch
    from trustdd.store.expert_store import (
        expert_path,
        experts_directory,
        experts_source,
        trained_epochs,
    )  # fmt: skip

    folder = experts_directory(experiment, results_root() / profile.name)
    source = experts_source(experiment)
    wanted = range(experiment.experts) if folder.is_dir() else ()
    trained = [trained_epochs(expert_path(folder, index), source) for index in wanted]
    return bool(trained) and min(trained) >= experiment.expert_length


def _reads(experiment: Experiment) -> tuple[Any, ...]:
    return (
        experiment.dataset, experiment.data_root, experiment.image_size, experiment.outliers,
        experiment.outlier_pool, experiment.ood, experiment.ipc,
    )  # fmt: skip
