"""What a training set costs: bytes to keep, seconds to make and to train on, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from trustdd.report.view import View
from trustdd.store.run import Run
from trustdd.store.tensors import tensor_shapes


def costs(runs: Sequence[Run]) -> pd.DataFrame:
    """Return a row per run: `trustdd.report.view.View.summary` and

    - `training_images`: InD images and outliers that the student is trained on;
    - `storage_kib`: their values in KiB, a byte each for real images, two for synthetic ones;
    - `distillation_seconds`, `training_seconds`: wall time of either;
    - `peak_memory_mib`: of the process that distilled, or trained on the full data.

    Args:
        runs: or a `View`, through whose selection their reports are seen.
    """
    frame = View.around(runs).summary()
    rows = {run.experiment.key: _cost(run, runs) for run in runs}
    return frame.join(pd.DataFrame([rows[key] for key in frame["key"]], index=frame.index))


def _cost(run: Run, runs: Sequence[Run]) -> dict[str, float]:
    experiment = run.experiment
    evaluate, distill = evaluation(run), run.manifest().get("distill", {})
    values = _values_per_image(run, runs)
    if experiment.selection == "full":
        images = _full_size(run)
        kept, floats = images, 0
    else:
        shapes = _shapes(run)
        inside, outside = shapes["images"][0], shapes.get("outliers", (0,))[0]
        images = inside + outside
        # what was drawn at random is still an image of bytes
        floats = inside * (experiment.selection == "distilled")
        floats += outside * (experiment.outlier_selection == "distilled")
        kept = images - floats
    stage = evaluate if experiment.selection == "full" else distill
    return {
        "training_images": images,
        "storage_kib": values * (kept + 2 * floats) / 1024,
        "distillation_seconds": float(distill.get("seconds", float("nan"))),
        "training_seconds": float(evaluate.get("training_seconds", float("nan"))),
        "peak_memory_mib": float(stage.get("peak_memory_mib", float("nan"))),
    }


def evaluation(run: Run) -> dict[str, Any]:
    """What was recorded when the run's first student was trained and tested."""
    part = run.stored_part("evaluate")
    return {} if part is None else part.manifest()["evaluate"]


def _shapes(run: Run) -> dict[str, tuple[int, ...]]:
    """Shapes of a distilled set's tensors, from the file's header or the manifest alone."""
    recorded = run.manifest().get("distill", {}).get("shapes")
    shapes = recorded or tensor_shapes(run.path("distilled.safetensors"))
    return {name: tuple(shape) for name, shape in shapes.items()}


def _values_per_image(run: Run, runs: Sequence[Run]) -> int:
    """Channels × height × width of the dataset, as some run's synthetic images have them."""
    size = run.experiment.image_size
    same = [r for r in runs if r.experiment.dataset == run.experiment.dataset]
    for other in (run, *same):
        if other.experiment.selection != "full":
            return _shapes(other)["images"][1] * size * size
    from trustdd.data.inliers import inlier_channels

    return inlier_channels(run.experiment) * size * size


def _full_size(run: Run) -> int:
    """Number of training images of the whole dataset."""
    recorded = evaluation(run).get("training_images")
    if recorded is not None:
        return int(recorded)
    from trustdd.data.inliers import load_inliers

    return len(load_inliers(run.experiment).train)
