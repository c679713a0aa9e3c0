"""The ledger (tab15): each claim of the paper, what was run, what came out, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from trustdd.report.analysis.ablations import corruption_variants, varied
from trustdd.report.comparison import Difference, paired_difference
from trustdd.report.export import MadeTable
from trustdd.report.markup import Column, Row
from trustdd.report.naming import MODES, listed
from trustdd.report.results import MissingArtefacts, one_setting, per_run, reports, summary
from trustdd.store.run import Run

#: InD accuracy counts as competitive down to this difference from ordinary distillation
MARGIN = 0.02
#: verdicts, from best to worst
VERDICTS = REPRODUCED, PARTLY, NOT, NOT_RUN = ("reproduced", "partly", "not", "not run here")
#: what the column of the paper's own number says: none could be read from a source at hand
PAPERS_NUMBER = "not at hand"


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
        text: the claim in our words.
        where: where the book shows it.
        measure: the measure that differs.
        evidence: finds the comparisons among all runs; empty where they were not run.
        least: the claim says that each difference is above this.
    """

    text: str
    where: str
    measure: str
    evidence: Callable[[Sequence[Run]], list[Evidence]]
    least: float = 0.0


def verdict(differences: Sequence[Difference], least: float = 0.0) -> str:
    """One word for all comparisons of a claim that they are above `least`.

    Returns:
        *reproduced* if every 95% interval lies above it; *not* if no mean does; *partly* in
        between, which is all that a single seed can show; *not run here* without comparisons.
    """
    if not differences:
        return NOT_RUN
    if all(d.low > least for d in differences):
        return REPRODUCED
    return PARTLY if any(d.mean > least for d in differences) else NOT


def tab15(runs: Sequence[Run]) -> MadeTable:
    """Each claim in one line: what was run, the result with its spread, the verdict."""
    rows: list[Row] = []
    table: list[dict[str, object]] = []
    counts: dict[str, int] = {}
    for claim in CLAIMS:
        try:
            found = claim.evidence(runs)
        except MissingArtefacts:
            found = []
        word = verdict([e.difference for e in found], claim.least)
        counts[word] = counts.get(word, 0) + 1
        result = "; ".join(f"{e.name}: {e.difference.text}" for e in found)
        rows.append((claim.text, claim.where, result or "–", PAPERS_NUMBER, word))
        table += [
            {
                "claim": claim.text, "comparison": e.name, "measure": claim.measure,
                "difference": e.difference.mean, "low": e.difference.low,
                "high": e.difference.high, "seeds": e.difference.seeds, "verdict": word,
            }
            for e in found
        ]  # fmt: skip
        if not found:
            table.append({"claim": claim.text, "measure": claim.measure, "verdict": word})
    words = [word for word in VERDICTS if word in counts]
    finding = f"Of {len(CLAIMS)} claims: " + listed([f"{counts[w]} {w}" for w in words])
    experiments = {run.experiment.dataset for run in runs}
    caption = (
        f"{finding}. Differences are paired over seeds of the whole pipeline, with 95% "
        f"t-intervals, on {listed(sorted(experiments))}. Reproduced: every interval bears the "
        "claim out; partly: some mean does, but not every interval; not: no mean does. InD "
        f"accuracy counts as competitive above −{100 * MARGIN:.0f} points. The paper's own numbers "
        "could not be read from a source at hand, so none is quoted."
    )
    columns = (
        Column("claim"), Column("shown in"), Column("result here"), Column("paper's number"),
        Column("verdict"),
    )  # fmt: skip
    return MadeTable(columns, tuple(rows), pd.DataFrame(table), caption, finding)


# -- where the comparisons are found --------------------------------------------------------------


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


def _main(runs: Sequence[Run], methods: Sequence[str] = ("dc", "dsa")) -> pd.DataFrame:
    """Suite means of the main setting: the first run's dataset and IPC, by some methods."""
    base = runs[0].experiment
    same = [
        run
        for run in _whole(runs)
        if run.experiment.method in methods
        and (run.experiment.dataset, run.experiment.ipc) == (base.dataset, base.ipc)
    ]
    if not same:
        raise MissingArtefacts("no such runs", (), "")
    return _first_of_each(summary(same))


def _first_of_each(frame: pd.DataFrame) -> pd.DataFrame:
    """One run per mode, setting and seed, the first: those of the main group stand first."""
    return frame.drop_duplicates(["dataset", "method", "ipc", "outliers", "seed"])


def _detection(runs: Sequence[Run]) -> list[Evidence]:
    return _pairs(_main(runs), "auroc")


def _poe_over_oe(runs: Sequence[Run]) -> list[Evidence]:
    found = _pairs(_main(runs), "auroc", ("poe",), "oe")
    return [Evidence("POE minus OE", e.difference) for e in found]


def _accuracy(runs: Sequence[Run]) -> list[Evidence]:
    return _pairs(_main(runs), "accuracy")


