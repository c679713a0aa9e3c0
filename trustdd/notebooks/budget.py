"""What experiments take that a profile has no settings for: the published budget."""

from __future__ import annotations

import json
from collections.abc import Sequence

from trustdd.settings.experiment import Experiment
from trustdd.store.files import project_root
from trustdd.store.profiles import Profile

SPEEDS = "benchmarks/results/speed-cpu.json"


def published_budget(
    experiments: Sequence[Experiment], profile: Profile, experts_alone: bool = False
) -> str | None:
    """Say what the published settings mean where a profile has none for a dataset.

    Args:
        experiments: those that are to be done.
        profile: the profile that they are done under.
        experts_alone: only the experts of trajectory matching are to be trained.

    Returns:
        A line with the datasets, what is published for them, and about how many hours that takes
        on the benchmark's machine; ``None`` where the profile has settings for all.
    """
    listed = {*profile.settings, *(e.dataset for e in profile.experiments())}
    waiting = [e for e in experiments if e.dataset not in listed]
    if not waiting:
        return None
    first = waiting[0]
    datasets = " and ".join(dict.fromkeys(f"'{e.dataset}'" for e in waiting))
    budget = f"students of {first.training_epochs} epochs"
    if first.selection == "distilled":
        budget = f"{first.iterations} iterations, {budget}"
    if experts_alone:
        budget = f"{first.experts} experts of {first.expert_length} epochs"
    return (
        f"profile '{profile.name}' has no settings for {datasets}: the published ones hold "
        f"({budget}); {_duration(waiting, experts_alone)}"
    )


def _duration(experiments: Sequence[Experiment], experts_alone: bool) -> str:
    # takes pandas, and is asked for seldom
    from trustdd.report.analysis.expected import estimated_hours

    path = project_root() / SPEEDS
    runs = f"{len(experiments)} run{'s' * (len(experiments) > 1)}"
    if not path.is_file():
        return f"{runs}; {SPEEDS}, which would tell how long they take, is not there"
    report = json.loads(path.read_text(encoding="utf-8"))
    hours = sum(estimated_hours(e, report["settings"], experts_alone) for e in experiments)
    shown = f"{hours:.2g}" if hours < 10 else f"{hours:,.0f}"
    return f"{runs} take about {shown} hours on the benchmark's {report['machine']['device']}"
