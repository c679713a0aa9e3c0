"""The primary measures: mean AUROC over a suite's near and over its far OOD sets, each by itself.

A profile names them before its runs (``primary:``, see `trustdd.store.profiles.Primary`). Where it
does not, near are the sets that share the InD set's kind of content (`NEAR_OOD`) and far are the
others, without noise: a corruption of pseudo-outlier exposure *is* noise, so that rejecting noise
says little about it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.results import NEAR_OOD, SCORE, per_run, profile_of, reports
from trustdd.settings.errors import BadInput
from trustdd.store.profiles import Primary, load_profile
from trustdd.store.run import Run

#: sets that are shown and enter no verdict
NOISE = ("gaussian", "uniform")


def primary_of(runs: Sequence[Run]) -> Primary:
    """Return the primary measures of the profile that runs belong to.

    Sets that the runs were not tested on are left out, and one side may then be empty.
    """
    suite = [name for name in runs[0].experiment.ood if name not in NOISE]
    try:
        named = load_profile(profile_of(runs)).primary
    except BadInput:  # a profile of somebody's own, by its file
        named = None
    if named is not None:
        near, far = ([n for n in suite if n in sets] for sets in (named.near, named.far))
        return Primary(named.score, tuple(near), tuple(far))
    known = NEAR_OOD.get(runs[0].experiment.dataset, ())
    near = [name for name in suite if name in known]
    return Primary(SCORE, tuple(near), tuple(n for n in suite if n not in known))


def measured(
    runs: Sequence[Run],
    primary: Primary,
    name: str = "report.csv",
    also: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a row per run with the primary measures.

    Args:
        runs: finished runs.
        primary: which sets and score.
        name: which of the runs' reports.
        also: columns of it whose values stay apart, e.g. ``["network"]``.

    Returns:
        The rows of `trustdd.report.results.per_run`, and `near`, `far` and `natural` (over near and
        far sets together): mean AUROC in [0, 1], NaN where a side has no sets.
    """
    frame = reports(runs, name)
    if "score" not in also:
        frame = frame[frame["score"] == primary.score].assign(score=SCORE)
    keys = ["key", *also]
    found = per_run(frame, also)
    for side, sets in (
        ("near", primary.near), ("far", primary.far), ("natural", (*primary.near, *primary.far)),
    ):  # fmt: skip
        chosen = frame[frame["ood"].isin(sets)]
        means = chosen.groupby(keys, sort=False)["auroc"].mean().rename(side).reset_index()
        found = found.merge(means, on=keys, how="left")
    return found
