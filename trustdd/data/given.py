"""A given set: read as it was when the experiment was made, and put back with outliers beside it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from trustdd.data.distilled_set import DistilledSet, load_distilled
from trustdd.data.feeding import restated
from trustdd.data.inputs import input_statistics, whitens
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.settings.given import given_hash


def read_given(experiment: Experiment) -> DistilledSet:
    """Read an experiment's given set.

    Raises:
        ValueError: the file is not known here, has changed since the experiment was made, is no
            distilled set, or is one of another data set, size, or whitening than the experiment's.
    """
    if experiment.given is None:
        raise BadInput(
            f"{experiment.key}: the given set's file is not recorded; expected given, the path of "
            f"the file whose SHA-256 is {experiment.given_sha256[:12]}…"
        )
    if given_hash(experiment.given) != experiment.given_sha256:
        raise BadInput(
            f"given '{experiment.given}' has changed since the experiment was made; expected the "
            f"file whose SHA-256 is {experiment.given_sha256[:12]}…"
        )
    given = load_distilled(experiment.given)
    own = given.experiment
    for name in ("dataset", "image_size"):
        if getattr(own, name) != getattr(experiment, name):
            raise BadInput(
                f"{name} {getattr(experiment, name)!r}; the given set '{experiment.given}' is of "
                f"{getattr(own, name)!r}"
            )
    if whitens(own) != whitens(experiment):
        raise BadInput(
            f"zca {str(experiment.zca).lower()}; the given set '{experiment.given}' is "
            f"{'' if whitens(own) else 'not '}whitened"
        )
    if experiment.outlier_selection == "given" and given.outliers is None:
        raise BadInput(
            f"outlier_selection 'given'; the given set '{experiment.given}' has no outliers, "
            "expected distilled or random"
        )
    return given


def with_outliers(
    given: DistilledSet, outliers: Tensor | None, experiment: Experiment
) -> DistilledSet:
    """Put outliers beside a given set, whose images stay as they are, bit for bit.

    Args:
        given: the set, as it is stored.
        outliers: ``[m, c, h, w]`` as the experiment's networks are fed them, or ``None``.
        experiment: that made the outliers, or takes over the set's own.
    """
    if experiment.outlier_selection == "given":
        outliers = given.outliers
    elif outliers is not None and not whitens(experiment):
        outliers = restated(outliers, input_statistics(experiment), (given.mean, given.std))
    return replace(given, outliers=outliers, experiment=experiment, whitened=None)
