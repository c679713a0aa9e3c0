"""Trustworthy dataset distillation: distil a tiny training set and a tiny set of outliers.

A network trained on the two classifies *and* rejects out-of-distribution inputs. The public
names below are imported when first used, so that ``import trustdd`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Experiment": "experiment",
    "load_profile": "profiles",
    "DistilledSet": "distillation",
    "distill": "distillation",
    "load_distilled": "distillation",
    "train_student": "training",
    "detect": "detection",
    "complete": "stages",
    "complete_all": "stages",
}
_MODULES = (
    "augmentation", "corruptions", "defaults", "detection", "distillation", "experiment",
    "experts", "export", "figures", "gradient_matching", "inliers", "losses", "metrics",
    "networks", "ood", "outliers", "pipeline", "profiles", "randomness", "results", "scores",
    "store", "tables", "training", "trajectory_matching", "whitening",
)  # fmt: skip

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from trustdd.detection import detect as detect
    from trustdd.distillation import DistilledSet as DistilledSet
    from trustdd.distillation import distill as distill
    from trustdd.distillation import load_distilled as load_distilled
    from trustdd.experiment import Experiment as Experiment
    from trustdd.profiles import load_profile as load_profile
    from trustdd.stages import complete as complete
    from trustdd.stages import complete_all as complete_all
    from trustdd.training import train_student as train_student


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"trustdd.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"trustdd.{name}")
    raise AttributeError(f"module 'trustdd' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})
