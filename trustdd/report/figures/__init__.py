"""Every figure of the catalogue, each a function of stored runs.

``FIGURES.entries`` lists them; `make` draws one, `show` draws, exports and displays one.
"""

from __future__ import annotations

from trustdd.report.catalogue import OF_RUNS, REPORTED, Catalogue, Entry
from trustdd.report.export import MadeFigure

LOGITS = ("report.csv", "logits.safetensors")
SETS = ("distilled.safetensors", "initial.safetensors")
BOTH = ("auroc", "accuracy")

FIGURES: Catalogue[MadeFigure] = Catalogue(
    "figure",
    __name__,
    [
        Entry("fig01", "One OOD image, seen by each student", ("main",),
              "notebooks/03_detection", "overview:fig01",
              files=(*LOGITS, "samples.safetensors"), options=("ood", *OF_RUNS)),
        Entry("fig02", "Confidence on InD and OOD images", ("main",),
              "notebooks/03_detection", "detection:fig02", files=LOGITS, options=REPORTED),
        Entry("fig03", "The corruptions of pseudo-outlier exposure", ("main",),
              "notebooks/01_data_and_outliers", "pictures:fig03", files=(), data=True, options=()),
        Entry("fig04", "InD accuracy", ("main",), "notebooks/04_rationale", "rationale:fig04",
              also=("dm", "mtt", "random_images", "full_data")),
        Entry("fig05", "Equal budget, and random against distilled outliers",
              ("main", "equal_budget", "random_outliers"), "notebooks/04_rationale",
              "rationale:fig05", options=REPORTED, metrics=BOTH),
        Entry("fig06", "The framework", (), "book/method", "overview:fig06", files=(), options=()),
        Entry("fig07", "The synthetic set, initial and distilled", ("main",),
              "notebooks/02_gradient_matching", "pictures:fig07", files=SETS),
        Entry("fig08", "The synthetic outliers, initial and distilled", ("main",),
              "notebooks/02_gradient_matching", "pictures:fig08", files=SETS),
        Entry("fig09", "Accuracy and AUROC along distillation", ("course",),
              "book/ablations", "course:fig09",
              files=("report.csv", "snapshots.csv"), options=REPORTED, metrics=BOTH),
        Entry("fig10", "Matching losses", ("main",),
              "notebooks/02_gradient_matching", "course:fig10", files=("curves.csv",)),
        Entry("fig11", "Outlier weight", ("main", "ablation_weight"), "book/ablations",
              "ablations:fig11", options=REPORTED, metrics=BOTH),
        Entry("fig12", "Images per class", ("main", "ablation_ipc"), "book/ablations",
              "ablations:fig12", options=REPORTED, metrics=BOTH),
        Entry("fig13", "Size of the outlier set", ("main", "ablation_budget"), "book/ablations",
              "ablations:fig13", options=REPORTED, metrics=BOTH),
        Entry("fig14", "Corruptions", ("main", "ablation_corruptions"), "book/ablations",
              "ablations:fig14", options=REPORTED),
        Entry("fig15", "ROC and precision–recall curves", ("main",),
              "notebooks/03_detection", "detection:fig15", files=LOGITS, options=REPORTED),
        Entry("fig16", "Detection scores compared", ("main",),
              "notebooks/03_detection", "detection:fig16", optional=("detectors.csv",),
              options=("metric", "ood", *OF_RUNS)),
        Entry("fig17", "Transfer to other architectures", ("transfer",), "book/generality",
              "generality:fig17", files=("transfer.csv",), options=REPORTED, metrics=BOTH),
        Entry("fig18", "Features of InD and OOD images", ("main",), "book/generality",
              "generality:fig18", files=("features.safetensors",), options=("ood", *OF_RUNS)),
        Entry("fig19", "Calibration and selective risk", ("main",), "book/generality",
              "reliability:fig19", files=LOGITS, options=("score", "ood", *OF_RUNS)),
        Entry("fig20", "What distillation buys", ("main", "random_images", "full_data"),
              "book/generality", "reliability:fig20", options=REPORTED),
        Entry("fig21", "Expert trajectories: accuracy and distance travelled", ("mtt",),
              "notebooks/05_experts", "trajectories:fig21", files=(), methods=("mtt",),
              experts=True),
    ],
)  # fmt: skip

make = FIGURES.make
show = FIGURES.show
