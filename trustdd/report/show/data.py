"""The kinds of images an experiment is about: InD, OOD test sets, and drawn outliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from trustdd.report.markdown_text import code, escape
from trustdd.report.results import NEAR_OOD
from trustdd.report.show.display import finding, images, table
from trustdd.settings.errors import MissingData
from trustdd.settings.experiment import Experiment
from trustdd.settings.randomness import stream

if TYPE_CHECKING:
    from trustdd.data.imagesets import ImageSet
    from trustdd.data.inliers import InlierData
    from trustdd.data.outliers import OutlierSource


def if_present(load: Callable[[Experiment], Any], experiment: Experiment) -> Any:
    """Load data of an experiment; where it is not on this machine, say so on the page.

    Args:
        load: e.g. `trustdd.data.inliers.load_inliers`.
        experiment: whose data.

    Returns:
        What was loaded, or ``None``: functions that show it then show nothing.
    """
    try:
        return load(experiment)
    except MissingData as error:
        finding(
            "What this page shows of the images themselves is left out here: "
            f"{escape(str(error))}. Published results are read as they are stored."
        )
        return None


def data_finding(
    experiment: Experiment, data: InlierData | None, suite: Mapping[str, ImageSet] | None
) -> str:
    """Say how many images are learnt, recognised and rejected, as a sentence in Markdown."""
    if data is None or suite is None:
        return (
            f"**{experiment.ipc} synthetic images per class** are to stand for all of "
            f"{code(experiment.dataset)}; what must *not* be recognised are images of "
            f"**{len(experiment.ood)} other kind{'s' * (len(experiment.ood) != 1)}**."
        )
    unknown = sum(len(images) for images in suite.values())
    count = experiment.ipc * len(data.classes)
    return (
        f"**{count:,} synthetic images** are to stand for {len(data.train):,} real ones, and a "
        f"student trained on them is to recognise {len(data.test):,} more. What it must *not* "
        f"recognise are **{unknown:,} images of {len(suite)} other kinds**, none of which it is "
        "ever shown in training."
    )


def inliers(data: InlierData | None) -> None:
    """Display one training image of each class, and the first test images."""
    if data is None:
        return
    labels = data.train.labels
    assert labels is not None
    first = [int((labels == c).nonzero()[0, 0]) for c in range(min(10, len(data.classes)))]
    size = data.image_size
    images(
        {"training": data.train.images[first], "test": data.test.images[:10]},
        heads=[str(name) for name in data.classes[:10]],
        alt=f"One training image of each class of {data.name}, and the first ten test images.",
        caption=f"{code(data.name)}: {len(data.train):,} training and {len(data.test):,} test "
        f"images of {len(data.classes)} classes, {data.channels} × {size} × {size} pixels. The "
        "heads name the classes of the upper row.",
    )


def ood_suite(experiment: Experiment, suite: Mapping[str, ImageSet] | None) -> None:
    """Display ten images of every OOD test set, and a table of the sets."""
    if suite is None:
        return
    images(
        {name.replace("_", " "): some.images for name, some in suite.items()},
        alt=f"Ten images of each OOD test set of {experiment.dataset}: {', '.join(suite)}.",
        caption="The OOD suite, ten images of each set. A student meets them for the first time "
        "in its test.",
    )
    near = NEAR_OOD.get(experiment.dataset, ())
    rows = [
        [code(name), "near" if name in near else "far", f"{len(some):,}"]
        for name, some in suite.items()
    ]
    table(pd.DataFrame(rows, columns=["OOD set", "kind", "images"]))


def drawn_outliers(experiment: Experiment, data: InlierData | None) -> None:
    """Display outliers of the first class slots as a distillation step draws them."""
    from trustdd.data.outliers import outlier_source

    if data is None:
        return
    source = outlier_source(experiment, data)
    if source is None:
        finding('`outliers = "none"`: ordinary distillation draws no outliers.')
        return
    rows = {
        _slot_name(source, slot): source.batch(slot, 10, stream(experiment.seed, "shown", slot))
        for slot in range(min(4, len(source.groups)))
    }
    images(
        rows,
        alt=f"Ten {experiment.outliers.upper()} outliers of each of the first class slots.",
        caption=f"Outliers as a distillation step draws them (`{experiment.outliers}`), for the "
        "first class slots.",
    )


def _slot_name(source: OutlierSource, slot: int) -> str:
    if not source.corruptions:
        return f"slot {slot}"
    return f"slot {slot}: {source.corruptions[slot % len(source.corruptions)]}"
