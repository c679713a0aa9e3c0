"""Shared ways of drawing: dots and bars of seeds, lines with bands, rows of images, axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from trustdd.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trustdd.report.view import View


def axis_label(view: View, metric: str) -> str:
    """A measure as an axis has it, its positive class on a line of its own."""
    name, _, positive = view.measure(metric).partition(" (")
    return f"{name} (%)" + (f"\n{positive.rstrip(')')}" if positive else "")


def marks_note(view: View) -> str:
    """Say what marks stand for, below every figure that shows means."""
    if len(view.seeds) == 1:
        return "Markers are single seeds."
    return (
        f"Markers are means over {view.seeds_text}, bars one standard deviation over seeds, dots "
        "single seeds."
    )


def lines_note(view: View) -> str:
    """The same of lines with bands."""
    if len(view.seeds) == 1:
        return "One seed."
    return f"Lines are means over {view.seeds_text}, bands one standard deviation over seeds."


#: inches from a mean to the dots of its seeds
_ASIDE = 0.085


def dots(
    axes: Axes, place: float, values: Sequence[float] | np.ndarray, outliers: str, *,
    hollow: bool = False, colour: str = "", marker: str = "",
) -> None:  # fmt: skip
    """Draw one setting: its mean, one standard deviation, and every seed beside them.

    Args:
        axes: where.
        place: on the x axis.
        values: one a seed.
        outliers: the mode, which gives colour and marker.
        hollow: for what was drawn at random rather than distilled.
        colour: in place of the mode's.
        marker: in place of the mode's.
    """
    shown = np.asarray(values, dtype=float)
    ink = colour or style.colour(outliers)
    std = float(np.std(shown, ddof=1)) if len(shown) > 1 else 0.0
    axes.errorbar(
        [place], [shown.mean()], yerr=[std], color=ink, marker=marker or style.MARKERS[outliers],
        markersize=5.5, markerfacecolor=style.CARD if hollow else ink, markeredgewidth=1.1,
        capsize=2.5, elinewidth=1.1, linestyle="none", zorder=3,
    )  # fmt: skip
    if len(shown) > 1:
        from matplotlib.transforms import ScaledTranslation

        figure = axes.get_figure()
        assert figure is not None
        aside = ScaledTranslation(_ASIDE, 0, figure.dpi_scale_trans)
        axes.scatter(
            np.full(len(shown), place), shown, s=5, color=ink, alpha=0.55, linewidths=0, zorder=2,
            transform=axes.transData + aside,
        )  # fmt: skip


def band(
    axes: Axes, x: np.ndarray, values: np.ndarray, outliers: str, *, marks: bool = True
) -> None:
    """Draw a line of means over seeds with a band of one standard deviation.

    Args:
        axes: where.
        x: ``[p]``.
        values: ``[seeds, p]``.
        outliers: the mode, which gives colour, line and marker.
        marks: draw the marker at each point.
    """
    mean = values.mean(axis=0)
    colour = style.colour(outliers)
    axes.plot(
        x, mean, color=colour, linestyle=style.LINES[outliers],
        marker=style.MARKERS[outliers] if marks else "", markersize=3.5, zorder=3,
    )  # fmt: skip
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)


def share_axis(
    axes: Axes, frame: pd.DataFrame, by: Sequence[str], metric: str, *, least: float = 0.02
) -> None:
    """Set a y axis to shares in [0, 1], zoomed to what is drawn, shown in percent.

    Args:
        axes: where.
        frame: a row a seed and setting.
        by: the columns that name a setting; each is drawn as its seeds, mean and spread.
        metric: the column drawn.
        least: the least range shown, so that noise does not look like an effect.
    """
    settings = frame.groupby(list(by))[metric]
    mean, std = settings.mean(), settings.std(ddof=1).fillna(0)
    shown = np.r_[frame[metric], mean - std, mean + std]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    room = max(high - low, least)
    middle = (low + high) / 2
    bottom = max(0.0, middle - 0.6 * room)
    # a mark at 100% is drawn whole, a spread beyond it is not
    top = min(1.0 + 0.06 * room, middle + 0.6 * room)
    axes.set_ylim(bottom, top)
    style.percent_axis(axes.yaxis)
    axes.grid(axis="y")


def montage(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Lay rows of images out as one picture, with a clear gap around each.

    Args:
        rows: arrays ``[n, h, w, c]`` in [0, 1] of one image size.
        columns: images a row; shorter rows end clear.

    Returns:
        ``[rows · (h + gap), columns · (w + gap), 4]``, red, green, blue and opacity, where gap is a
        sixteenth of the size.
    """
    size = rows[0].shape[1]
    # pixels are doubled until the gap, a whole number of them, is fine enough
    scale = max(1, -(-32 // size))
    gap = max(1, size * scale // 16)
    cell = size * scale + gap
    picture = np.ones((cell * len(rows), cell * columns, 4), dtype=np.float32)
    picture[..., 3] = 0.0
    for line, row in enumerate(rows):
        for place, image in enumerate(row[:columns]):
            large = np.kron(image, np.ones((scale, scale, 1), dtype=np.float32))
            top, left = line * cell + gap // 2, place * cell + gap // 2
            place_taken = picture[top : top + size * scale, left : left + size * scale]
            place_taken[..., :3], place_taken[..., 3] = large, 1.0
    return picture


def image_rows(
    axes: Axes, rows: Mapping[str, np.ndarray], columns: int, heads: Sequence[str] = ()
) -> None:
    """Show rows of images with their names at the left and heads above the columns."""
    picture = montage(list(rows.values()), columns)
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    cell_y, cell_x = picture.shape[0] / len(rows), picture.shape[1] / columns
    axes.set_yticks([(i + 0.5) * cell_y for i in range(len(rows))], list(rows))
    if heads:
        axes.set_xticks([(i + 0.5) * cell_x for i in range(len(heads))], list(heads))
        axes.xaxis.tick_top()
    else:
        axes.set_xticks([])
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
