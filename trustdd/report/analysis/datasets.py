"""How many images of what the experiments on a dataset use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trustdd.report.results import arrays
from trustdd.store.run import Run


@dataclass(frozen=True)
class DatasetFacts:
    """Sizes of a dataset and of what is used beside it.

    Attributes:
        classes: number of classes.
        image_size: height = width in pixels.
        channels: 1 or 3.
        training: InD training images.
        test: InD test images.
        ood: OOD set → images tested on, in the suite's order.
        pools: outlier pool of OE → images; empty where no run uses one.
    """

    classes: int
    image_size: int
    channels: int
    training: int
    test: int
    ood: dict[str, int]
    pools: dict[str, int]


def dataset_facts(runs: Sequence[Run]) -> DatasetFacts:
    """Collect the facts of one dataset from its finished runs, and from the data itself.

    Raises:
        ValueError: the data is not on this machine; the message says how to get it.
    """
    from trustdd.data.inliers import load_inliers
    from trustdd.data.ood import load_outlier_pool

    first = runs[0]
    data = load_inliers(first.experiment)
    pools = {
        str(run.experiment.outlier_pool): run.experiment
        for run in runs
        if run.experiment.outliers == "oe"
    }
    counts: dict[str, int] = {}
    for run in runs:
        frame = run.read_frame("report.csv").drop_duplicates("ood")
        counts |= dict(zip(frame["ood"], frame["n_out"].astype(int), strict=True))
    return DatasetFacts(
        classes=arrays(first, "logits.safetensors")["in"].shape[1],
        image_size=first.experiment.image_size,
        channels=data.channels,
        training=len(data.train),
        test=len(data.test),
        ood=counts,
        pools={name: len(load_outlier_pool(experiment)) for name, experiment in pools.items()},
    )
