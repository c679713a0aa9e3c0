"""A set on one sheet, class by class under their names, to see whether it was read rightly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

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


def contact_sheet(distilled: DistilledSet, classes: Sequence[str]) -> Figure:
    """Draw some images of every class beneath its name, and some outliers where there are any.

    Args:
        distilled: the set. An image of a distribution stands with its likeliest class.
        classes: their names, in the order of the labels. At most `CLASSES` are drawn, spread over
            all of them.
    """
    from matplotlib.figure import Figure

    blocks = _blocks(distilled, classes)
    lines: list[list[str]] = [[]]
    for name, images in blocks.items():
        taken = sum(len(blocks[other]) for other in lines[-1])
        if lines[-1] and taken + len(images) > CELLS:
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
                    _short(name, int(10 * len(blocks[name]))), fontsize=6.5,
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


def write_contact_sheet(distilled: DistilledSet, classes: Sequence[str], path: Path) -> Path:
    """Draw a set's sheet and write it as a PNG, the same bytes for the same set."""
    figure = contact_sheet(distilled, classes)
    with style.applied(), atomic_path(path) as partial:
        figure.savefig(partial, dpi=style.PNG_DPI, metadata={"Software": None})
    return path


def _blocks(distilled: DistilledSet, classes: Sequence[str]) -> dict[str, list]:
    """Name → pictures ``[h, w, c]``."""
    pictures, outliers = distilled.pictures(), distilled.outlier_pictures()
    labels = distilled.hard_labels
    found = {}
    for label in range(0, len(classes), -(-len(classes) // CLASSES)):
        own = pictures[labels == label][:IMAGES]
        if len(own):
            found[classes[label]] = list(as_pictures(own))
    if outliers is not None:
        spread = torch.linspace(0, len(outliers) - 1, min(IMAGES, len(outliers))).round().long()
        found[OUTLIERS] = list(as_pictures(outliers[spread]))
    return found


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
