"""What it is about: one OOD image (fig01) and the framework as a diagram (fig06)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.confidence import confidence_of, softmax
from trustdd.report.export import MadeFigure
from trustdd.report.naming import listed, ood_name, setting_name
from trustdd.report.results import arrays
from trustdd.report.view import View
from trustdd.store.run import Run
from trustdd.store.tensors import read_arrays

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def fig01(view: View, width: float) -> MadeFigure:
    """One OOD image, and the class and confidence that each student gives it.

    Not a picked example: it is the image of the suite's first set that the ordinary student is
    surer of than of nine in ten others, and the caption says what all images get.
    """
    chosen = view.one_setting().first_seed()
    seed = chosen.experiment.seed
    shown = {mode: members[0] for mode, members in chosen.by_mode().items()}
    first = next(iter(shown.values())).experiment
    name = view.sets[0]
    logits = {m: arrays(run, "logits.safetensors")[f"ood.{name}"] for m, run in shown.items()}
    image, index, classes = _sample(next(iter(shown.values())), name)
    probabilities = {m: softmax(values[[index]])[0] for m, values in logits.items()}
    medians = {m: float(np.median(confidence_of(v))) for m, v in logits.items()}
    answers = {m: (classes[int(p.argmax())], float(p.max())) for m, p in probabilities.items()}
    finding = "One OOD image: " + listed(
        [f"{style.NAMES[m]} says {c} at {100 * p:.0f}%" for m, (c, p) in answers.items()]
    )
    wide = style.wide(width)
    figure = style.canvas(width, 1.6 if wide else 1.15 * (1 + len(shown)), finding)
    if wide:
        axes = list(figure.subplots(1, 1 + len(shown), width_ratios=[1.0] + [1.3] * len(shown)))
    else:
        axes = list(figure.subplots(1 + len(shown), 1))
    axes[0].imshow(image, vmin=0, vmax=1)
    axes[0].set_title(f"OOD: {ood_name(name)}")
    axes[0].set_xticks([])
    axes[0].set_yticks([])
    for panel, (mode, probability) in zip(axes[1:], probabilities.items(), strict=True):
        _bars(panel, probability, classes, mode)
        if panel is axes[1] or not wide:
            panel.set_ylabel("probability (%)")
        if wide or panel is axes[-1]:
            panel.set_xlabel("class")
        panel.tick_params(labelleft=panel is axes[1] or not wide)
    count = len(next(iter(logits.values())))
    caption = (
        f"Of {count:,} images of the OOD set {ood_name(name)} the one that the student of "
        f"{style.NAMES[next(iter(shown))]} is surer of than of nine in ten others "
        f"({setting_name(first)}, seed {seed}), and the softmax of each student; dotted: one over "
        "the number of classes. Median maximum softmax probability on the whole set: "
        + listed([f"{v:.2f} ({style.NAMES[m]})" for m, v in medians.items()])
        + "."
    )
    alt = (
        f"A {ood_name(name)} image, which shows none of the classes, beside bar charts of the "
        "class probabilities that each student gives it. "
        + " ".join(
            f"{style.NAMES[m]}: class {c} with {100 * p:.0f}%." for m, (c, p) in answers.items()
        )
    )
    data = pd.DataFrame(
        [
            (mode, seed, label, float(p))
            for mode, probability in probabilities.items()
            for label, p in zip(classes, probability, strict=True)
        ],
        columns=["outliers", "seed", "class", "probability"],
    )
    quoted = {f"median MSP, {style.NAMES[m]}": value for m, value in medians.items()}
    quoted["images"] = count
    runs = tuple(shown.values())
    return MadeFigure(figure, data, alt, caption, finding, runs, quoted)


def _sample(run: Run, name: str) -> tuple[np.ndarray, int, tuple[str, ...]]:
    """The kept image of an OOD set, ``[h, w(, 3)]`` in [0, 1], its place, and the InD classes."""
    stored, metadata = read_arrays(run.path("samples.safetensors"))
    picture = stored[f"ood.{name}"].transpose(1, 2, 0).astype(np.float32) / 255.0
    classes = json.loads(metadata["classes"])
    return picture.squeeze(), int(stored[f"place.{name}"]), tuple(classes)


def _bars(axes: Axes, probability: np.ndarray, classes: Sequence[str], mode: str) -> None:
    most = np.argsort(-probability, kind="stable")[:10]
    kept = np.sort(most)
    top = int(np.flatnonzero(kept == most[0])[0])
    colour = style.colour(mode)
    bars = axes.bar(range(len(kept)), probability[kept], color=colour, alpha=0.45, width=0.75)
    bars[top].set_alpha(1.0)
    axes.axhline(1 / len(probability), color=style.INK, linewidth=0.8, linestyle=":")
    axes.set_title(
        f"{style.NAMES[mode]}: {100 * probability.max():.0f}%", color=style.text_colour(mode)
    )
    labels = [classes[i] for i in kept]
    long = max(len(label) for label in labels) > 2
    axes.set_xticks(range(len(kept)), labels)
    if long:
        axes.tick_params(axis="x", rotation=60, pad=1)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_ylim(0, 1)
    style.percent_axis(axes.yaxis)


# -- the framework ------------------------------------------------------------------------------


def fig06(view: View, width: float) -> MadeFigure:
    """The framework: data, matching, distilled set, student, detector."""
    finding = "TrustDD distils outliers beside the images, and trains a student on both"
    wide = style.wide(width)
    figure = style.canvas(width, 2.45 if wide else 4.6, finding)
    axes = figure.subplots()
    steps = _PAGE if wide else _COLUMN
    axes.set_xlim(-0.6, steps["size"][0] + 0.6)
    axes.set_ylim(-0.6, steps["size"][1] + 0.6)
    axes.set_axis_off()
    for key, (title, lines, look) in _BOXES.items():
        _box(axes, steps["boxes"][key], title, lines, look)
    for start, end, look, label in steps["arrows"]:
        _arrow(axes, start, end, look, label)
    caption = (
        "Real InD images and outliers, from a real pool (OE) or by corrupting InD "
        "images (POE), each give a gradient or a trajectory; the synthetic images and the "
        "synthetic outliers are changed until they give the same. A student trained with "
        "cross-entropy on the images and λ times uniform cross-entropy on the outliers classifies "
        "InD inputs and rejects OOD inputs by the confidence of its answer. Without the lower "
        "road it is ordinary distillation."
    )
    alt = (
        "Diagram with two parallel roads. Upper: real InD images, matching, synthetic images. "
        "Lower: outliers from a real pool or from corrupted InD images, matching, synthetic "
        "outliers. Both lead to a student trained on cross-entropy plus λ times uniform "
        "cross-entropy, and then to a detector that accepts with a class or rejects."
    )
    data = pd.DataFrame(
        [(key, title, " ".join(lines)) for key, (title, lines, _) in _BOXES.items()],
        columns=["box", "title", "text"],
    )
    return MadeFigure(figure, data, alt, caption, finding)


#: key → title, lines, look: "in" for InD, "out" for outliers, "both" for what uses the two
_BOXES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "real": ("Real InD images", ("class by class",), "in"),
    "pool": ("Outliers", ("OE: a real pool", "POE: corrupted InD"), "out"),
    "match_in": ("Matching", ("gradients or", "trajectories, CE"), "in"),
    "match_out": ("Matching", ("the same, with", "uniform CE"), "out"),
    "images": ("Synthetic images", ("IPC per class",), "in"),
    "outliers": ("Synthetic outliers", ("one group per slot",), "out"),
    "student": ("Student", ("trained on CE(images)", "+ λ · uniform CE(outliers)"), "both"),
    "detector": ("Detector", ("confident enough:", "its class; else: rejected"), "both"),
}
_LOOKS = {"in": style.INK, "out": style.OUTLIER_INK, "both": style.INK}

Box = tuple[float, float, float, float]
_PAGE: dict[str, Any] = {
    "size": (100, 36),
    "boxes": {
        "real": (0, 24, 15, 11), "match_in": (19.5, 24, 14, 11), "images": (38, 24, 16.5, 11),
        "pool": (0, 1, 15, 11), "match_out": (19.5, 1, 14, 11), "outliers": (38, 1, 16.5, 11),
        "student": (57.5, 12, 21, 12), "detector": (81.5, 12, 18.5, 12),
    },
    "arrows": [
        ((15, 29.5), (19.5, 29.5), "in", ""), ((33.5, 31), (38, 31), "in", ""),
        ((38, 28), (33.5, 28), "in", ""), ((15, 6.5), (19.5, 6.5), "out", ""),
        ((33.5, 8), (38, 8), "out", ""), ((38, 5), (33.5, 5), "out", ""),
        ((7.5, 24), (7.5, 12), "out", "corrupt (POE)"),
        ((54.5, 29.5), (63, 24), "in", ""), ((54.5, 6.5), (63, 12), "out", ""),
        ((78.5, 18), (81.5, 18), "both", ""), ((90.7, 31), (90.7, 24), "both", "test image"),
    ],
}  # fmt: skip
_COLUMN: dict[str, Any] = {
    "size": (100, 128),
    "boxes": {
        "real": (0, 108, 43, 17), "match_in": (0, 82, 43, 17), "images": (0, 56, 43, 17),
        "pool": (57, 108, 43, 17), "match_out": (57, 82, 43, 17), "outliers": (57, 56, 43, 17),
        "student": (20, 28, 60, 18), "detector": (20, 2, 60, 18),
    },
    "arrows": [
        ((22, 108), (22, 99), "in", ""), ((17, 82), (17, 73), "in", ""),
        ((27, 73), (27, 82), "in", ""), ((78, 108), (78, 99), "out", ""),
        ((73, 82), (73, 73), "out", ""), ((83, 73), (83, 82), "out", ""),
        ((43, 116.5), (57, 116.5), "out", "POE"), ((24, 56), (36, 46), "in", ""),
        ((76, 56), (64, 46), "out", ""), ((50, 28), (50, 20), "both", ""),
        ((4, 11), (20, 11), "both", "test"),
    ],
}  # fmt: skip


def _box(axes: Axes, place: Box, title: str, lines: Sequence[str], look: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, bottom, width, height = place
    colour = _LOOKS[look]
    axes.add_patch(
        FancyBboxPatch(
            (left + 0.6, bottom + 0.6), width - 1.2, height - 1.2,
            boxstyle="round,pad=0.6,rounding_size=1.2", edgecolor=colour, linewidth=1.1,
            facecolor=style.FILL if look == "both" else style.CARD, zorder=2,
        )
    )  # fmt: skip
    middle = left + width / 2
    axes.text(middle, bottom + height * (0.74 if len(lines) > 1 else 0.66), title, ha="center",
              va="center", fontsize=style.points(6.9), fontweight="bold", color=colour,
              zorder=3)  # fmt: skip
    for place_of, line in zip((0.44, 0.2) if len(lines) > 1 else (0.32,), lines, strict=True):
        # a mode has its own colour wherever it is named
        mode = next((m for m in ("poe", "oe") if line.startswith(f"{m.upper()}:")), "")
        axes.text(middle, bottom + height * place_of, line, ha="center", va="center",
                  fontsize=style.points(6.4), color=style.text_colour(mode) if mode else style.INK,
                  zorder=3)  # fmt: skip


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], look: str, label: str
) -> None:
    axes.annotate(
        "", end, start, zorder=1,
        arrowprops={"arrowstyle": "-|>", "color": _LOOKS[look], "linewidth": 1.1,
                    "shrinkA": 1.0, "shrinkB": 0.5, "mutation_scale": 8},
    )  # fmt: skip
    if label:
        vertical = start[0] == end[0]
        axes.text(
            (start[0] + end[0]) / 2 + (0.9 if vertical else 0), (start[1] + end[1]) / 2
            + (0 if vertical else 2.2), label, fontsize=style.points(6.2), color=_LOOKS[look],
            ha="left" if vertical else "center", va="center",
        )  # fmt: skip
