"""Tables of a set's measures: every arm, what it gains, class by class, and per OOD set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trustdd.pipeline.arms import OWN, RANDOM, RANDOM_BOTH, WITH_OWN, WITH_RANDOM
from trustdd.report.analysis.classes import majority_share, per_class
from trustdd.report.analysis.set_gains import Gain, gains, measures
from trustdd.report.comparison import percent, seeds_text, signed
from trustdd.report.export import MadeTable
from trustdd.report.markup import Cell, Column, Measured, Row, Section
from trustdd.report.naming import OUTLIERS, listed, ood_name
from trustdd.report.results import SCORE, arrays, reports
from trustdd.store.run import Run

if TYPE_CHECKING:
    from trustdd.pipeline.set_evaluation import MeasuredSet

#: columns of the summary: measure → head
SUMMARY = {
    "accuracy": "accuracy ↑",
    "balanced": "balanced ↑",
    "natural": "AUROC ↑",
    "near": "near ↑",
    "far": "far ↑",
    "fpr95": "FPR95 ↓",
}


def summary_table(found: MeasuredSet) -> MadeTable:
    """Accuracy and detection of every arm, mean ± standard deviation over seeds."""
    frame = measures(found)
    shown = [name for name in SUMMARY if frame[name].notna().any()]
    rows: list[Row] = []
    for arm, part in frame.groupby("arm", sort=False):
        cells = [_cell(part[name]) for name in shown]
        rows.append((_arm(found, str(arm), str(part["outliers"].iloc[0])), *cells))
    own = frame[frame["arm"] == next(iter(found.arms))]
    finding = (
        f"{found.name}: accuracy {percent(own['accuracy'].mean())}, mean AUROC "
        f"{percent(own['natural'].mean())}"
    )
    data = frame.rename(columns={"natural": "auroc"})
    count = own["seed"].nunique()
    caption = (
        f"Students of the set, and of as many random images under the same labels, "
        f"augmentation, learning rate and outliers. {_spread_note(count)}, in percent; AUROC of "
        f"the MSP score over the OOD sets without noise, FPR95 (OOD positive) over all of them."
        f"{_real_note(found)}{_unequal_note(found)}"
    )
    columns = (
        Column("students of"),
        *(
            Column(SUMMARY[name], "AUROC" if name in ("near", "far") else "", True)
            for name in shown
        ),
    )
    return MadeTable(columns, tuple(rows), data, caption, finding)


def gains_table(found: MeasuredSet) -> MadeTable:
    """What the set gains over random images and outliers, and DD-Ranking's scores."""
    rows: list[Row] = []
    data = []
    named = {"accuracy": "Accuracy", "natural": "OOD detection (mean AUROC)"}
    entries = gains(found)
    for measure, head in named.items():
        rows.append(Section(head))
        for gain in entries:
            if gain.measure == measure:
                rows.append((gain.name, gain.what, _gain_cell(gain), _verdict(gain)))
                data.append(_gain_data(gain))
    seeds = len(next(iter(found.arms.values())))
    clear = [g for g in entries if g.gap is not None and g.gap.verdict != "unclear"]
    finding = f"{found.name} against random images: " + (
        listed([f"{g.name.lower()} {signed(100 * g.gap.mean)}" for g in clear if g.gap])
        or "no difference is established"
    )
    caption = (
        f"Differences in percentage points with their 95% t-interval, paired by "
        f"{seeds_text(seeds)}; LRS and ARS from 0 to 100, w = 1/2 (DD-Ranking). Bold where the "
        f"interval does not hold 0.{'' if seeds > 1 else ' One seed: no interval, none is bold.'}"
    )
    columns = (Column("measure"), Column("of"), Column("value", "", True), Column("verdict"))
    return MadeTable(columns, tuple(rows), pd.DataFrame(data), caption, finding)


def classes_table(found: MeasuredSet, names: Sequence[str]) -> MadeTable:
    """Accuracy of every class, by name; for the set, and with its outliers or random ones."""
    arms = [a for a in (OWN, WITH_OWN, WITH_RANDOM)
            if a in found.arms]  # fmt: skip
    each = {arm: _classwise(found.arms[arm]) for arm in arms}
    first = each[arms[0]]
    labels = sorted(first["label"].unique())
    own = found.distilled.hard_labels
    rows: list[Row] = []
    for label in labels:
        cells = [_cell(frame[frame["label"] == label]["accuracy"]) for frame in each.values()]
        tested = int(first[first["label"] == label]["n"].iloc[0])
        rows.append((names[label], int((own == label).sum()), tested, *cells))
    means = {label: first[first["label"] == label]["accuracy"].mean() for label in labels}
    worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    finding = (
        f"{found.name}: accuracy from {percent(means[worst])} ({names[worst]}) to "
        f"{percent(means[best])} ({names[best]})"
    )
    caption = (
        f"Share of each class's test images that students recognise. "
        f"{_spread_note(first['seed'].nunique())}, in percent.{_unequal_note(found)}"
    )
    columns = (
        Column("class"), Column("images", "", True), Column("test images", "", True),
        *(Column(arm, "accuracy of", True) for arm in arms),
    )  # fmt: skip
    data = pd.concat([frame.assign(arm=arm) for arm, frame in each.items()], ignore_index=True)
    return MadeTable(columns, tuple(rows), data, caption, finding)


