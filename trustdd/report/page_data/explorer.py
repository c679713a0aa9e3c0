"""Every finished run of every profile, for a table to sort and to filter."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from trustdd.report import naming
from trustdd.report.comparison import difference
from trustdd.report.page_data.images import kinds_of
from trustdd.report.results import Results, reports
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import Profile, list_profiles, load_profile
from trustdd.store.run import Run
from trustdd.store.stages import MAIN_STAGES

#: means over several OOD sets, which stand in a row of their own
MEANS = {"all": "all sets", "near": "near sets", "far": "far sets"}
MEASURES = ("auroc", "fpr95_in")
_SELECTIONS = {"distilled": "distilled", "random": "random", "full": "all"}
_SHOWN = ("dataset", "method", "outliers", "ipc", "selection")


def explorer_of(results: Results) -> dict[str, Any]:
    """Return the results of the profile, and of all others that have finished runs.

    Returns:
        ``settings``: one for each setting whatever its seed, in words, with the ``keys`` of its
        runs and the ``command`` that makes them again. ``rows``: the places of a setting and of an
        OOD set in their lists and a score, ``[setting, score, set, …]``, then mean AUROC, the ends
        of its 95% interval over seeds (``null`` for a single one) and mean FPR95 with InD positive,
        all in [0, 1].
    """
    profiles = [results.profile, *(load_profile(n) for n in list_profiles())]
    unique = {profile.name: profile for profile in profiles}
    settings: list[dict[str, Any]] = []
    rows: list[list[Any]] = []
    sets: dict[str, str] = {}
    for profile in unique.values():
        for group, members in _settings(profile, results):
            settings.append(_in_words(profile, group, members))
            rows += [[len(settings) - 1, *row] for row in _rows(members, sets)]
    places = {name: place for place, name in enumerate(sets)}
    return {
        "settings": settings,
        "scores": list(dict.fromkeys(row[1] for row in rows)),
        "score_names": naming.SCORES,
        "sets": [{"id": name, "name": shown} for name, shown in sets.items()],
        "rows": [[row[0], row[1], places[row[2]], *row[3:]] for row in rows],
    }


def as_csv(found: dict[str, Any]) -> str:
    """Return `explorer_of`'s rows as CSV, with the settings' words in columns."""
    lines = []
    for setting, score, place, *values in found["rows"]:
        words = {k: v for k, v in found["settings"][setting].items() if k not in ("keys", "varied")}
        measured = dict(zip(("auroc", "auroc_low", "auroc_high", "fpr95_in"), values, strict=True))
        lines.append({**words, "score": score, "ood": found["sets"][place]["id"], **measured})
    text = io.StringIO()
    pd.DataFrame(lines).to_csv(text, index=False, lineterminator="\n", float_format="%.6g")
    return text.getvalue()


def _settings(profile: Profile, results: Results) -> list[tuple[str, list[Run]]]:
    """Finished runs of a profile, in lists of one setting, each with the first group it is in."""
    found: dict[tuple[Any, ...], tuple[str, list[Run]]] = {}
    counted: set[str] = set()
    for group, experiments in profile.groups.items():
        for experiment in experiments:
            run = Run.of(experiment, profile.name, results.root)
            fresh = experiment.key not in counted
            if fresh and all(run.finished(stage) for stage in MAIN_STAGES):
                counted.add(experiment.key)
                values = experiment.to_dict()
                values.pop("seed")
                key = (profile.name, repr(sorted(values.items())))
                found.setdefault(key, (group, []))[1].append(run)
    return list(found.values())


def _in_words(profile: Profile, group: str, runs: Sequence[Run]) -> dict[str, Any]:
    first = runs[0].experiment
    report = reports(runs)
    seeds = sorted({run.experiment.seed for run in runs})
    accuracy = report.groupby("seed")["accuracy"].first().to_numpy(dtype=float)
    interval = difference(accuracy)
    keys = [run.experiment.key for run in runs]
    whole = first.selection == "full"
    outliers = naming.OUTLIERS[first.outliers]
    if first.outliers != "none" and first.outlier_selection != "distilled" and not whole:
        outliers += f", {first.outlier_selection}"
    return {
        "profile": profile.name, "group": group,
        "dataset": first.dataset,
        # all training images are neither distilled nor counted by class
        "method": None if whole else naming.METHODS.get(first.method, first.method),
        "ipc": None if whole else first.ipc,
        "images": _SELECTIONS.get(first.selection, first.selection), "outliers": outliers,
        "seeds": len(seeds), "students": first.students,
        "accuracy": interval.mean,
        "accuracy_low": _finite(interval.low), "accuracy_high": _finite(interval.high),
        "varied": _not_published(first), "keys": keys,
        "command": f"trustdd stage distill,evaluate {' '.join(keys)} --profile {profile.name}",
    }  # fmt: skip


def _not_published(experiment: Experiment) -> dict[str, Any]:
    """The settings that are others than the published ones."""
    published = Experiment(
        dataset=experiment.dataset, method=experiment.method, ipc=experiment.ipc,
        data_root=experiment.data_root or "data",
    )  # fmt: skip
    given, default = experiment.to_dict(), published.to_dict()
    return {k: v for k, v in given.items() if k not in (*_SHOWN, "seed") and default.get(k) != v}


def _rows(runs: Sequence[Run], sets: dict[str, str]) -> list[list[Any]]:
    """Rows of one setting: each score on each OOD set, and on the mean of several."""
    frame = reports(runs)
    kinds = kinds_of(runs)
    near, far = (
        [n for n in runs[0].experiment.ood if kinds.get(n) == kind]
        for kind in ("near OOD", "far OOD")
    )
    groups = {"all": list(runs[0].experiment.ood), "near": near, "far": far}
    groups |= {name: [name] for name in runs[0].experiment.ood}
    rows = []
    for score, part in frame.groupby("score", sort=False):
        for name, members in groups.items():
            chosen = part[part["ood"].isin(members)]
            if chosen.empty:
                continue
            sets.setdefault(name, MEANS.get(name) or naming.ood_name(name))
            means = chosen.groupby("seed")[list(MEASURES)].mean()
            auroc = difference(means["auroc"].to_numpy(dtype=float))
            values = [auroc.mean, _finite(auroc.low), _finite(auroc.high), means["fpr95_in"].mean()]
            rows.append([score, name, *(None if v is None else round(float(v), 5) for v in values)])
    return rows


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
