"""A card for a set, in the form that data sets have on model hubs; from stored records alone.

It says how the set was made, from which data and under which terms, what it is for, where it is
known to fail, and what its file's checksum is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from trustdd.report.analysis.classes import per_class
from trustdd.report.comparison import percent
from trustdd.report.naming import METHODS, OUTLIERS, listed, ood_name
from trustdd.report.results import SCORE
from trustdd.settings.experiment import Experiment
from trustdd.settings.terms import terms_of
from trustdd.store.files import sha256, write_text
from trustdd.store.run import Run

#: below this AUROC an OOD set counts as not told apart, in [0, 1]
WEAK = 0.6
#: settings of a method that a card names, where they play a part
SETTINGS = (
    "iterations", "outer_loops", "inner_loops", "real_batch", "lr_images", "lr_outliers",
    "student_steps", "expert_epochs", "experts", "corruptions", "outlier_pool", "outlier_weight",
    "precision",
)  # fmt: skip
_OF_TRAJECTORIES = ("student_steps", "expert_epochs", "experts")
_OF_GRADIENTS = ("outer_loops", "inner_loops", "real_batch")


@dataclass(frozen=True)
class Card:
    """A set's card.

    Attributes:
        name: of the set.
        summary: what it is, in a sentence.
        sections: heading → its lines, each a sentence or ``name: value``.
        checksum: SHA-256 of the set's file.
        facts: for the head of the card, as on model hubs.
    """

    name: str
    summary: str
    sections: Mapping[str, Sequence[str]]
    checksum: str
    facts: Mapping[str, Any]

    def markdown(self, thumbnail: str = "") -> str:
        """Return the card as Markdown, with its facts as YAML on top.

        Args:
            thumbnail: the name of a picture of the set, beside the card.
        """
        head = yaml.safe_dump(dict(self.facts), allow_unicode=True, sort_keys=True)
        parts = [f"---\n{head}---", f"# {self.name}", self.summary]
        if thumbnail:
            parts.append(f"![Images of the set, class by class]({thumbnail})")
        for heading, lines in self.sections.items():
            parts += [f"## {heading}", "\n".join(f"- {line}" for line in lines)]
        return "\n\n".join(parts) + "\n"


def run_card(run: Run) -> Card:
    """Return the card of a stored run's set.

    Raises:
        ValueError: no set is stored.
    """
    record = run.manifest()["distill"]
    made = [
        f"experiment: {run.experiment.key}",
        f"commit: {record.get('commit', 'unknown')}; on {record.get('date', 'unknown')}, in "
        f"{record['seconds'] / 3600:.2g} hours on {record.get('device', 'unknown')} "
        f"({record.get('machine', 'unknown')})",
        f"with {_versions(record.get('libraries', {}))}",
    ]
    failures = failures_of([run]) if run.finished("evaluate") else None
    return set_card(run.path("distilled.safetensors"), made=made, failures=failures)


def set_card(
    path: Path, *, made: Sequence[str] = (), failures: Sequence[str] | None = None, name: str = ""
) -> Card:
    """Return the card of a set's file.

    Args:
        path: the file.
        made: what a run recorded of its making.
        failures: what its report found; ``None`` where it was not tested.
        name: of the set; by default what it was read in as, or its experiment.
    """
    shapes, metadata = _header(path)
    experiment = Experiment.from_dict({"data_root": "data", **json.loads(metadata["experiment"])})
    origin = json.loads(metadata["origin"]) if "origin" in metadata else {}
    terms = terms_of(experiment.dataset)
    checksum = sha256(path)
    outliers = shapes.get("outliers", [0])[0]
    sections = {
        "How it was made": [*_making(experiment, origin), *made],
        "Data and terms": _terms(experiment, origin, terms.source, terms.text, outliers),
        "Use": _use(experiment, shapes, metadata),
        "Known failures": list(failures) if failures is not None else [
            "not tested yet: trustdd evaluate measures accuracy and detection"
        ],
        "File": [f"SHA-256: {checksum}", f"{path.stat().st_size / 1024:,.0f} KiB, safetensors"],
    }  # fmt: skip
    count, channels, size, _ = shapes["images"]
    soft = len(shapes["labels"]) == 2
    kind = "real" if experiment.selection in ("random", "herding") else "synthetic"
    summary = (
        f"{count} {kind} images at {size} px "
        f"with {channels} channel{'s' * (channels > 1)}"
        + (f", {outliers} outliers" if outliers else "")
        + f", and {'soft' if soft else 'hard'} labels, to train on in place of "
        f"{experiment.dataset}."
    )
    facts = {
        "pretty_name": name or origin.get("name") or experiment.key,
        "task_categories": ["image-classification"],
        "source_datasets": [experiment.dataset],
        "license": origin.get("terms") or terms.text,
        "size": int(count),
        "tags": ["dataset-distillation", "out-of-distribution-detection", experiment.outliers],
        "sha256": checksum,
    }
    return Card(str(facts["pretty_name"]), summary, sections, checksum, facts)


def write_card(card: Card, path: Path, thumbnail: str = "") -> Path:
    """Write a card as Markdown."""
    return write_text(path, card.markdown(thumbnail))


def failures_of(runs: Sequence[Run]) -> list[str]:
    """Say where students of a set fail, from their stored reports.

    Args:
        runs: of one set, with a report each.
    """
    frame = pd.concat([run.read_frame("report.csv") for run in runs], ignore_index=True)
    frame = frame[frame["score"] == SCORE]
    auroc = frame.groupby("ood", sort=False)["auroc"].mean()
    first = runs[0].experiment
    students = sum(run.experiment.students for run in runs)
    lines = [
        f"{students} students of width {first.width}, trained for {first.training_epochs} epochs, "
        f"reach an accuracy of {percent(frame['accuracy'].mean())} % and a mean AUROC of "
        f"{percent(auroc.mean())} % (MSP) over {len(auroc)} OOD sets"
    ]
    for what, chosen in (
        ("are taken for known more often than not (AUROC below 50 %)", auroc[auroc < 0.5]),
        (f"are hardly told apart (AUROC below {100 * WEAK:.0f} %)",
         auroc[(auroc >= 0.5) & (auroc < WEAK)]),
    ):  # fmt: skip
        if len(chosen):
            named = [f"{ood_name(str(n))} ({percent(v)} %)" for n, v in chosen.items()]
            lines.append(f"images of {listed(named)} {what}")
    worst = _worst_class(runs)
    return [*lines, worst] if worst else lines


def _worst_class(runs: Sequence[Run]) -> str:
    if not all(run.has("logits.safetensors") for run in runs):
        return ""
    frame = pd.concat([per_class(run) for run in runs], ignore_index=True)
    means = frame.groupby("label")["accuracy"].mean()
    label = int(means.idxmin())
    names = class_names(runs[0], len(means))
    return f"the class recognised least is {names[label]}: {percent(means[label])} % of its images"


def class_names(run: Run, count: int) -> list[str]:
    """The names of a run's classes, as stored with its test; their numbers where they are not."""
    path = run.path("samples.safetensors")
    if path.is_file():
        _, metadata = _header(path)
        names = json.loads(metadata.get("classes", "[]"))
        if len(names) == count:
            return [str(name) for name in names]
    return [str(label) for label in range(count)]


