"""How far a profile's runs are, what they took, and what they would take by the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trustdd.report.analysis.expected import expected_hours
from trustdd.report.naming import OUTLIERS, setting_name
from trustdd.report.results import SCORE
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import Profile
from trustdd.store.run import Run
from trustdd.store.stages import MAIN_STAGES


def status(profile: Profile, benchmarks: Path | None = None) -> dict[str, Any]:
    """Say how far a profile is.

    Args:
        profile: whose runs.
        benchmarks: the folder of ``speed-cpu.json`` and ``speed-cuda.json``, if any.

    Returns:
        ``settings``, one for each setting whatever its seed: ``name``, ``planned``, ``done``,
        ``accuracy`` and ``auroc`` of the finished runs (each a mean over the suite), ``hours`` that
        they took, and ``expected``: hours of all of them on each device of ``benchmarks``.
    """
    speeds = {}
    for device in ("cpu", "cuda"):
        path = benchmarks / f"speed-{device}.json" if benchmarks else None
        if path is not None and path.is_file():
            speeds[device] = json.loads(path.read_text(encoding="utf-8"))["settings"]
    settings: dict[str, dict[str, Any]] = {}
    counted: set[str] = set()
    for group, experiments in profile.groups.items():
        for experiment in experiments:
            if experiment.key in counted:  # in an earlier group as well
                continue
            counted.add(experiment.key)
            name = _name(group, experiment)
            entry = settings.setdefault(
                name, {"name": name, "planned": 0, "done": 0, "accuracy": [], "auroc": [],
                       "hours": 0.0, "expected": {}},
            )  # fmt: skip
            entry["planned"] += 1
            for device, report in speeds.items():
                hours = expected_hours(experiment, report)
                if hours is not None:
                    entry["expected"][device] = entry["expected"].get(device, 0.0) + hours
            run = Run.of(experiment, profile.name)
            if all(run.finished(stage) for stage in MAIN_STAGES):
                frame = run.read_frame("report.csv")
                entry["done"] += 1
                entry["accuracy"].append(float(frame["accuracy"].iloc[0]))
                entry["auroc"].append(float(frame.loc[frame["score"] == SCORE, "auroc"].mean()))
                entry["hours"] += _seconds(run) / 3600
    return {"profile": profile.name, "benchmarks": list(speeds), "settings": [*settings.values()]}


def _name(group: str, experiment: Experiment) -> str:
    kind = "" if group in ("main", "mtt") else f" ({group.replace('_', ' ')})"
    if experiment.selection == "full":
        return f"{experiment.dataset}, full data, {OUTLIERS[experiment.outliers]}"
    return f"{setting_name(experiment)}, {OUTLIERS[experiment.outliers]}{kind}"


def _seconds(run: Run) -> float:
    return sum(float(stage.get("seconds", 0.0)) for stage in run.records().values())
