"""The students of a profile's main runs, layer by layer, for a page that lets them answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trustdd.report import naming
from trustdd.report.confidence import FROM_LOGITS, confidence_of, threshold_of
from trustdd.report.page_data.packing import packed
from trustdd.report.results import MissingArtefacts, Results, arrays, by_mode, one_setting
from trustdd.store.run import Run

if TYPE_CHECKING:
    from torch import nn


def shown_runs(results: Results) -> dict[str, Run]:
    """Choose the runs that pages let answer: of each outlier mode, the first seed's.

    Args:
        results: of a profile with a group ``main``.

    Raises:
        MissingArtefacts: a run, or what it needs, is not there.
    """
    runs = one_setting(results.runs("main", files=("report.csv", "logits.safetensors")))
    return {mode: members[0] for mode, members in by_mode(runs).items()}


def students_of(results: Results) -> dict[str, Any]:
    """Return the students of `shown_runs` as values that JSON can say.

    Returns:
        ``students``, each with its ``layers`` in order and its ``scores``: for each score the
        ``threshold`` that keeps 95% of the test images, and the ``lowest`` and ``highest`` value
        of one; and what they are fed: ``image_size``, ``channels``, ``mean``,
        ``std``, the names of the ``classes``.

    Raises:
        MissingArtefacts: the students are not stored, or are of another kind than a ConvNet.
        ValueError: the data is not there.
    """
    # networks and images need torch, which other entries do without
    from trustdd.data.inputs import WhitenedData, load_inputs
    from trustdd.pipeline.work import load_student

    runs = shown_runs(results)
    first = next(iter(runs.values())).experiment
    data = load_inputs(first)
    if isinstance(data, WhitenedData):
        raise MissingArtefacts("students of whitened images: pages show others only", (), "")
    shown = []
    for mode, run in runs.items():
        if not run.has("student.safetensors"):
            raise MissingArtefacts(
                f"profile '{results.name}': student.safetensors of {run.experiment.key} is not "
                "kept; made again by: trustdd stage evaluate", (run.experiment.key,), "",
            )  # fmt: skip
        logits = arrays(run, "logits.safetensors")["in"]
        report = run.read_frame("report.csv")
        shown.append({
            "outliers": mode, "name": naming.MODES[mode], "key": run.experiment.key,
            "accuracy": float(report["accuracy"].iloc[0]),
            "layers": layers(load_student(run)),
            "scores": {s: _scale(confidence_of(logits, s)) for s in FROM_LOGITS},
        })  # fmt: skip
    return {
        "profile": results.profile.name, "setting": naming.setting_name(first), "seed": first.seed,
        "dataset": first.dataset, "classes": [str(name) for name in data.classes],
        "image_size": data.image_size, "channels": data.channels,
        "mean": list(data.mean), "std": list(data.std), "students": shown,
    }  # fmt: skip


def layers(network: nn.Module) -> list[dict[str, Any]]:
    """Return a ConvNet's layers, parameters in the layout that TensorFlow.js takes them in.

    Returns:
        ``conv`` with ``weight`` ``[3, 3, in, out]``, ``bias`` and ``padding``; ``norm`` of every
        channel by itself with ``scale``, ``shift`` and ``eps``; ``relu``; ``pool`` of 2 × 2;
        ``linear`` with ``weight`` ``[in, out]``, whose inputs are channel by channel, and ``bias``.

    Raises:
        MissingArtefacts: a layer of another kind.
    """
    from torch import nn

    from trustdd.networks.pooling import AveragePool

    found: list[dict[str, Any]] = []
    for layer in (*network.features, network.classifier):  # type: ignore[misc]
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.detach().cpu().permute(2, 3, 1, 0).numpy()
            found.append({"kind": "conv", "weight": packed(weight, "float32"),
                          "bias": _vector(layer.bias), "padding": layer.padding[0]})  # fmt: skip
        elif isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels:
            found.append({"kind": "norm", "scale": _vector(layer.weight),
                          "shift": _vector(layer.bias), "eps": layer.eps})  # fmt: skip
        elif isinstance(layer, nn.ReLU):
            found.append({"kind": "relu"})
        elif isinstance(layer, AveragePool):
            found.append({"kind": "pool"})
        elif isinstance(layer, nn.Linear):
            weight = layer.weight.detach().cpu().T.numpy()
            found.append({"kind": "linear", "weight": packed(weight, "float32"),
                          "bias": _vector(layer.bias)})  # fmt: skip
        else:
            raise MissingArtefacts(
                f"a student with a layer {type(layer).__name__}: pages let ConvNets answer", (), ""
            )
    return found


def _scale(confidence: np.ndarray) -> dict[str, float]:
    return {
        "threshold": threshold_of(confidence),
        "lowest": float(confidence.min()),
        "highest": float(confidence.max()),
    }


def _vector(parameter: Any) -> dict[str, Any]:
    return packed(parameter.detach().cpu().numpy(), "float32")