def detection_table(found: MeasuredSet) -> MadeTable:
    """AUROC and FPR95 of the MSP score for every OOD set and arm."""
    arms = [a for a in (OWN, WITH_OWN, WITH_RANDOM,
                        RANDOM, RANDOM_BOTH) if a in found.arms]  # fmt: skip
    frames = {arm: _msp(found.arms[arm]) for arm in arms}
    rows: list[Row] = []
    for name in frames[arms[0]]["ood"].unique():
        cells: list[Cell] = []
        for measure in ("auroc", "fpr95"):
            cells += [_cell(f[f["ood"] == name][measure]) for f in frames.values()]
        rows.append((ood_name(str(name)), *cells))
    data = pd.concat([frame.assign(arm=arm) for arm, frame in frames.items()], ignore_index=True)
    level = {arm: frame["auroc"].mean() for arm, frame in frames.items()}
    finding = f"{found.name}: mean AUROC over the whole suite " + listed(
        [f"{percent(value)} ({arm})" for arm, value in level.items()]
    )
    counts = data[["n_in", "n_out"]]
    caption = (
        f"AUROC and FPR95 (OOD positive) of the MSP score per OOD set; "
        f"{counts['n_in'].iloc[0]:,} InD images, {counts['n_out'].min():,} to "
        f"{counts['n_out'].max():,} OOD images a set. "
        f"{_spread_note(data['seed'].nunique())}, in percent."
    )
    columns = (
        Column("OOD set"), *(Column(arm, "AUROC ↑", True) for arm in arms),
        *(Column(arm, "FPR95 ↓", True) for arm in arms),
    )  # fmt: skip
    return MadeTable(columns, tuple(rows), data, caption, finding)


def _msp(runs: Sequence[Run]) -> pd.DataFrame:
    frame = reports(runs)
    kept = ["seed", "outliers", "ood", "n_in", "n_out", "auroc", "aupr_in", "aupr_out", "fpr95",
            "fpr95_in", "accuracy"]  # fmt: skip
    return frame[frame["score"] == SCORE][kept]


def _classwise(runs: Sequence[Run]) -> pd.DataFrame:
    frames = [per_class(run, [0]).assign(seed=run.experiment.seed) for run in runs]
    return pd.concat(frames, ignore_index=True)[["seed", "label", "n", "accuracy"]]


def _cell(values: pd.Series) -> Measured:
    return Measured(float(values.mean()), float(values.std(ddof=1)))


def _gain_cell(gain: Gain) -> Measured:
    if gain.score is not None:
        value, low, high = gain.score
        return Measured(value, interval=(low, high), scale=1.0)
    assert gain.gap is not None
    gap = gain.gap
    bold = gap.verdict != "unclear"
    return Measured(gap.mean, interval=(gap.low, gap.high), sign=True, strong=bold)


def _verdict(gain: Gain) -> str:
    if gain.gap is None:
        return ""
    if gain.gap.seeds < 2:
        return "one seed"
    return {"higher": "higher", "lower": "lower", "unclear": "undecided"}[gain.gap.verdict]


def _gain_data(gain: Gain) -> dict[str, Any]:
    gap = gain.gap
    value, low, high = gain.score if gap is None else (gap.mean, gap.low, gap.high)  # type: ignore[misc]
    return {
        "measure": gain.measure, "name": gain.name, "of": gain.what, "value": value, "low": low,
        "high": high, "verdict": _verdict(gain),
    }  # fmt: skip


def _arm(found: MeasuredSet, arm: str, outliers: str) -> str:
    name = arm.replace(OWN, found.name, 1) if arm.startswith(OWN) else arm
    return name if outliers == "none" else f"{name} ({OUTLIERS[outliers]})"


def _spread_note(seeds: int) -> str:
    if seeds < 2:
        return "One seed, no spread"
    return f"Mean ± standard deviation over {seeds_text(seeds)}"


def _real_note(found: MeasuredSet) -> str:
    if found.real is None:
        return ""
    accuracy = float(found.real.read_frame("report.csv")["accuracy"].iloc[0])
    epochs = found.real.experiment.training_epochs
    return f" The whole training set gives {percent(accuracy)} after {epochs} epochs."


def _unequal_note(found: MeasuredSet) -> str:
    """What to know where classes are unequal: in the test images, and in the set."""
    labels = arrays(found.arms[OWN][0], "logits.safetensors")["in_labels"]
    counts = np.bincount(labels)
    note = ""
    if counts.max() > 1.1 * counts.min():
        note = (
            f" Test classes are unequal ({counts.min():,} to {counts.max():,} images): always to "
            f"name the largest would give {percent(majority_share(labels))}."
        )
    own = found.distilled.hard_labels.bincount()
    if int(own.max()) > int(own.min()):
        note += f" The set has {int(own.min())} to {int(own.max())} images a class."
    return note
