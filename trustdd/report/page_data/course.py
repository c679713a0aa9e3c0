"""Synthetic sets on their way, from where they began to what was stored."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from trustdd.report import naming
from trustdd.report.page_data.packing import packed
from trustdd.report.results import MissingArtefacts, Results, arrays, by_mode, one_setting, pictures
from trustdd.store.run import Run


def course_of(results: Results) -> dict[str, Any]:
    """Return the snapshots of the main runs' sets of the first seed, and what they were worth.

    Returns:
        ``sets``, one for each outlier mode: ``iterations``; ``images`` and, if any, ``outliers``,
        ``uint8 [t, n, c, s, s]``; ``labels [n]``; and where students were trained on the way,
        ``accuracy`` and ``auroc`` in [0, 1], with ``null`` where none was.

    Raises:
        MissingArtefacts: the runs, or their snapshots, are not there.
    """
    runs = one_setting(results.runs("main", files=("distilled.safetensors", "report.csv")))
    shown = {mode: members[0] for mode, members in by_mode(runs).items()}
    for run in shown.values():
        if not run.has("snapshots.safetensors"):
            raise MissingArtefacts(
                f"profile '{results.name}': no snapshots of {run.experiment.key} are kept",
                (run.experiment.key,), "",
            )  # fmt: skip
    first = next(iter(shown.values())).experiment
    return {
        "profile": results.profile.name, "setting": naming.setting_name(first), "seed": first.seed,
        "sets": [_set_on_its_way(mode, run) for mode, run in shown.items()],
    }  # fmt: skip


def _set_on_its_way(mode: str, run: Run) -> dict[str, Any]:
    tensors = arrays(run, "snapshots.safetensors")
    last = pictures(run)
    mean, std = _normalisation(run)
    iterations = sorted({int(name.split(".")[1]) for name in tensors})
    found: dict[str, Any] = {
        "outliers": mode, "name": naming.MODES[mode], "key": run.experiment.key,
        "iterations": [*iterations, int(run.experiment.iterations)],
        "labels": last["labels"].tolist(),
    }  # fmt: skip
    for part in ("images", "outliers"):
        if part not in last:
            continue
        steps = [
            tensors[f"snapshot.{i}.{part}"].astype(np.float32) * std + mean for i in iterations
        ]
        frames = np.stack([*steps, last[part].transpose(0, 3, 1, 2)])
        found[f"{part}_shown"] = packed(np.round(np.clip(frames, 0, 1) * 255), "uint8")
    return found | _measured(run, found["iterations"])


def _normalisation(run: Run) -> tuple[np.ndarray, np.ndarray]:
    from safetensors import safe_open

    with safe_open(run.path("distilled.safetensors"), framework="np") as file:
        metadata = file.metadata()
    mean, std = (np.asarray(json.loads(metadata[name]), np.float32) for name in ("mean", "std"))
    return mean[:, None, None], std[:, None, None]


def _measured(run: Run, iterations: list[int]) -> dict[str, list[float | None]]:
    """Accuracy and mean AUROC of MSP along the way."""
    report = run.read_frame("report.csv").assign(iteration=iterations[-1])
    frames = [report]
    if run.has("snapshots.csv"):
        frames.insert(0, run.read_frame("snapshots.csv"))
    values: dict[int, tuple[float, float]] = {}
    for frame in frames:
        rows = frame[frame["score"] == "msp"]
        for iteration, part in rows.groupby("iteration"):
            values[int(iteration)] = (float(part["accuracy"].iloc[0]), float(part["auroc"].mean()))
    at = [values.get(iteration) for iteration in iterations]
    return {
        "accuracy": [None if value is None else value[0] for value in at],
        "auroc": [None if value is None else value[1] for value in at],
    }
