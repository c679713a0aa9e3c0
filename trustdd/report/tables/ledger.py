"""The ledger (tab15): each claim of the paper, what was run, what came out, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from trustdd.report.analysis.claims import CLAIMS, FAR_ABOVE, MARGIN, Evidence, evidence_for
from trustdd.report.comparison import Difference
from trustdd.report.export import MadeTable
from trustdd.report.markup import Column, Row
from trustdd.report.naming import listed, ood_name
from trustdd.report.primary import primary_of
from trustdd.report.verdicts import LEVEL, VERDICTS, Verdict, judge
from trustdd.store.profiles import Primary
from trustdd.store.run import Run

#: how a measure is called in the table
MEASURES = {
    "near": "AUROC, near OOD", "far": "AUROC, far OOD", "natural": "AUROC, near and far OOD",
    "accuracy": "accuracy", "ece": "ECE, lowered",
}  # fmt: skip


def tab15(runs: Sequence[Run]) -> MadeTable:
    """Each claim in one line: what was run, the result with its interval, the verdict."""
    primary = primary_of(runs)
    found = [evidence_for(claim, runs, primary) for claim in CLAIMS]
    verdicts = judge(
        [
            ([e.difference for e in own], claim.bound)
            for claim, own in zip(CLAIMS, found, strict=True)
        ]
    )
    rows: list[Row] = []
    table: list[dict[str, object]] = []
    for claim, own, verdict in zip(CLAIMS, found, verdicts, strict=True):
        result = "; ".join(f"{e.name}: {e.difference.text}" for e in own)
        rows.append(
            (
                claim.text, claim.where, MEASURES[claim.measure], result or "–", _p(verdict),
                verdict.word,
            )
        )  # fmt: skip
        facts = {
            "name": claim.name, "claim": claim.text, "measure": claim.measure,
            "bound": claim.bound,
        }  # fmt: skip
        said = {"p": verdict.p, "verdict": verdict.word}
        table += [
            {
                **facts, "comparison": e.name, "difference": e.difference.mean,
                "low": e.difference.low, "high": e.difference.high, "seeds": e.difference.seeds,
                **said,
            }
            for e in own or [Evidence("", Difference(float("nan"), float("nan"), float("nan"), 0))]
        ]  # fmt: skip
    counts = pd.Series([verdict.word for verdict in verdicts]).value_counts()
    counted = [f"{counts[word]} {word}" for word in VERDICTS if word in counts]
    finding = f"Of {len(CLAIMS)} claims: " + listed(counted)
    columns = (
        Column("claim"), Column("shown in"), Column("measure"), Column("result here"),
        Column("p (Holm)", numeric=True), Column("verdict"),
    )  # fmt: skip
    data = pd.DataFrame(table)
    quoted = {
        "claims": len(CLAIMS), **counts.to_dict(), "level": LEVEL, "far above": FAR_ABOVE,
        "margin": MARGIN,
    }  # fmt: skip
    caption = _caption(runs, primary)
    return MadeTable(columns, tuple(rows), data, caption, finding, tuple(runs), quoted)


def _caption(runs: Sequence[Run], primary: Primary) -> str:
    datasets = listed(sorted({run.experiment.dataset for run in runs}))
    sides = [
        f"{side} OOD is the mean over {listed([ood_name(n) for n in sets])}"
        for side, sets in (("near", primary.near), ("far", primary.far))
        if sets
    ]
    return (
        f"Differences on {datasets}, paired over seeds of the whole pipeline, with 95% "
        f"t-intervals; AUROC by {primary.score.upper()}, {listed(sides)}. A claim is reproduced "
        "where all its differences are shown to lie above its bound, contradicted where one is "
        "shown to lie below, and undecided otherwise, at a level of "
        f"{100 * LEVEL:.0f}% over all claims together (Holm). The bound is 0; for 'far above' it "
        f"is {100 * FAR_ABOVE:.0f} points, for 'competitive' and 'no worse' "
        f"−{100 * MARGIN:.0f}. The paper's own numbers could not be read from a source at hand, "
        "so none is quoted."
    )


def _p(verdict: Verdict) -> str:
    if verdict.p != verdict.p:
        return "–"
    return f"{verdict.p:.3f}" if verdict.p >= 0.001 else "< 0.001"
