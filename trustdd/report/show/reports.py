"""Reports of several runs as sentences and tables; spread is over seeds, values in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import (
    Difference,
    by_outliers,
    over_seeds,
    paired_difference,
    percent,
    seeds_text,
    signed,
    with_std,
)
from trustdd.report.markdown_text import code, escape
from trustdd.report.numbers import in_words
from trustdd.report.results import METRICS, reports, seeds_of, summary
from trustdd.report.show.display import table

if TYPE_CHECKING:
    from trustdd.store.run import Run

HEADS = {
    "accuracy": "accuracy ↑",
    "auroc": "AUROC ↑",
    "aupr_in": "AUPR-In ↑",
    "aupr_out": "AUPR-Out ↑",
    "fpr95": "FPR95 ↓ (OOD positive)",
    "fpr95_in": "FPR95 ↓ (InD positive)",
}
#: outlier modes as a sentence names them
WORDS = {"none": "ordinary distillation", "oe": "OE", "poe": "POE"}


def detection_finding(runs: Sequence[Run]) -> str:
    """Say what the outliers do to detection and to accuracy, as a sentence in Markdown."""
    of_mode = by_outliers(summary(runs))
    seeds = seeds_text(len(seeds_of(runs)))
    if "none" not in of_mode or len(of_mode) == 1:
        return " ".join(
            f"With {WORDS[mode]}, a student tells OOD from InD images with an AUROC of "
            f"**{percent(part['auroc'].mean())} %**, at an accuracy of "
            f"{percent(part['accuracy'].mean())} % ({seeds})."
            for mode, part in of_mode.items()
        )
    base = of_mode.pop("none")
    gains = {m: paired_difference(part, base, "auroc") for m, part in of_mode.items()}
    verb = "raise" if all(gain.verdict == "higher" for gain in gains.values()) else "take"
    reached = " and ".join(
        f"**{percent(part['auroc'].mean())} %** with {WORDS[mode]} ({in_words(gains[mode])})"
        for mode, part in of_mode.items()
    )
    kept = " and ".join(f"{percent(part['accuracy'].mean())} %" for part in of_mode.values())
    return (
        f"Outliers {verb} the AUROC with which a student tells OOD from InD images from "
        f"{percent(base['auroc'].mean())} % (ordinary distillation) to {reached}; the accuracy "
        f"goes from {percent(base['accuracy'].mean())} % to {kept} ({seeds})."
    )


def interval(gain: Difference) -> str:
    """A difference for a table: ``+5.9 [+5.0, +6.8]``."""
    text = signed(100 * gain.mean)
    if gain.seeds < 2:
        return text
    return f"{text} [{signed(100 * gain.low)}, {signed(100 * gain.high)}]"


def detection(runs: Sequence[Run]) -> None:
    """Display, for each outlier mode, accuracy and the suite means of every measure."""
    frame = over_seeds(summary(runs), ["outliers"], ["accuracy", *METRICS])
    shown = pd.DataFrame({"outliers": [style.NAMES[mode] for mode in frame["outliers"]]})
    for column, head in HEADS.items():
        shown[head] = _with_stds(frame, column)
    table(
        shown,
        f"Score: MSP. Means over the {reports(runs)['ood'].nunique()} OOD sets, in percent"
        f"{_seeds_note(runs)} of the whole pipeline.",
    )


def by_set(distilled: Sequence[Run], random: Sequence[Run] = (), measure: str = "auroc") -> None:
    """Display a measure of the MSP score for every OOD set and outlier mode.

    Args:
        distilled: the runs.
        random: the same settings with images and outliers drawn at random, shown beside them.
        measure: a column of the reports.
    """
    kinds = {"distilled": distilled, **({"random": random} if random else {})}
    frames = {kind: reports(runs) for kind, runs in kinds.items()}
    frames = {kind: frame[frame["score"] == "msp"] for kind, frame in frames.items()}
    counts = frames["distilled"].groupby("ood", sort=False)[["n_in", "n_out"]].first()
    shown = pd.DataFrame({"OOD set": [code(name) for name in counts.index]})
    ratios = [
        f"{escape(name)} {n_out:,}"
        for name, n_out in zip(counts.index, counts["n_out"], strict=True)
    ]
    for mode in by_outliers(frames["distilled"]):
        for kind, frame in frames.items():
            part = frame[frame["outliers"] == mode]
            if part.empty:
                continue
            line = over_seeds(part, ["ood"], [measure]).set_index("ood").loc[counts.index]
            head = style.NAMES[mode] + (f" · {kind}" if random else "")
            shown[head] = _with_stds(line, measure)
    table(
        shown,
        f"{HEADS[measure]} of the MSP score by OOD set, in percent. There are "
        f"{int(counts['n_in'].iloc[0]):,} InD images; OOD images: {', '.join(ratios)}.",
    )


def against_random(distilled: Sequence[Run], random: Sequence[Run]) -> None:
    """Display distilled sets beside as many real images and outliers drawn at random."""
    mine, theirs = by_outliers(summary(distilled)), by_outliers(summary(random))
    lines = []
    for mode in (m for m in mine if m in theirs):
        ours, other = mine[mode], theirs[mode]
        for measure in ("accuracy", "auroc"):
            pair = [
                with_std(float(part[measure].mean()), float(part[measure].std(ddof=1)))
                for part in (other, ours)
            ]
            gain = interval(paired_difference(ours, other, measure))
            name = style.NAMES[mode] if mode != "none" else "no outliers"
            lines.append([name, HEADS[measure], *pair, gain])
    columns = ["outliers", "measure", "drawn at random", "distilled", "gained [95% CI]"]
    count = distilled[0].experiment.ipc
    table(
        pd.DataFrame(lines, columns=columns),
        f"Students of {count} images a class (and as many outliers), drawn at random or "
        f"distilled. In percent{_seeds_note(distilled)}; AUROC is the mean over the OOD suite.",
    )


def rationale_finding(main: Sequence[Run], doubled: Sequence[Run], drawn: Sequence[Run]) -> str:
    """Say what outliers add at an equal budget, and what distilling them adds, in Markdown."""
    ours, budget, at_random = (
        by_outliers(summary(main)),
        summary(doubled),
        by_outliers(summary(drawn)),
    )
    budgets, choices = [], []
    for mode in at_random:
        spent = paired_difference(ours[mode], budget, "auroc")
        chosen = paired_difference(ours[mode], at_random[mode], "auroc")
        budgets.append(f"**{in_words(spent)}** with {WORDS[mode]}")
        clear = "" if chosen.verdict != "unclear" else ", not clearly different"
        choices.append(f"**{in_words(chosen)}** with {WORDS[mode]}{clear}")
    images = doubled[0].experiment.ipc
    return (
        f"Of {images} synthetic images a class, to make half outliers changes the mean AUROC by "
        f"{' and '.join(budgets)}. To distil those outliers, rather than to draw them at random, "
        f"changes it by {' and '.join(choices)} ({seeds_text(len(seeds_of(main)))})."
    )


def _seeds_note(runs: Sequence[Run]) -> str:
    count = len(seeds_of(runs))
    return f", ± standard deviation over {seeds_text(count)}" if count > 1 else ", one seed"


def _with_stds(frame: pd.DataFrame, column: str) -> list[str]:
    pairs = zip(frame[column], frame[f"{column}_std"], strict=True)
    return [with_std(mean, std) for mean, std in pairs]
