"""Every figure of the catalogue, each a function of stored runs.

``FIGURES.entries`` lists them; `make` draws one, `show` draws, exports and displays one.
"""

from __future__ import annotations

from trustdd.catalogue import Catalogue, Entry
from trustdd.export import MadeFigure

LOGITS = ("report.csv", "logits.safetensors")
SETS = ("distilled.safetensors", "initial.safetensors")

FIGURES: Catalogue[MadeFigure] = Catalogue(
    "figure",
    __name__,
    [
        Entry("fig01", "One OOD image, seen by each student", ("main",),
              "notebooks/03_detection", "overview:fig01", files=LOGITS),
        Entry("fig02", "Confidence on InD and OOD images", ("main",),
              "notebooks/03_detection", "detection:fig02", files=LOGITS),
        Entry("fig03", "The corruptions of pseudo-outlier exposure", ("main",),
              "notebooks/01_data_and_outliers", "pictures:fig03", files=()),
        Entry("fig04", "InD accuracy", ("main",), "notebooks/04_rationale", "rationale:fig04",
              also=("mtt", "random_images", "full_data")),
        Entry("fig05", "Equal budget, and random against distilled outliers",
              ("main", "equal_budget", "random_outliers"), "notebooks/04_rationale",
              "rationale:fig05"),
        Entry("fig06", "The framework", (), "book/method", "overview:fig06", files=()),
        Entry("fig07", "The synthetic set, initial and distilled", ("main",),
              "notebooks/02_gradient_matching", "pictures:fig07", files=SETS),
        Entry("fig08", "The synthetic outliers, initial and distilled", ("main",),
              "notebooks/02_gradient_matching", "pictures:fig08", files=SETS),
        Entry("fig09", "Accuracy and AUROC along distillation", ("main",),
              "notebooks/02_gradient_matching", "course:fig09",
              files=("report.csv", "snapshots.csv")),
        Entry("fig10", "Matching losses", ("main",),
              "notebooks/02_gradient_matching", "course:fig10", files=("curves.csv",)),
        Entry("fig15", "ROC and precision–recall curves", ("main",),
              "notebooks/03_detection", "detection:fig15", files=LOGITS),
        Entry("fig16", "Detection scores compared", ("main",),
              "notebooks/03_detection", "detection:fig16"),
    ],
)  # fmt: skip

make = FIGURES.make
show = FIGURES.show
