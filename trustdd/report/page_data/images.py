"""Images for a reader to show to students: test images, OOD images, outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trustdd.report import naming
from trustdd.report.page_data.packing import packed
from trustdd.report.page_data.students import shown_runs
from trustdd.report.primary import NOISE, primary_of
from trustdd.report.results import Results
from trustdd.settings.randomness import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from trustdd.settings.experiment import Experiment
    from trustdd.store.run import Run

#: images of each set; drawn once for all, whatever students make of them
COUNT = 24
_KINDS = {"oe": "real outliers", "poe": "pseudo-outliers"}


def images_of(results: Results) -> dict[str, Any]:
    """Return images that the students of `trustdd.report.page_data.students` may be shown.

    Returns:
        ``sets``, each with ``id``, ``name``, its ``kind`` (``InD``, ``near OOD``, ``far OOD``,
        ``noise`` or ``outliers``) and ``images``, ``uint8 [n, c, h, w]``; of test images
        ``labels``; of test images and OOD sets ``places``, where they stand among the stored
        logits. For digits ``drawing`` says what brings a drawn one into the form of the others.

    Raises:
        MissingArtefacts: the runs are not there.
        ValueError: the data is not there.
    """
    from trustdd.data.inputs import load_inputs
    from trustdd.data.ood import load_ood_suite

    runs = shown_runs(results)
    experiment = next(iter(runs.values())).experiment
    data, suite = load_inputs(experiment), load_ood_suite(experiment)
    kinds = kinds_of(list(runs.values()))
    places = places_of("in", len(data.test))
    assert data.test.labels is not None
    sets = [{
        "id": "in", "name": "test images", "kind": "InD", "places": places.tolist(),
        "labels": data.test.labels[places].tolist(),
        "images": packed(data.test.images[places].numpy(), "uint8"),
    }]  # fmt: skip
    for name, images in suite.items():
        places = places_of(name, len(images))
        sets.append({
            "id": name, "name": naming.ood_name(name),
            "kind": kinds.get(name, "far OOD"), "places": places.tolist(),
            "images": packed(images.images[places].numpy(), "uint8"),
        })  # fmt: skip
    sets += [
        {"id": mode, "name": _KINDS[mode], "kind": "outliers",
         "images": packed(_outliers(run.experiment), "uint8")}
        for mode, run in runs.items()
        if mode in _KINDS
    ]  # fmt: skip
    drawing = {"drawing": {"enlarge": packed(_enlarge(data.image_size), "float32")}}
    return {"sets": sets, **(drawing if experiment.dataset == "digits" else {})}


def kinds_of(runs: Sequence[Run]) -> dict[str, str]:
    """What each set is to runs of one setting: ``InD``, ``near OOD``, ``far OOD`` or ``noise``."""
    primary = primary_of(runs)
    kinds = dict.fromkeys(primary.near, "near OOD") | dict.fromkeys(primary.far, "far OOD")
    return {"in": "InD", **dict.fromkeys(NOISE, "noise"), **kinds}


def places_of(name: str, size: int, count: int = COUNT) -> Tensor:
    """Which images of a set are shown, ``int64 [≤ count]``, sorted; drawn whatever students say."""
    import torch

    return torch.randperm(size, generator=_generator(name))[:count].sort().values


def _generator(name: str) -> torch.Generator:
    return stream(0, "shown on pages", name)


def _outliers(experiment: Experiment) -> Any:
    """Outliers as distillation draws them, over all class slots."""
    from trustdd.data.inputs import load_inputs
    from trustdd.data.outliers import outlier_source

    source = outlier_source(experiment, load_inputs(experiment))
    assert source is not None
    drawn = source.mixed(COUNT, _generator(experiment.outliers))
    return (drawn * 255).round().byte().numpy()


def _enlarge(image_size: int) -> Any:
    """The matrix ``[image_size, 8]`` that enlarges a digit of 8 px as `trustdd.data.embedded` does.

    The image ``x`` becomes ``A x Aᵀ``.
    """
    import torch
    import torch.nn.functional as F

    rows = torch.eye(8, dtype=torch.float64)[:, None, :, None].expand(8, 1, 8, 8)
    large = F.interpolate(rows, (image_size, image_size), mode="bicubic", antialias=True)
    return large[:, 0, :, 0].T.numpy()
