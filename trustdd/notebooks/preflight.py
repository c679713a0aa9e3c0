"""What a notebook's parameters ask for, tried out before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trustdd.notebooks.parameters import Parameter
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


def profile_values(parameters: Mapping[str, Parameter], profile: Profile) -> dict[str, Any]:
    """Return the parameters that a profile sets: those of its main experiments.

    A notebook is written with the `quick` profile's dataset, IPC and seeds as defaults; under
    another profile it shows that one's. A field with several values in the main group sets a
    list-valued parameter (``seeds``) to all, a plain one to the first, unless its default is
    among them. A notebook on another method than the main group's takes the first group of its
    own method.

    Args:
        parameters: of the notebook.
        profile: the profile that it will run under.

    Returns:
        Values by parameter name, those equal to the default left out.
    """
    main = _shown_group(parameters, profile)
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


def _shown_group(parameters: Mapping[str, Parameter], profile: Profile) -> Sequence[Experiment]:
    """The main group, or the first one that holds the method that a notebook is written for."""
    main = profile.groups.get(MAIN_GROUP, ())
    method = parameters["method"].default if "method" in parameters else None
    groups = (main, *profile.groups.values())
    return next((g for g in groups if any(e.method == method for e in g)), main)


def check_experiments(
    parameters: Mapping[str, Parameter],
    values: Mapping[str, Any],
    profile: Profile,
    *,
    data: bool = True,
) -> list[Experiment]:
    """Make every experiment that the parameters describe, and look for its data.

    A parameter that is named like a field of `Experiment`, or like its plural with a list of
    values (``seeds``, ``outlier_modes``), sets that field. One left at an empty default (``""``,
    ``0``, ``[]``, ``None``) is unset.

    Args:
        parameters: of the notebook.
        values: given for them, already checked for type.
        profile: the profile that it will run under.
        data: also check that datasets, OOD sets and outlier pool can be read, of experiments
            whose runs are not finished.

    Returns:
        The experiments.

    Raises:
        ValueError: a value is impossible, or data is not there; named in one line.
    """
    axes = _axes(parameters, values)
    if not axes:
        return []
    experiments = [
        profile.experiment(**dict(zip(axes, cell, strict=True)))
        for cell in itertools.product(*axes.values())
    ]
    if data:
        from trustdd.data.inliers import check_inliers
        from trustdd.data.ood import check_ood

        # finished runs are read as they are, wherever their data may be
        waiting = [e for e in experiments if not _finished(e, profile)]
        # what is read from disk does not depend on the seed or the method
        for experiment in {_reads(e): e for e in waiting}.values():
            check_inliers(experiment)
            check_ood(experiment)
    return experiments


def _axes(
    parameters: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, tuple[Any, ...]]:
    """Field → the values that the parameters give it."""
    axes: dict[str, tuple[Any, ...]] = {}
    for name, parameter in parameters.items():
        field = SEVERAL.get(name, name)
        if field not in FIELD_NAMES:
            field = name.removesuffix("s")
        if field not in FIELD_NAMES:
            continue
        value = values.get(name, parameter.default)
        if value in ("", None, []) or (name not in values and not value):
            continue
        several = isinstance(value, list) and field not in LIST_FIELDS
        # `outliers` and `compared_with` give values of one field
        found = (*axes.get(field, ()), *(value if several else [value]))
        axes[field] = found if field in LIST_FIELDS else tuple(dict.fromkeys(found))
    return axes


def _finished(experiment: Experiment, profile: Profile) -> bool:
    run = Run.of(experiment, profile.name)
    return all(run.finished(stage) for stage in MAIN_STAGES)


def _reads(experiment: Experiment) -> tuple[Any, ...]:
    return (
        experiment.dataset, experiment.data_root, experiment.image_size, experiment.outliers,
        experiment.outlier_pool, experiment.ood,
    )  # fmt: skip
