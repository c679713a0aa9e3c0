"""Images: the corruptions (fig03), the synthetic set (fig07) and the synthetic outliers (fig08)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trustdd.report import style
from trustdd.report.comparison import in_percent
from trustdd.report.export import MadeFigure
from trustdd.report.figures.marks import image_rows
from trustdd.report.naming import listed, opened, setting_name
from trustdd.report.results import MissingArtefacts, pictures
from trustdd.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: images shown in a row, on a page and in a column
PAGE_COLUMNS, COLUMN_COLUMNS = 10, 6


def fig03(view: View, width: float) -> MadeFigure:
    """InD images and what each corruption makes of them."""
    import torch

    from trustdd.data.corruptions import CORRUPTIONS
    from trustdd.settings.randomness import stream

    experiment = next((r.experiment for r in view if r.experiment.corruptions), view.experiment)
    names = list(experiment.corruptions) or list(CORRUPTIONS)[:4]
    images, classes = _real_images(experiment)
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    rows, changes = {"InD": images}, []
    for name in names:
        generator = stream(experiment.seed, "figure", name)
        corrupted = CORRUPTIONS[name](batch, generator=generator).numpy().transpose(0, 2, 3, 1)
        rows[name.replace("_", " ")] = corrupted
        changes.append(float(np.abs(corrupted - images).mean()))
    least, most = int(np.argmin(changes)), int(np.argmax(changes))
    finding = (
        f"{_number_word(len(names))} corruptions turn InD images into pseudo-outliers: mean pixel "
        f"change {changes[least]:.2f} ({names[least]}) to {changes[most]:.2f} ({names[most]})"
    )
    figure = _rows_figure(rows, width, finding, [str(c) for c in classes])
    caption = (
        f"One image of each class of {experiment.dataset} and its corruptions; POE gives "
        " class slot c the corruption number c modulo their number. Changes are means over "
        "these images, in units where black is 0 and white is 1."
    )
    alt = (
        f"Rows of small images: {len(images)} {experiment.dataset} images, one per class, and "
        f"below them the same images after {listed(names)}."
    )
    data = pd.DataFrame({"corruption": names, "mean_absolute_change": changes})
    return MadeFigure(figure, data, alt, caption, finding, quoted={"corruptions": len(names)})


def _number_word(count: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")
    return words[count] if count < len(words) else str(count)


def _real_images(experiment: object) -> tuple[np.ndarray, tuple[str, ...]]:
    """The first training image of each class, ``[classes, h, w, c]`` in [0, 1]."""
    from trustdd.data.inliers import load_inliers

    data = load_inliers(experiment)  # type: ignore[arg-type]
    labels = data.train.labels
    assert labels is not None
    first = [int((labels == c).nonzero()[0]) for c in range(min(10, len(data.classes)))]
    images = data.train.images[first].numpy().transpose(0, 2, 3, 1)
    return images.astype(np.float32) / 255.0, data.classes


def fig07(view: View, width: float) -> MadeFigure:
    """The synthetic images before and after distillation, ordinary and with POE."""
    chosen = view.one_setting().first_seed()
    modes = chosen.by_mode()
    kept = [m for m in ("none", "poe", "oe") if m in modes][:2]
    rows: dict[str, np.ndarray] = {}
    table = []
    for mode in kept:
        run = modes[mode][0]
        start, end = pictures(run, "initial.safetensors"), pictures(run)
        if "initial" not in rows or not np.array_equal(rows["initial"], start["images"]):
            rows["initial" if "initial" not in rows else f"initial, {mode}"] = start["images"]
        rows[style.NAMES[mode]] = end["images"]
        table += _changes(mode, chosen.seeds[0], start["images"], end["images"], start["labels"])
    data = pd.DataFrame(table, columns=["outliers", "seed", "place", "label", *_CHANGES])
    means = data.groupby("outliers", sort=False)[list(_CHANGES)].mean()
    finding = _change_finding("synthetic images", means)
    run = modes[kept[0]][0]
    labels = pictures(run)["labels"]
    figure = _rows_figure(
        rows, width, finding, [str(label) for label in labels], cover_labels=True, labels=labels
    )
    caption = (
        f"The synthetic set of seed {run.experiment.seed} before and after distillation "
        f"({setting_name(run.experiment)}); {_change_words(means)} Numbers above are class labels; "
        "at most as many images as fit."
    )
    alt = (
        "Rows of small images, one column per synthetic image: "
        + listed([f"row {i + 1} {name}" for i, name in enumerate(rows)])
        + f". {opened(_change_words(means))}"
    )
    runs = tuple(modes[mode][0] for mode in kept)
    return MadeFigure(figure, data, alt, caption, finding, runs, _change_quoted(means))


def fig08(view: View, width: float) -> MadeFigure:
    """The synthetic outliers before and after distillation, OE and POE."""
    chosen = view.one_setting().first_seed()
    modes = {m: members[0] for m, members in chosen.by_mode().items() if m != "none"}
    if not modes:
        raise MissingArtefacts("fig08 needs a run with outliers oe or poe; none was given", (), "")
    rows: dict[str, np.ndarray] = {}
    table = []
    for mode, run in modes.items():
        start, end = pictures(run, "initial.safetensors"), pictures(run)
        rows[f"{style.NAMES[mode]}, initial"] = start["outliers"]
        rows[f"{style.NAMES[mode]}, distilled"] = end["outliers"]
        count = len(start["outliers"])
        slots = np.arange(count) // max(1, count // len(np.unique(start["labels"])))
        table += _changes(mode, chosen.seeds[0], start["outliers"], end["outliers"], slots)
    data = pd.DataFrame(table, columns=["outliers", "seed", "place", "slot", *_CHANGES])
    means = data.groupby("outliers", sort=False)[list(_CHANGES)].mean()
    finding = _change_finding("synthetic outliers", means)
    first = next(iter(modes.values()))
    slots = data[data["outliers"] == next(iter(modes))]["slot"].to_numpy()
    figure = _rows_figure(
        rows, width, finding, [str(s) for s in slots], cover_labels=True, labels=slots
    )
    caption = (
        f"Outliers of seed {first.experiment.seed} before and after distillation "
        f"({setting_name(first.experiment)}): OE starts from a real pool, POE from corrupted InD "
        f"images; {_change_words(means)} Numbers above are class slots."
    )
    alt = (
        "Rows of small images, one column per synthetic outlier: "
        + listed([f"row {i + 1} {name}" for i, name in enumerate(rows)])
        + f". {opened(_change_words(means))}"
    )
    runs = tuple(modes.values())
    return MadeFigure(figure, data, alt, caption, finding, runs, _change_quoted(means))


#: of an image: how far distillation moved it, absolutely and against how its pixels vary
_CHANGES = ("mean_absolute_change", "relative_change")
#: relative changes below which images stay, or go some way, from where they began
_STAY, _MOVE = 0.1, 0.5


def _change_finding(what: str, means: pd.DataFrame) -> str:
    """Whether distillation made new images, by how far it moved them against how pixels vary."""
    moved = means["relative_change"]
    words = "stay close to" if moved.max() < _STAY else "move away from"
    words = "have left" if moved.min() > _MOVE else words
    said = [f"{in_percent(moved[m], digits=0)} ({style.NAMES[m]})" for m in means.index]
    return (
        f"Distilled, the {what} {words} the images they began as: by {listed(said)} of the "
        "pixels' standard deviation"
    )


def _change_words(means: pd.DataFrame) -> str:
    changes = means["mean_absolute_change"]
    return "a pixel changes by " + listed(
        [f"{changes[m]:.3f} ({style.NAMES[m]})" for m in means.index]
    ) + " on average, where black is 0 and white is 1."  # fmt: skip


def _change_quoted(means: pd.DataFrame) -> dict[str, float]:
    return {
        f"{name.replace('_', ' ')}, {style.NAMES[str(mode)]}": row[name]
        for mode, row in means.iterrows()
        for name in _CHANGES
    }


def _changes(
    mode: str, seed: int, start: np.ndarray, end: np.ndarray, labels: np.ndarray
) -> list[tuple[str, int, int, int, float, float]]:
    """A row an image: by how much a pixel of it moved, and that against how all pixels vary."""
    change = np.abs(end - start).mean(axis=(1, 2, 3))
    moved = np.sqrt(((end - start) ** 2).mean(axis=(1, 2, 3))) / float(start.std())
    return [
        (mode, seed, i, int(labels[i]), float(change[i]), float(moved[i]))
        for i in range(len(change))
    ]


def _rows_figure(
    rows: Mapping[str, np.ndarray], width: float, finding: str, heads: Sequence[str],
    *, cover_labels: bool = False, labels: np.ndarray | None = None,
) -> Figure:  # fmt: skip
    """Draw rows of images; `cover_labels` shows all labels, as far as they fit."""
    columns = PAGE_COLUMNS if style.wide(width) else COLUMN_COLUMNS
    columns = min(columns, *(len(row) for row in rows.values()))
    chosen = np.arange(columns)
    if cover_labels and labels is not None:
        # the first image of each label, then the second of each, …
        order = np.lexsort((labels, _rank_within(labels)))
        chosen = np.sort(order[:columns])
    shown = {name: row[chosen] for name, row in rows.items()}
    scale = style.current().scale
    margin = (0.062 * max(len(name) for name in rows) + 0.1) * scale
    side = (width - margin) / columns
    figure = style.canvas(width, side * len(rows) / scale + 0.2, finding)
    axes = figure.subplots()
    image_rows(axes, shown, columns, [heads[int(i)] for i in chosen])
    return figure


def _rank_within(labels: np.ndarray) -> np.ndarray:
    """How many equal labels stand before each one, ``[n]``."""
    seen: dict[int, int] = {}
    ranks = []
    for label in labels.tolist():
        ranks.append(seen.get(label, 0))
        seen[label] = ranks[-1] + 1
    return np.array(ranks)
