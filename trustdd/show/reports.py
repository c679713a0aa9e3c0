"""Reports of several runs as sentences and tables; spread is over seeds, values in percent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from trustdd import style
from trustdd.comparison import over_seeds, paired_difference, percent, seeds_text, spread
from trustdd.results import METRICS, per_run, reports, seeds_of, summary
from trustdd.show.display import table

if TYPE_CHECKING:
    from trustdd.store import Run

HEADS = {
    "accuracy": "accuracy ↑",
    "auroc": "AUROC ↑",
    "aupr_in": "AUPR-In ↑",
    "aupr_out": "AUPR-Out ↑",
    "fpr95": "FPR95 ↓ (OOD positive)",
    "fpr95_in": "FPR95 ↓ (InD positive)",
}
SCORE_NAMES = {"msp": "MSP", "maxlogit": "MaxLogit", "energy": "Energy"}
#: outlier modes as a sentence names them
WORDS = {"none": "ordinary distillation", "oe": "OE", "poe": "POE"}


def detection_finding(runs: Sequence[Run]) -> str:
    """Say what the outliers do to detection and to accuracy, as a sentence in Markdown."""
    frame = summary(runs)
    by_mode = {str(mode): part for mode, part in frame.groupby("outliers", sort=False)}
    seeds = seeds_text(len(seeds_of(runs)))
    if "none" not in by_mode or len(by_mode) == 1:
        return " ".join(
            f"{_name(mode)} ({seeds}): an OOD image is told from an InD image with an AUROC of "
            f"**{percent(part['auroc'].mean())} %**, at an accuracy of "
            f"{percent(part['accuracy'].mean())} %."
            for mode, part in by_mode.items()
        )
    base = by_mode.pop("none")
    parts = []
    for mode, part in by_mode.items():
        gain = paired_difference(part, base, "auroc")
        cost = paired_difference(part, base, "accuracy")
        parts.append(
            f"{_name(mode)} reaches **{percent(part['auroc'].mean())} %** "
            f"({gain.text}), with an accuracy of {percent(part['accuracy'].mean())} % "
            f"({cost.text})"
        )
    return (
        f"A student of ordinarily distilled images tells OOD from InD images with an AUROC of "
        f"**{percent(base['auroc'].mean())} %**, at an accuracy of "
        f"{percent(base['accuracy'].mean())} %; " + "; ".join(parts) + "."
    )


def _name(mode: str) -> str:
    return WORDS[mode][0].upper() + WORDS[mode][1:]


def detection(runs: Sequence[Run]) -> None:
    """Display, for each outlier mode, accuracy and the suite means of every measure."""
    frame = over_seeds(summary(runs), ["outliers"], ["accuracy", *METRICS])
    shown = pd.DataFrame({"": [style.NAMES[mode] for mode in frame["outliers"]]})
    for column, head in HEADS.items():
        shown[head] = _spreads(frame, column)
    table(
        shown,
        f"Score: MSP. Means over the {reports(runs)['ood'].nunique()} OOD sets, in percent, ± "
        f"standard deviation over {seeds_text(len(seeds_of(runs)))} of the whole pipeline.",
    )


def by_set(runs: Sequence[Run], measure: str = "auroc") -> None:
    """Display a measure of the MSP score for every OOD set and outlier mode."""
    frame = reports(runs)
    frame = frame[frame["score"] == "msp"]
    counts = frame.groupby("ood", sort=False)[["n_in", "n_out"]].first()
    shown = pd.DataFrame(
        {
            "OOD set": [f"`{name}`" for name in counts.index],
            "InD : OOD images": [f"{r.n_in:,} : {r.n_out:,}" for r in counts.itertuples()],
        }
    )
    for mode, part in frame.groupby("outliers", sort=False):
        line = over_seeds(part, ["ood"], [measure]).set_index("ood").loc[counts.index]
        shown[style.NAMES[str(mode)]] = _spreads(line, measure)
    table(shown, f"{HEADS[measure]} of the MSP score by OOD set, in percent.")


def by_score(runs: Sequence[Run], measure: str = "auroc") -> None:
    """Display the suite mean of a measure for every score and outlier mode."""
    frame = per_run(reports(runs), also=["score"])
    scores = list(dict.fromkeys(frame["score"]))
    shown = pd.DataFrame({"score": [SCORE_NAMES.get(s, s) for s in scores]})
    for mode, part in frame.groupby("outliers", sort=False):
        line = over_seeds(part, ["score"], [measure]).set_index("score").loc[scores]
        shown[style.NAMES[str(mode)]] = _spreads(line, measure)
    table(shown, f"{HEADS[measure]} by score, averaged over the OOD sets, in percent.")


def against_random(distilled: Sequence[Run], random: Sequence[Run]) -> None:
    """Display distilled sets beside as many real images and outliers drawn at random."""
    mine, theirs = summary(distilled), summary(random)
    lines = []
    for mode in dict.fromkeys(mine["outliers"]):
        ours, other = (f[f["outliers"] == mode] for f in (mine, theirs))
        for what, part in (("random real", other), ("distilled", ours)):
            lines.append(
                [
                    style.NAMES[mode] if mode != "none" else "no outliers",
                    what,
                    *(spread(part[c].mean(), part[c].std(ddof=1)) for c in ("accuracy", "auroc")),
                    *(
                        [paired_difference(ours, other, c).text for c in ("accuracy", "auroc")]
                        if what == "distilled"
                        else ["", ""]
                    ),
                ]
            )
    columns = ["outliers", "images", "accuracy ↑", "AUROC ↑", "accuracy gained", "AUROC gained"]
    count = distilled[0].experiment.ipc
    table(
        pd.DataFrame(lines, columns=columns),
        f"Students of the same number of images, {count} a class"
        " (and as many outliers): drawn at random, or distilled. In percent; AUROC is the mean "
        "over the OOD suite.",
    )


def rationale_finding(main: Sequence[Run], doubled: Sequence[Run], drawn: Sequence[Run]) -> str:
    """Say what outliers add at an equal budget, and what distilling them adds, in Markdown."""
    frame, budget, at_random = summary(main), summary(doubled), summary(drawn)
    said = []
    for mode in dict.fromkeys(at_random["outliers"]):
        ours = frame[frame["outliers"] == mode]
        against_images = paired_difference(ours, budget, "auroc")
        against_drawn = paired_difference(ours, at_random[at_random["outliers"] == mode], "auroc")
        said.append(
            f"With {WORDS[mode]}, half of the images spent on outliers changes the AUROC by "
            f"**{against_images.text}** against the same number of InD images; distilling the "
            f"outliers instead of drawing them changes it by **{against_drawn.text}**."
        )
    return " ".join(said)


def rationale(main: Sequence[Run], doubled: Sequence[Run], drawn: Sequence[Run]) -> None:
    """Display every student of the rationale with its budget, accuracy and AUROC."""
    lines = []
    for runs, kind in ((doubled, "distilled"), (main, "distilled"), (drawn, "random")):
        frame = summary(runs)
        for mode, part in frame.groupby("outliers", sort=False):
            row = part.iloc[0]
            beside = (
                "–"
                if mode == "none"
                else f"{row['outlier_ipc']} × {style.NAMES[str(mode)]}, {kind}"
            )
            lines.append(
                [
                    f"{row['ipc']}", beside, f"{row['ipc'] + row['outlier_ipc']}",
                    *(spread(part[c].mean(), part[c].std(ddof=1)) for c in ("accuracy", "auroc")),
                ]
            )  # fmt: skip
    columns = ["InD images a class", "outliers a slot", "in all", "accuracy ↑", "AUROC ↑"]
    table(
        pd.DataFrame(lines, columns=columns),
        "Every student of this page. In percent, ± standard deviation over "
        f"{seeds_text(len(seeds_of(main)))}; AUROC is the mean over the OOD suite.",
    )


def _spreads(frame: pd.DataFrame, column: str) -> list[str]:
    pairs = zip(frame[column], frame[f"{column}_std"], strict=True)
    return [spread(mean, std) for mean, std in pairs]
