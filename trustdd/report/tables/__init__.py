"""Every table of the catalogue, each a function of stored runs.

``TABLES.entries`` lists them; `make` makes one, `show` makes, exports and displays one.
"""

from __future__ import annotations

from trustdd.report.catalogue import OF_RUNS, REPORTED, Catalogue, Entry
from trustdd.report.export import MadeTable

MATCHING = ("dc", "dsa")
PER_SET = ("auroc", "fpr95")

TABLES: Catalogue[MadeTable] = Catalogue(
    "table",
    __name__,
    [
        Entry("tab01", "Datasets and OOD suites", ("main",), "book/datasets",
              "setup:tab01", also=("*",), data=True, options=()),
        Entry("tab02", "Settings of every experiment", ("main",), "book/reproduce",
              "setup:tab02", also=("*",), files=(), options=()),
        Entry("tab03", "Gradient matching, main result", ("main",), "notebooks/03_detection",
              "detection:tab03", also=("ablation_ipc",), methods=MATCHING,
              options=REPORTED, metrics=PER_SET),
        Entry("tab04", "Trajectory matching, main result", ("mtt",),
              "notebooks/06_trajectory_matching", "detection:tab04", methods=("mtt",),
              options=REPORTED, metrics=PER_SET),
        Entry("tab05", "Digits", ("main",), "book/datasets", "detection:tab05",
              also=("dm", "mtt", "random_images", "full_data"), datasets=("digits",),
              options=REPORTED, metrics=("accuracy", "auroc", "aupr_in", "aupr_out", "fpr95")),
        Entry("tab06", "ImageNet subset at 128 px", ("main",), "book/datasets",
              "detection:tab06", datasets=("imagenette",), options=REPORTED, metrics=PER_SET),
        Entry("tab07", "InD accuracy", ("main",), "notebooks/04_rationale", "rationale:tab07",
              also=("dm", "mtt", "ablation_ipc", "random_images", "full_data")),
        Entry("tab08", "Random against distilled outliers, equal budget",
              ("main", "equal_budget", "random_outliers"), "notebooks/04_rationale",
              "rationale:tab08", also=("random_images",), options=REPORTED,
              metrics=("accuracy", "auroc", "aupr_in", "fpr95")),
        Entry("tab09", "Corruption ablation", ("main", "ablation_corruptions"), "book/ablations",
              "ablations:tab09", options=REPORTED),
        Entry("tab10", "Outlier weight and outlier budget",
              ("main", "ablation_weight", "ablation_budget"), "book/ablations",
              "ablations:tab10", options=REPORTED, metrics=("auroc", "accuracy")),
        Entry("tab11", "Detection scores", ("main",), "notebooks/03_detection",
              "detection:tab11", optional=("detectors.csv",),
              options=("metric", "ood", *OF_RUNS), metrics=PER_SET),
        Entry("tab12", "Transfer to other architectures", ("transfer",), "book/generality",
              "trust:tab12", files=("transfer.csv",), options=REPORTED,
              metrics=("accuracy", "auroc")),
        Entry("tab13", "Calibration and selective risk", ("main",), "book/generality",
              "trust:tab13", files=("report.csv", "logits.safetensors"),
              options=("score", "ood", *OF_RUNS)),
        Entry("tab14", "Cost: time, memory, storage", ("main", "random_images", "full_data"),
              "book/generality", "trust:tab14", options=REPORTED),
        Entry("tab15", "The ledger of the paper's claims", ("main",), "book/ledger",
              "ledger:tab15", also=("*",), partial=True,
              optional=("transfer.csv", "detectors.csv", "logits.safetensors"), options=("seeds",)),
    ],
)  # fmt: skip

make = TABLES.make
show = TABLES.show