def _making(experiment: Experiment, origin: Mapping[str, Any]) -> list[str]:
    if origin:
        files = origin.get("files", {})
        lines = [f"read from {name} (SHA-256 {digest})" for name, digest in files.items()]
        lines += [
            f"{what}: {d['value']} ({d['why']})" for what, d in origin.get("read", {}).items()
        ]
        if experiment.outlier_selection != "given" and experiment.outliers != "none":
            lines.append(f"outliers beside it: {_outliers(experiment)}")
        return lines or ["its making is not recorded"]
    how = {
        "distilled": f"distilled by {METHODS.get(experiment.method, experiment.method)}",
        "random": "real images drawn at random",
        "kmeans": "centroids of k-means, class by class",
        "herding": "real images chosen by herding, class by class",
        "given": f"images of a given set (SHA-256 {experiment.given_sha256}), which never moved",
    }
    lines = [how.get(experiment.selection, experiment.selection), f"seed: {experiment.seed}"]
    if experiment.outliers != "none":
        lines.append(f"outliers: {_outliers(experiment)}")
    distils = experiment.selection == "distilled" or (
        experiment.outliers != "none" and experiment.outlier_selection == "distilled"
    )
    if distils:
        other = _OF_GRADIENTS if experiment.method == "mtt" else _OF_TRAJECTORIES
        held = {n: getattr(experiment, n) for n in SETTINGS if n not in other}
        shown = [f"{n} {_value(v)}" for n, v in held.items() if v not in ("", (), 0.0)]
        lines.append(f"settings: {', '.join(shown)}")
    return lines


def _outliers(experiment: Experiment) -> str:
    how = {"random": "drawn at random", "distilled": "distilled", "given": "the set's own"}
    return f"{OUTLIERS[experiment.outliers]}, {how[experiment.outlier_selection]}"


def _terms(
    experiment: Experiment, origin: Mapping[str, Any], source: str, text: str, outliers: int
) -> list[str]:
    lines = [f"images made from {experiment.dataset}: {source}", f"terms of that data: {text}"]
    if origin:
        lines.append(f"terms of the set: {origin.get('terms') or 'not stated by who read it in'}")
    if outliers and experiment.outliers == "oe" and experiment.outlier_pool:
        pool = terms_of(experiment.outlier_pool)
        lines.append(f"outliers made from {experiment.outlier_pool}: {pool.source}; {pool.text}")
    return lines


def _use(
    experiment: Experiment, shapes: Mapping[str, list[int]], metadata: Mapping[str, str]
) -> list[str]:
    whitened = "pictures" in shapes
    mean, std = (json.loads(metadata[name]) for name in ("mean", "std"))
    rate = (
        "the set's own learning rate" if "student_lr" in shapes else f"{experiment.training_lr:g}"
    )
    stored = "ZCA-whitened, as networks are fed them" if whitened else (
        f"normalised, (x − {_value(mean)}) / {_value(std)} a channel"
    )  # fmt: skip
    return [
        "meant for research on dataset distillation and on rejecting what is not known: networks "
        "trained on it are small, and no more reliable than its report says",
        f"images are {stored}",
        f"students: a ConvNet of {experiment.depth} blocks of {experiment.width} channels, "
        f"{experiment.training_epochs} epochs of SGD at {rate}, augmentation "
        f"{experiment.augmentation or 'none'}"
        + (f", outliers weighed by {experiment.outlier_weight:g}" if "outliers" in shapes else ""),
        "not meant for decisions about people or safety, nor as a sample of the data it stands for",
    ]


def _header(path: Path) -> tuple[dict[str, list[int]], dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        names = list(file.keys())
        shapes = {name: list(file.get_slice(name).get_shape()) for name in names}
        return shapes, dict(file.metadata() or {})


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in libraries.items()) or "unknown"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float | np.floating) else str(value)
