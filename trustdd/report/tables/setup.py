"""What the experiments are run on and with: datasets and suites (tab01), settings (tab02)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from trustdd.report.analysis.datasets import dataset_facts
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Code, Column, Row, Section
from trustdd.report.naming import METHODS, listed, ood_name
from trustdd.report.results import NEAR_OOD
from trustdd.report.view import View
from trustdd.settings.experiment import EVALUATION_FIELDS, PLACE_FIELDS, Experiment
from trustdd.store.run import Run


def tab01(view: View) -> MadeTable:
    """Each InD dataset with its OOD test sets and its outlier pool."""
    by_dataset: dict[str, list[Run]] = {}
    for run in view:
        by_dataset.setdefault(run.experiment.dataset, []).append(run)
    rows: list[Row] = []
    table: list[dict[str, Any]] = []
    findings = []
    counts: dict[str, int] = {}
    for dataset, members in by_dataset.items():
        facts = dataset_facts(members)
        size = f"{facts.image_size} × {facts.image_size}"
        pixels = f"{size} × {facts.channels}" if facts.channels > 1 else f"{size}, grey"
        rows.append(Section(f"{dataset}: {facts.classes} classes, {pixels} px"))
        near = NEAR_OOD.get(dataset, ())
        entries = [("InD, training", dataset, facts.training), ("InD, test", dataset, facts.test)]
        entries += [
            (f"{'near' if name in near else 'far'}-OOD", ood_name(name), count)
            for name, count in facts.ood.items()
        ]
        entries += [("outlier pool (OE)", ood_name(n), count) for n, count in facts.pools.items()]
        for role, name, count in entries:
            rows.append((role, name, f"{count:,}"))
            table.append({"dataset": dataset, "role": role, "name": name, "images": count})
        counts[dataset] = len(facts.ood)
        findings.append(
            f"{dataset} with {facts.training:,} training images, {len(facts.ood)} OOD sets"
        )
    finding = f"Datasets: {listed(findings)}"
    caption = (
        "Images of each set as the experiments use it, at the InD images' size and channels; "
        " an OOD set may be a subset that every student shares. No outlier pool "
        "shares an image with a test set."
    )
    columns = (Column("used as"), Column("images of"), Column("number", "", True))
    data = pd.DataFrame(table)
    quoted: dict[str, float] = {f"OOD sets of {name}": n for name, n in counts.items()}
    return MadeTable(columns, tuple(rows), data, caption, finding, view.runs, quoted)


#: settings that are the same thing said twice, or vary by design in every group
_LEFT_OUT = (*PLACE_FIELDS, *EVALUATION_FIELDS, "dataset", "method", "seed")
#: a setting of one method alone means nothing for the other
_TRAJECTORY = (
    "experts", "max_start_epoch", "expert_epochs", "expert_lr", "expert_batch",
    "expert_augmentation", "student_steps", "student_lr", "lr_student_lr", "synthetic_batch", "zca",
)  # fmt: skip
_MATCHING = ("outer_loops", "inner_loops", "real_batch", "metric", "lr_network", "network_batch")


def tab02(view: View) -> MadeTable:
    """Every setting of every experiment, a column a dataset and method; a list where it varies."""
    columns: dict[tuple[str, str], list[Experiment]] = {}
    for run in view:
        e = run.experiment
        columns.setdefault((e.dataset, e.method), []).append(e)
    names = [f.name for f in fields(Experiment) if f.name not in _LEFT_OUT]
    rows: list[Row] = []
    table: list[dict[str, Any]] = []
    for name in names:
        cells: list[Cell] = [Code(name)]
        for (dataset, method), experiments in columns.items():
            values = _values(name, method, experiments)
            cells.append("; ".join(values) if values else "–")
            table.append(
                {"setting": name, "dataset": dataset, "method": method, "value": "; ".join(values)}
            )
        if any(cell != "–" for cell in cells[1:]):
            rows.append(tuple(cells))
    seeds = view.seeds
    finding = f"{len(view)} experiments, seeds {listed([str(s) for s in seeds])}"
    caption = (
        "Every setting, resolved; where the experiments differ, all values. "
        "– : plays no part in the method. What each setting means stands in the reference of "
        "Experiment."
    )
    heads = [Column("setting")]
    heads += [Column(METHODS.get(method, method), dataset) for dataset, method in columns]
    data = pd.DataFrame(table)
    quoted = {"experiments": len(view)}
    return MadeTable(tuple(heads), tuple(rows), data, caption, finding, view.runs, quoted)


def _values(name: str, method: str, experiments: Sequence[Experiment]) -> list[str]:
    """The distinct values of a setting, in order of appearance, as text."""
    if name in (_MATCHING if method == "mtt" else _TRAJECTORY):
        return []
    found: list[str] = []
    for experiment in experiments:
        value = getattr(experiment, name)
        if experiment.outliers == "none" and name in (
            "outlier_ipc", "outlier_pool", "corruptions", "outlier_weight", "lr_outliers",
        ):  # fmt: skip
            continue
        text = _text(value)
        if text and text not in found:
            found.append(text)
    return found


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " + ".join(str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
