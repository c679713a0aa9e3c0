"""Confidences of every test and OOD image, for a page on which a threshold is moved."""

from __future__ import annotations

from typing import Any

import numpy as np

from trustdd.report import naming
from trustdd.report.confidence import FROM_LOGITS, confidence_of, threshold_of
from trustdd.report.page_data.images import kinds_of, places_of
from trustdd.report.page_data.packing import packed
from trustdd.report.page_data.students import shown_runs
from trustdd.report.results import Results, arrays

#: images of each set that are shown near the threshold; their confidences are all there
COUNT = 96


def confidences_of(results: Results) -> dict[str, Any]:
    """Return what the students of `trustdd.report.page_data.students` say of all images.

    Returns:
        ``sets``, the InD test set first: ``id``, ``name``, ``kind``, ``count``. ``students``, each
        with ``confidence``, score → set → ``float32 [count]`` in the set's order, and the
        ``threshold`` of each score that keeps 95% of the test images. Where the data is at hand, a
        set also has ``images``, ``uint8 [n, c, s, s]``, at ``places`` of its order.

    Raises:
        MissingArtefacts: the runs are not there.
    """
    runs = shown_runs(results)
    first = next(iter(runs.values())).experiment
    logits = {mode: arrays(run, "logits.safetensors") for mode, run in runs.items()}
    names = {"in": "in", **{f"ood.{name}": name for name in first.ood}}
    stored = next(iter(logits.values()))
    kinds = kinds_of(list(runs.values()))
    sets = [
        {
            "id": name,
            "name": set_name(name),
            "kind": kinds.get(name, "far OOD"),
            "count": len(stored[key]),
        }
        for key, name in names.items()
    ]
    students = [
        {
            "outliers": mode, "name": naming.MODES[mode], "key": runs[mode].experiment.key,
            "confidence": {
                score: {
                    name: packed(confidence_of(tensors[key], score), "float32")
                    for key, name in names.items()
                }
                for score in FROM_LOGITS
            },
            "threshold": {
                # as the page compares them, in single precision
                score: threshold_of(confidence_of(tensors["in"], score).astype(np.float32))
                for score in FROM_LOGITS
            },
        }
        for mode, tensors in logits.items()
    ]  # fmt: skip
    _add_images(sets, results)
    return {
        "profile": results.profile.name, "setting": naming.setting_name(first), "seed": first.seed,
        "classes": stored["in"].shape[1], "sets": sets, "students": students,
    }  # fmt: skip


def set_name(name: str) -> str:
    """A set's name as read; ``in`` are the InD test images."""
    return "test images" if name == "in" else naming.ood_name(name)


def _add_images(sets: list[dict[str, Any]], results: Results) -> None:
    """Add some images of each set, where the data is at hand."""
    from trustdd.data.inputs import load_inputs
    from trustdd.data.ood import load_ood_suite
    from trustdd.settings.errors import MissingData

    experiment = next(iter(shown_runs(results).values())).experiment
    try:
        images = {"in": load_inputs(experiment).test.images}
        images |= {name: some.images for name, some in load_ood_suite(experiment).items()}
    except MissingData:
        return
    for one in sets:
        places = places_of(one["id"], one["count"], COUNT)
        one["places"] = places.tolist()
        one["images"] = packed(images[one["id"]][places].numpy(), "uint8")
