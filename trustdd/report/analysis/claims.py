"""The claims that the ledger judges, each with the comparisons that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from trustdd.report.analysis.ablations import corruption_variants, varied
from trustdd.report.analysis.selective import trust_measures
from trustdd.report.comparison import Difference, difference, paired_difference
from trustdd.report.naming import MODES
from trustdd.report.primary import measured
from trustdd.report.results import MissingArtefacts, one_setting, reports
from trustdd.store.profiles import Primary
from trustdd.store.run import Run

#: 'far above' is more than this much AUROC above
FAR_ABOVE = 0.05
#: accuracy counts as competitive down to this difference, ECE as no worse up to it
MARGIN = 0.02
#: detectors that are fitted on real training images
FITTED = ("knn", "vim")


@dataclass(frozen=True)
class Evidence:
    """One comparison that a claim rests on.

    Attributes:
        name: what is compared.
        difference: paired over seeds, treatment − control.
    """

    name: str
    difference: Difference


@dataclass(frozen=True)
class Claim:
    """A claim, and how it is tested.

    Attributes:
        name: as prose refers to it, in one word.
        text: the claim in our words.
        where: where the book shows it.
        measure: the measure that differs: ``"near"`` or ``"far"`` AUROC, or another.
        evidence: finds the comparisons among all runs; empty where they were not run.
        bound: the claim says that each difference lies above this.
    """

    name: str
    text: str
    where: str
    measure: str
    evidence: Callable[[Sequence[Run], Primary], list[Evidence]]
    bound: float = 0.0


def evidence_for(claim: Claim, runs: Sequence[Run], primary: Primary) -> list[Evidence]:
    """Return the comparisons of a claim among all runs; none where they were not run."""
    if claim.measure in ("near", "far") and not getattr(primary, claim.measure):
        return []
    try:
        return claim.evidence(runs, primary)
    except MissingArtefacts:
        return []


def _pairs(
    frame: pd.DataFrame, measure: str, modes: Sequence[str] = ("oe", "poe"), control: str = "none"
) -> list[Evidence]:
    """Each mode against another one, over whatever settings the frame holds."""
    base = frame[frame["outliers"] == control]
    found = []
    for mode in modes:
        own = frame[frame["outliers"] == mode]
        if not own.empty and not base.empty:
            within = ["dataset", "method", "ipc"]
            found.append(Evidence(MODES[mode], paired_difference(own, base, measure, within)))
    return found


def _whole(runs: Sequence[Run]) -> list[Run]:
    """What was distilled throughout."""
    return [
        run
        for run in runs
        if run.experiment.selection == "distilled"
        and run.experiment.outlier_selection == "distilled"
    ]


def _main_runs(runs: Sequence[Run], methods: Sequence[str] = ("dc", "dsa")) -> list[Run]:
    """The runs of the first run's dataset and IPC by some methods, one per mode and seed.

    The first of each counts: those of the main group stand first.

    Raises:
        MissingArtefacts: there are none.
    """
    base = runs[0].experiment
    first: dict[tuple[str, int], Run] = {}
    for run in _whole(runs):
        own = run.experiment
        if own.method in methods and (own.dataset, own.ipc) == (base.dataset, base.ipc):
            first.setdefault((own.outliers, own.seed), run)
    if not first:
        raise MissingArtefacts("no such runs", (), "")
    return list(first.values())


def _first_of_each(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop_duplicates(["dataset", "method", "ipc", "outliers", "seed"])


def _beside_ordinary(
    runs: Sequence[Run], primary: Primary, measure: str, methods: Sequence[str] = ("dc", "dsa")
) -> list[Evidence]:
    return _pairs(measured(_main_runs(runs, methods), primary), measure)


def _poe_over_oe(runs: Sequence[Run], primary: Primary) -> list[Evidence]:
    """POE − OE, the median over natural OOD sets: above 0 where POE is ahead on most of them."""
    frame = reports(_main_runs(runs))
    natural = (*primary.near, *primary.far)
    frame = frame[(frame["score"] == primary.score) & frame["ood"].isin(natural)]
    table = frame.pivot(index=["seed", "ood"], columns="outliers", values="auroc")
    if not {"oe", "poe"} <= {*table.columns}:
        return []
    gaps = (table["poe"] - table["oe"]).dropna().groupby("seed").median()
    if gaps.empty:
        return []
    return [Evidence("POE minus OE, median over OOD sets", difference(gaps.to_numpy()))]


def _every_ipc(runs: Sequence[Run], primary: Primary, measure: str) -> list[Evidence]:
    base = runs[0].experiment
    same = [r for r in _whole(runs) if (r.experiment.dataset, r.experiment.method) ==
            (base.dataset, base.method)]  # fmt: skip
    frame = _first_of_each(varied(measured(same, primary), "ipc", ["outlier_ipc"]))
    found = []
    for ipc, part in frame.groupby("ipc"):
        if set(part["outliers"]) >= {"none", "poe"}:
            pairs = _pairs(part, measure, ("poe",))
            found += [Evidence(f"POE, IPC {ipc}", pair.difference) for pair in pairs]
    return found if len(found) > 1 else []


def _over_random(
    runs: Sequence[Run], primary: Primary, measure: str, drawn_images: bool
) -> list[Evidence]:
    """What is distilled against outliers drawn at random, beside distilled or drawn images."""
    main = measured(_main_runs(runs), primary)
    base = runs[0].experiment
    drawn = [
        r for r in runs
        if r.experiment.selection == ("random" if drawn_images else "distilled")
        and (drawn_images or r.experiment.outlier_selection == "random")
        and r.experiment.outliers != "none"
        and (r.experiment.dataset, r.experiment.ipc) == (base.dataset, base.ipc)
    ]  # fmt: skip
    if not drawn:
        return []
    frame = _first_of_each(measured(drawn, primary))
    return [
        Evidence(MODES[mode], paired_difference(main[main["outliers"] == mode], part, measure))
        for mode, part in frame.groupby("outliers", sort=False)
        if mode in set(main["outliers"])
    ]


_distilled_over_random = partial(_over_random, drawn_images=False)
_distilled_over_random_images = partial(_over_random, drawn_images=True)


def _equal_budget(runs: Sequence[Run], primary: Primary, measure: str) -> list[Evidence]:
    main = measured(_main_runs(runs), primary)
    base = runs[0].experiment
    treated = main[main["outliers"] != "none"]
    if treated.empty:
        return []
    budget = int(treated["ipc"].iloc[0] + treated["outlier_ipc"].iloc[0])
    spent = [r for r in _whole(runs) if r.experiment.outliers == "none"
             and r.experiment.ipc == budget and r.experiment.dataset == base.dataset
             and r.experiment.method == base.method]  # fmt: skip
    if not spent:
        return []
    frame = _first_of_each(measured(spent, primary))
    return [
        Evidence(MODES[mode], paired_difference(part, frame, measure))
        for mode, part in treated.groupby("outliers", sort=False)
    ]


def _transfer(runs: Sequence[Run], primary: Primary, measure: str) -> list[Evidence]:
    chosen = [run for run in _main_runs(one_setting(runs)) if run.has("transfer.csv")]
    if not chosen:
        return []
    frame = measured(chosen, primary, "transfer.csv", ["network"])
    frame = frame[frame["network"] != "convnet"]
    within = ["network"]
    base = frame[frame["outliers"] == "none"]
    return [
        Evidence(MODES[m], paired_difference(frame[frame["outliers"] == m], base, measure, within))
        for m in ("oe", "poe")
        if m in set(frame["outliers"]) and not base.empty
    ]


def _each_corruption(runs: Sequence[Run], primary: Primary) -> list[Evidence]:
    """All corruptions against all but one: each contributes where leaving it out costs."""
    frame, variants = corruption_variants(_whole(one_setting(runs)))
    natural = (*primary.near, *primary.far)
    means = (
        frame[frame["ood"].isin(natural)]
        .groupby(["variant", "seed"], sort=False)["auroc"].mean().reset_index()
    )  # fmt: skip
    every = means[means["variant"] == "all"]
    return [
        Evidence(f"all, not {v}", paired_difference(every, means[means["variant"] == v], "auroc"))
        for v in variants
        if v.startswith("without ") and not every.empty
    ]


def _fitted_detectors(runs: Sequence[Run], primary: Primary) -> list[Evidence]:
    """Outliers and the softmax against detectors that are fitted on real training images."""
    chosen = _main_runs(one_setting(runs))
    main = measured(chosen, primary)
    ordinary = [r for r in chosen if r.experiment.outliers == "none" and r.has("detectors.csv")]
    if not ordinary:
        return []
    further = measured(ordinary, primary, "detectors.csv", ["score"])
    found = []
    for name in (n for n in FITTED if n in set(further["score"])):
        control = further[further["score"] == name]
        for mode in ("oe", "poe"):
            own = main[main["outliers"] == mode]
            if not own.empty:
                gap = paired_difference(own, control, "natural")
                found.append(Evidence(f"{MODES[mode]}, minus {name.upper()} without", gap))
    return found


def _calibration(runs: Sequence[Run], primary: Primary) -> list[Evidence]:
    chosen = [run for run in _main_runs(one_setting(runs)) if run.has("logits.safetensors")]
    if not chosen:
        return []
    frame = trust_measures(chosen)
    # an error: less is better, so the difference is taken the other way round
    return _pairs(frame.assign(ece=-frame["ece"]), "ece")


def _both(
    name: str,
    text: str,
    where: str,
    evidence: Callable[..., list[Evidence]],
    bound: float = 0.0,
    **options: object,
) -> tuple[Claim, Claim]:
    """A claim on detection, on near and on far OOD sets."""
    near, far = (
        Claim(name, text, where, side, partial(evidence, measure=side, **options), bound)
        for side in ("near", "far")
    )
    return near, far


CLAIMS = (
    *_both("helps", "Outliers raise OOD detection far above ordinary distillation",
           "fig02, tab03", _beside_ordinary, FAR_ABOVE),
    Claim("poe_often", "Pseudo-outliers often detect better than real ones",
          "fig02, tab03", "natural", _poe_over_oe),
    Claim("accuracy_kept", "InD accuracy stays competitive with ordinary distillation",
          "fig04, tab07", "accuracy", partial(_beside_ordinary, measure="accuracy"), -MARGIN),
    *_both("over_random", "Distilled outliers are better than outliers drawn at random",
           "fig05, tab08", _distilled_over_random),
    *_both("equal_budget",
           "At an equal budget, images and outliers detect better than images alone",
           "fig05, tab08", _equal_budget),
    Claim("equal_budget_accuracy",
          "At an equal budget, InD accuracy stays competitive with images alone",
          "fig05, tab08", "accuracy", partial(_equal_budget, measure="accuracy"), -MARGIN),
    *_both("helps_mtt", "With trajectory matching, too, outliers raise OOD detection far above",
           "tab04", _beside_ordinary, FAR_ABOVE, methods=("mtt",)),
    *_both("every_ipc", "Outliers raise OOD detection at every number of images per class",
           "fig12, tab03", _every_ipc),
    *_both("transfer", "They do on other architectures", "fig17, tab12", _transfer),
    Claim("each_corruption", "Each corruption contributes: leaving any out costs detection",
          "fig14, tab09", "natural", _each_corruption),
    *_both("over_random_images",
           "Beyond the paper: distilled sets detect better than random images and outliers",
           "tab08", _distilled_over_random_images),
    Claim("over_random_images_accuracy",
          "Beyond the paper: distilled sets are more accurate than random images and outliers",
          "tab08", "accuracy", partial(_distilled_over_random_images, measure="accuracy")),
    Claim("fitted_detectors",
          "Beyond the paper: outliers beat detectors that are fitted on real training images and "
          "need no outliers", "fig16, tab11", "natural", _fitted_detectors),
    Claim("calibration", "Beyond the paper: calibration is no worse with outliers",
          "fig19, tab13", "ece", _calibration, -MARGIN),
)  # fmt: skip
