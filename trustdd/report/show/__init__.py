"""What notebook cells show beside the catalogue: findings, rows of images, reports.

Pictures carry alt text; without it nothing is shown.
"""

from __future__ import annotations

from trustdd.report.show.data import data_finding, drawn_outliers, if_present, inliers, ood_suite
from trustdd.report.show.display import finding, images, picture, table
from trustdd.report.show.distilled import distillation_finding, settings
from trustdd.report.show.reports import (
    against_random,
    by_set,
    detection,
    detection_finding,
    rationale_finding,
)
from trustdd.report.show.side_by_side import (
    method_differences,
    methods,
    methods_finding,
    outlier_gains,
)
from trustdd.report.show.trajectories import (
    exactness,
    expert_confidence,
    experts_finding,
    snapshots,
    student_lr,
    trajectory_finding,
)

__all__ = [
    "against_random",
    "by_set",
    "data_finding",
    "detection",
    "detection_finding",
    "distillation_finding",
    "drawn_outliers",
    "exactness",
    "expert_confidence",
    "experts_finding",
    "finding",
    "if_present",
    "images",
    "inliers",
    "method_differences",
    "methods",
    "methods_finding",
    "ood_suite",
    "outlier_gains",
    "picture",
    "rationale_finding",
    "settings",
    "snapshots",
    "student_lr",
    "table",
    "trajectory_finding",
]
