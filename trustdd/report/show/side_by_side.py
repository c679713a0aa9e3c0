"""Methods side by side: what each reaches, what it costs, and the differences paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from trustdd.report.analysis.costs import costs
from trustdd.report.comparison import by_outliers, compared, paired_difference, seeds_text, with_std
from trustdd.report.naming import METHODS, MODES, listed
from trustdd.report.numbers import in_words
from trustdd.report.results import experts_of, reports, seeds_of
from trustdd.report.show.display import table
from trustdd.report.show.reports import HEADS, WORDS, interval

if TYPE_CHECKING:
    from trustdd.report.comparison import Difference
    from trustdd.store.run import Run

#: measures whose differences between methods are shown
COMPARED = ("accuracy", "auroc", "fpr95")


def methods_finding(runs: Sequence[Run]) -> str:
    """Say which of several methods classifies, detects and costs more, as Markdown.

    Args:
        runs: by one method or more, the same settings and seeds of each; all others are compared
            with the first one.
    """
    frame = costs(runs)
    control, *treatments = _methods(frame)
    times = frame.groupby("method")["distillation_seconds"].mean()
    sentences = []
    if not treatments:
        sentences.append(
            f"A distillation by {METHODS[control]} took {times[control]:,.0f} seconds."
        )
    for treatment in treatments:
        parts = []
        for mode, here in by_outliers(frame).items():
            gaps = {m: _gap(here, treatment, control, m) for m in ("accuracy", "auroc")}
            parts.append(
                f"with {WORDS[mode]} its accuracy is **{_verdict(gaps['accuracy'])}** and its mean "
                f"AUROC **{_verdict(gaps['auroc'])}**"
            )
        sentences.append(
            f"{METHODS[treatment]} against {METHODS[control]}, at {runs[0].experiment.ipc} images "
            f"a class: {listed(parts)} ({seeds_text(len(seeds_of(runs)))}). A distillation took "
            f"{times[treatment]:,.0f} seconds instead of {times[control]:,.0f}."
        )
    return " ".join(sentences)


def _gap(frame: pd.DataFrame, method: str, control: str, measure: str) -> Difference:
    ours, theirs = (frame[frame["method"] == m] for m in (method, control))
    return paired_difference(ours, theirs, measure)


def _verdict(gap: Difference) -> str:
    return f"{compared(gap)} ({in_words(gap)})"


def methods(runs: Sequence[Run]) -> None:
    """Display accuracy, detection, time and memory of every method and outlier mode."""
    frame = costs(runs)
    frame["expert_seconds"] = [_expert_seconds(run) for run in runs]
    lines = []
    for mode in by_outliers(frame):
        for method in _methods(frame):
            part = frame[(frame["outliers"] == mode) & (frame["method"] == method)]
            if part.empty:
                continue
            shares = [with_std(float(part[m].mean()), float(part[m].std(ddof=1))) for m in COMPARED]
            amounts = [
                _amount(part[name])
                for name in (
                    "distillation_seconds", "expert_seconds", "training_seconds",
                    "peak_memory_mib",
                )
            ]  # fmt: skip
            lines.append([MODES[mode], METHODS[method], *shares, *amounts])
    heads = [
        "outliers", "method", HEADS["accuracy"], HEADS["auroc"], "FPR95 ↓", "distilling (s)",
        "experts (s)", "a student (s)", "memory (MiB)",
    ]  # fmt: skip
    machines = sorted({run.manifest()["distill"].get("device", "") for run in runs})
    table(
        pd.DataFrame(lines, columns=heads),
        f"Score: MSP. Means over the {reports(runs)['ood'].nunique()} OOD sets, in percent, ± "
        f"standard deviation over {seeds_text(len(seeds_of(runs)))}; OOD is positive for FPR95. "
        f"Times are wall time of one run ({'; '.join(machines)}). That of distilling includes the "
        "experts where it was what trained them; their own time stands beside it. Memory is the "
        "peak of the process that distilled, libraries included.",
    )


def _amount(values: pd.Series) -> str:
    return "–" if values.isna().all() else f"{values.mean():,.0f}"


def _expert_seconds(run: Run) -> float:
    """Seconds that training a run's experts took; NaN for a method without any."""
    if run.experiment.method != "mtt":
        return float("nan")
    experts = experts_of(run)
    times = experts.manifest().get("seconds", {})
    return float(sum(times.get(expert.path.name, 0.0) for expert in experts))


def method_differences(runs: Sequence[Run]) -> None:
    """Display what each method has over the first, paired by seed."""
    frame = costs(runs)
    control, *treatments = _methods(frame)
    lines = []
    for mode, here in by_outliers(frame).items():
        for treatment in treatments:
            gaps = [_gap(here, treatment, control, measure) for measure in COMPARED]
            lines.append([MODES[mode], METHODS[treatment], *(interval(gap) for gap in gaps)])
    if not lines:
        return
    table(
        pd.DataFrame(lines, columns=["outliers", "method", *(HEADS[m] for m in COMPARED)]),
        f"{listed([METHODS[m] for m in treatments])} minus {METHODS[control]}, in percentage "
        f"points, with 95% t-intervals over {seeds_text(len(seeds_of(runs)))}, paired by seed.",
    )


def outlier_gains(runs: Sequence[Run]) -> None:
    """Display what outliers add to ordinary distillation by each method, paired by seed."""
    frame = costs(runs)
    lines = []
    for method in _methods(frame):
        part = frame[frame["method"] == method]
        plain = part[part["outliers"] == "none"]
        for mode in by_outliers(part):
            if mode == "none" or plain.empty:
                continue
            ours = part[part["outliers"] == mode]
            gaps = [paired_difference(ours, plain, measure) for measure in COMPARED]
            lines.append([METHODS[method], MODES[mode], *(interval(gap) for gap in gaps)])
    if lines:
        table(
            pd.DataFrame(lines, columns=["method", "outliers", *(HEADS[m] for m in COMPARED)]),
            "With outliers minus without, in percentage points, with 95% t-intervals over "
            f"{seeds_text(len(seeds_of(runs)))}, paired by seed.",
        )


def _methods(frame: pd.DataFrame) -> list[str]:
    """The methods in the order of their runs."""
    return [str(method) for method in frame["method"].unique()]
