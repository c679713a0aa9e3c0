"""A set on one sheet, class by class under their names, to see whether it was read rightly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trustdd.report import style
from trustdd.report.show.image_rows import as_pictures
from trustdd.store.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trustdd.data.distilled_set import DistilledSet

#: most classes on a sheet, most images of each, and cells in a line
CLASSES, IMAGES, CELLS = 60, 10, 12
#: inches above a line of images for the names
NAME = 0.16
OUTLIERS = "outliers"


def contact_sheet(
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    outliers: np.ndarray | None = None,
) -> Figure:
    """Draw some images of every class beneath its name, and some outliers where there are any.

    Args:
        images: ``[n, h, w, c]`` in [0, 1] or uint8.
        labels: ``int [n]``; of distributions ``[n, k]``, an image stands with its likeliest class.
        classes: their names, in the order of the labels. At most `CLASSES` are drawn, spread over
            all of them.
        outliers: ``[m, h, w, c]``, or ``None``.
    """
    from matplotlib.figure import Figure

    blocks = _blocks(images, labels, classes, outliers)
    lines: list[list[str]] = [[]]
    for name, own in blocks.items():
        taken = sum(len(blocks[other]) for other in lines[-1])
        if lines[-1] and taken + len(own) > CELLS:
            lines.append([])
        lines[-1].append(name)
    side = style.PAGE / CELLS
    height = len(lines) * (side + NAME)
    with style.applied():
        figure = Figure(figsize=(style.PAGE, height))
        for row, line in enumerate(lines):
            bottom = height - (row + 1) * (side + NAME)
            column = 0
            for name in line:
                figure.text(
                    column * side / style.PAGE, (bottom + side + 0.03) / height,
                    _short(name, int(10 * len(blocks[name]))), fontsize=6.5, parse_math=False,
                )  # fmt: skip
                for image in blocks[name]:
                    axes = figure.add_axes(
                        (column * side / style.PAGE, bottom / height,
                         0.95 * side / style.PAGE, 0.95 * side / height)
                    )  # fmt: skip
                    axes.imshow(image.squeeze(), vmin=0, vmax=1, interpolation="nearest")
                    axes.set_axis_off()
                    column += 1
    return figure


def sheet_of(distilled: DistilledSet, classes: Sequence[str]) -> Figure:
    """Draw a set's sheet, see `contact_sheet`."""
    outliers = distilled.outlier_pictures()
    return contact_sheet(
        as_pictures(distilled.pictures()), distilled.labels.numpy(), classes,
        None if outliers is None else as_pictures(outliers),
    )  # fmt: skip


def write_sheet(figure: Figure, path: Path) -> Path:
    """Write a sheet as a PNG, the same bytes for the same set."""
    with style.applied(), atomic_path(path) as partial:
        figure.savefig(partial, dpi=style.PNG_DPI, metadata={"Software": None})
    return path


def _blocks(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], outliers: np.ndarray | None
) -> dict[str, list[np.ndarray]]:
    """Name → pictures ``[h, w, c]``."""
    hard = labels.argmax(1) if labels.ndim == 2 else labels
    pictures = as_pictures(images)
    found = {}
    for label in range(0, len(classes), -(-len(classes) // CLASSES)):
        own = pictures[hard == label][:IMAGES]
        if len(own):
            found[str(classes[label])] = list(own)
    if outliers is not None:
        spread = np.linspace(0, len(outliers) - 1, min(IMAGES, len(outliers))).round().astype(int)
        found[OUTLIERS] = list(as_pictures(outliers)[spread])
    return found


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
