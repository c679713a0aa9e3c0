"""A set's measures, seed by seed, and what it gains over random images and random outliers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trustdd.pipeline.arms import (
    HARD,
    OTHER,
    OWN,
    RANDOM,
    RANDOM_BOTH,
    RANDOM_OTHER,
    WITH_OWN,
    WITH_RANDOM,
)
from trustdd.report import dd_ranking
from trustdd.report.analysis.classes import balanced_accuracy
from trustdd.report.comparison import Difference, difference
from trustdd.report.primary import measured as primary_measures
from trustdd.report.primary import primary_of
from trustdd.report.results import arrays
from trustdd.store.run import Run

if TYPE_CHECKING:
    from trustdd.pipeline.set_evaluation import MeasuredSet

#: measures of a set's students, as columns
MEASURES = ("accuracy", "balanced", "natural", "near", "far", "fpr95")


@dataclass(frozen=True)
class Gain:
    """One comparison of the gains table.

    Attributes:
        measure: ``"accuracy"`` or ``"natural"``.
        name: what it is called.
        what: of what against what.
        gap: the difference, paired by seed; ``None`` of a score.
        score: value and 95% interval of a score from 0 to 100.
    """

    measure: str
    name: str
    what: str
    gap: Difference | None = None
    score: tuple[float, float, float] | None = None


def measures(found: MeasuredSet) -> pd.DataFrame:
    """Return a row per arm and seed.

    Returns:
        `arm`, `outliers`, `seed`, and in [0, 1] `accuracy`, `balanced` (mean over classes), mean
        AUROC of MSP over the OOD sets without noise (`natural`) and over those `near` and `far`,
        and `fpr95` over the whole suite.
    """
    frames = []
    for arm, runs in found.arms.items():
        frame = primary_measures(runs, primary_of(runs))
        frame["balanced"] = [_balanced(run) for run in runs]
        frames.append(frame.assign(arm=arm))
    kept = ["arm", "outliers", "seed", *MEASURES]
    return pd.concat(frames, ignore_index=True)[kept]


def _balanced(run: Run) -> float:
    stored = arrays(run, "logits.safetensors")
    return balanced_accuracy(stored["in"], stored["in_labels"])


def gains(found: MeasuredSet) -> list[Gain]:
    """Every comparison, in the order of the table."""
    frame = measures(found)
    return [*_accuracy_gains(found, frame), *_detection_gains(found, frame)]


def _accuracy_gains(found: MeasuredSet, frame: pd.DataFrame) -> Iterator[Gain]:
    if RANDOM in found.arms:
        yield from _ranking_gains(found, frame)
    for name, treatment in (("its outliers", WITH_OWN), ("random outliers", WITH_RANDOM)):
        if treatment in found.arms:
            gap = _values(frame, treatment, "accuracy") - _values(frame, OWN, "accuracy")
            what = f"{treatment} − {OWN}"
            yield Gain("accuracy", f"{name}, over none", what, difference(gap))


def _ranking_gains(found: MeasuredSet, frame: pd.DataFrame) -> Iterator[Gain]:
    own = _values(frame, OWN, "accuracy")
    random = _values(frame, RANDOM, "accuracy")
    ior = own - random
    same = "same labels and augmentation"
    yield Gain("accuracy", "IOR", f"the set − random images, {same}", difference(ior))
    if found.real is None or OTHER.format(found.other) not in found.arms:
        return
    hard_arm = HARD if HARD in found.arms else OWN
    real = float(found.real.read_frame("report.csv")["accuracy"].iloc[0])
    hlr = real - _values(frame, hard_arm, "accuracy")
    yield Gain("accuracy", "HLR", "the whole training set − the set, hard labels", difference(hlr))
    alpha = difference(dd_ranking.WEIGHT * ior - (1 - dd_ranking.WEIGHT) * hlr)
    yield Gain("accuracy", "LRS", "from IOR and HLR", score=_scaled(alpha))
    how = found.other
    gap = _values(frame, OTHER.format(how), "accuracy")
    gap = gap - _values(frame, RANDOM_OTHER.format(how), "accuracy")
    yield Gain("accuracy", f"IOR, {how}", "the set − random images", difference(gap))
    joint = difference(dd_ranking.WEIGHT * ior + (1 - dd_ranking.WEIGHT) * gap)
    yield Gain("accuracy", "ARS", "from IOR with and without augmentation", score=_scaled(joint))


#: name, treatment, control
_DETECTION = (
    ("over random images", OWN, RANDOM),
    ("with its outliers, over random images and outliers", WITH_OWN,
     RANDOM_BOTH),
    ("its outliers, over random ones beside the same images", WITH_OWN,
     WITH_RANDOM),
    ("its outliers, over none", WITH_OWN, OWN),
    ("random outliers, over none", WITH_RANDOM, OWN),
    ("with random outliers, over random images and outliers", WITH_RANDOM,
     RANDOM_BOTH),
    ("random outliers beside random images, over none", RANDOM_BOTH,
     RANDOM),
)  # fmt: skip


def _detection_gains(found: MeasuredSet, frame: pd.DataFrame) -> Iterator[Gain]:
    for name, treatment, control in _DETECTION:
        if treatment in found.arms and control in found.arms:
            gap = _values(frame, treatment, "natural") - _values(frame, control, "natural")
            yield Gain("natural", name, f"{treatment} − {control}", difference(gap))


def _values(frame: pd.DataFrame, arm: str, measure: str) -> np.ndarray:
    return frame[frame["arm"] == arm].sort_values("seed")[measure].to_numpy(dtype=float)


def _scaled(alpha: Difference) -> tuple[float, float, float]:
    return tuple(dd_ranking.scaled(v) for v in (alpha.mean, alpha.low, alpha.high))  # type: ignore[return-value]
