"""Rows of images as a matplotlib figure, in the look of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trustdd.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor


def draw_rows(
    rows: Mapping[str, Tensor | np.ndarray], heads: Sequence[str] = (), columns: int = 10
) -> Figure:
    """Draw what `images` displays.

    Raises:
        ValueError: there is no row, or a row is no batch of images.
    """
    from matplotlib.figure import Figure

    arrays = {name: as_pictures(row)[:columns] for name, row in rows.items()}
    if not arrays:
        raise ValueError("no rows of images; expected at least one")
    widest = max(len(a) for a in arrays.values())
    margin = 1.05
    side = (style.PAGE - margin) / widest
    above = 0.22 if heads else 0.03
    height = above + side * len(arrays)
    with style.applied():
        figure = Figure(figsize=(style.PAGE, height))
        for line, (name, batch) in enumerate(arrays.items()):
            top = 1 - (above + side * (line + 1)) / height
            figure.text(0.0, top + side / height / 2, name, va="center", fontsize=8)
            for place, image in enumerate(batch):
                box = (margin + side * place, height * top, side, side)
                axes = figure.add_axes(
                    (box[0] / style.PAGE, box[1] / height,
                     0.94 * side / style.PAGE, 0.94 * side / height)
                )  # fmt: skip
                axes.imshow(image.squeeze(), vmin=0, vmax=1, interpolation="nearest")
                axes.set_axis_off()
                if line == 0 and place < len(heads):
                    axes.set_title(heads[place], fontsize=7.5, fontweight="normal", loc="center")
    return figure


def as_pictures(images: Tensor | np.ndarray) -> np.ndarray:
    """Bring images into ``float [n, h, w, c]`` in [0, 1].

    Args:
        images: a tensor ``[n, c, h, w]`` or an array ``[n, h, w, c]``, in [0, 1] or uint8.

    Raises:
        ValueError: it has another rank, or neither one nor three channels.
    """
    if isinstance(images, np.ndarray):
        array = images
    else:
        array = (
            images.detach().cpu().permute(0, 2, 3, 1).numpy() if images.ndim == 4 else np.empty(0)
        )
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        raise ValueError(
            f"images of shape {tuple(images.shape)}; expected a tensor [n, c, h, w] or an array "
            "[n, h, w, c] with one or three channels"
        )
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    return np.clip(array.astype(np.float32) / scale, 0, 1)