def _trajectory(runs: Sequence[Run]) -> list[Evidence]:
    return _pairs(_main(runs, ("mtt",)), "auroc")


def _every_ipc(runs: Sequence[Run]) -> list[Evidence]:
    base = runs[0].experiment
    same = [r for r in _whole(runs) if (r.experiment.dataset, r.experiment.method) ==
            (base.dataset, base.method)]  # fmt: skip
    frame = _first_of_each(varied(summary(same), "ipc", ["outlier_ipc"]))
    found = []
    for ipc, part in frame.groupby("ipc"):
        if set(part["outliers"]) >= {"none", "poe"}:
            pairs = _pairs(part, "auroc", ("poe",))
            found += [Evidence(f"POE, IPC {ipc}", pair.difference) for pair in pairs]
    return found if len(found) > 1 else []


def _distilled_over_random(runs: Sequence[Run]) -> list[Evidence]:
    main = _main(runs)
    base = runs[0].experiment
    drawn = [r for r in runs if r.experiment.selection == "distilled"
             and r.experiment.outlier_selection == "random"
             and (r.experiment.dataset, r.experiment.ipc) == (base.dataset, base.ipc)]  # fmt: skip
    if not drawn:
        return []
    frame = _first_of_each(summary(drawn))
    return [
        Evidence(MODES[mode], paired_difference(main[main["outliers"] == mode], part, "auroc"))
        for mode, part in frame.groupby("outliers", sort=False)
    ]


def _equal_budget(runs: Sequence[Run]) -> list[Evidence]:
    main = _main(runs)
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
    frame = _first_of_each(summary(spent))
    return [
        Evidence(MODES[mode], paired_difference(part, frame, "auroc"))
        for mode, part in treated.groupby("outliers", sort=False)
    ]


def _distilled_over_random_images(runs: Sequence[Run]) -> list[Evidence]:
    main = _main(runs)
    base = runs[0].experiment
    drawn = [r for r in runs if r.experiment.selection == "random"
             and (r.experiment.dataset, r.experiment.ipc) == (base.dataset, base.ipc)]  # fmt: skip
    if not drawn:
        return []
    frame = _first_of_each(summary(drawn))
    return [
        Evidence(
            f"{MODES[mode]}, {name}",
            paired_difference(main[main["outliers"] == mode], part, measure),
        )
        for mode, part in frame.groupby("outliers", sort=False)
        if mode != "none"
        for measure, name in (("auroc", "AUROC"), ("accuracy", "accuracy"))
    ]


def _main_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs of the main setting, one per mode and seed."""
    first: dict[tuple[str, int], Run] = {}
    for run in _whole(one_setting(runs)):
        first.setdefault((run.experiment.outliers, run.experiment.seed), run)
    return list(first.values())


def _transfer(runs: Sequence[Run]) -> list[Evidence]:
    chosen = [run for run in _main_runs(runs) if run.has("transfer.csv")]
    if not chosen:
        return []
    frame = per_run(reports(chosen, "transfer.csv"), ["network"])
    frame = frame[frame["network"] != "convnet"]
    within = ["network"]
    base = frame[frame["outliers"] == "none"]
    return [
        Evidence(MODES[m], paired_difference(frame[frame["outliers"] == m], base, "auroc", within))
        for m in ("oe", "poe")
        if m in set(frame["outliers"]) and not base.empty
    ]


def _all_corruptions(runs: Sequence[Run]) -> list[Evidence]:
    frame, variants = corruption_variants(_whole(one_setting(runs)))
    means = per_run(frame, ["variant"])
    every = means[means["variant"] == "all"]
    alone = [v for v in variants if v.startswith("only ")]
    return [
        Evidence(f"all minus {v}", paired_difference(every, means[means["variant"] == v], "auroc"))
        for v in alone
        if not every.empty
    ]


CLAIMS = (
    Claim("Outliers raise OOD detection far above ordinary distillation", "fig02, tab03",
          "auroc", _detection),
    Claim("Pseudo-outliers often detect better than real ones", "fig02, tab03",
          "auroc", _poe_over_oe),
    Claim("InD accuracy stays competitive", "fig04, tab07",
          "accuracy", _accuracy, -MARGIN),
    Claim("Distilled outliers are better than outliers drawn at random", "fig05, tab08",
          "auroc", _distilled_over_random),
    Claim("At an equal budget, images and outliers detect better than images alone",
          "fig05, tab08", "auroc", _equal_budget),
    Claim("The same holds for trajectory matching", "tab04", "auroc", _trajectory),
    Claim("It holds at every number of images per class", "fig12, tab03",
          "auroc", _every_ipc),
    Claim("It carries over to other architectures", "fig17, tab12",
          "auroc", _transfer),
    Claim("Each corruption contributes: all of them beat each alone", "fig14, tab09",
          "auroc", _all_corruptions),
    Claim("Beyond the paper: distilled sets beat random real images and outliers", "tab08",
          "auroc and accuracy", _distilled_over_random_images),
)  # fmt: skip
