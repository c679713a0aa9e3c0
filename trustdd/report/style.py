"""How figures look: colours, column widths, type, and where title, legend and mark stand.

A figure is drawn on a `canvas`: its finding on top, panels below it, a strip at the foot for
the mark that names the profile. Nothing here touches matplotlib's global state; draw and save
inside ``with style.applied():``.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trustdd.report import naming
from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: widths of one and of two columns of a journal page, in inches
COLUMN, PAGE = 3.25, 6.75
WIDTHS = {"column": COLUMN, "page": PAGE}

#: an outlier mode has one colour, marker, line and name on every page (Okabe and Ito's palette)
COLOURS = {"none": "#6B7280", "oe": "#0072B2", "poe": "#D55E00"}
MARKERS = {"none": "o", "oe": "s", "poe": "^"}
LINES: dict[str, Any] = {"none": (0, (4, 1.5)), "oe": "-", "poe": (0, (6, 1.2, 1.2, 1.2))}
NAMES = naming.MODES
#: InD data, and what is drawn beside the modes
INK, FAINT, GRID, CARD = "#111827", "#6B7280", "#E5E7EB", "#FFFFFF"
#: boxes of a diagram, and what in it concerns outliers
FILL, OUTLIER_INK = "#F3F4F6", "#007A5A"
#: text on a picture, dark or light: the same in every theme, see `trustdd.report.themes`
ON_DARK, ON_LIGHT = "#FEFEFE", "#101010"
#: colours for what has no mode of its own: OOD sets, networks (Okabe and Ito's remaining ones)
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#4B0082", "#000000")

#: resolution of the PNG, in pixels an inch
PNG_DPI = 220

#: inches: a line of the title, the strip above the panels, a row of the legend, the foot
_TITLE_LINE, _TITLE_PAD, _LEGEND_ROW, _FOOT = 0.15, 0.06, 0.19, 0.15
_TITLE_SIZE = 8.5
#: characters of the bold title that fit in an inch
_TITLE_CHARACTERS = 13.4

_RC: Any = {
    # shipped with matplotlib, so that a figure has the same bytes on every machine
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    # names of classes and sets may hold dollar signs
    "text.parse_math": False,
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "figure.facecolor": CARD,
    "axes.facecolor": CARD,
    "savefig.facecolor": CARD,
    "image.interpolation": "nearest",
    "image.cmap": "gray",
    # fonts as TrueType in PDF (journals refuse Type 3); paths in SVG, the same everywhere
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "trustdd",
    "path.simplify": True,
}


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Lay this look over matplotlib's own defaults, whatever a user's matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def width_in_inches(width: str | float) -> float:
    """Return a width in inches: ``"column"`` (3.25), ``"page"`` (6.75), or a number of inches.

    Raises:
        ValueError: another name, or a width that no panel fits in.
    """
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    try:
        inches = float(width)
    except ValueError:
        inches = 0.0
    if not 2.0 <= inches <= 20.0:
        raise BadInput(
            f"width {width!r}; expected column ({COLUMN} in), page ({PAGE} in), or 2 to 20 inches"
        )
    return inches


def canvas(
    width: float, height: float, title: str, legend: Sequence[Artist] = (), columns: int = 0
) -> Figure:
    """Make an empty figure with its title, its legend and a strip for the mark.

    Args:
        width: in inches.
        height: of the panels, in inches; title, legend and foot are added to it.
        title: the finding; broken into lines that fit.
        legend: labelled artists, shown between title and panels.
        columns: of the legend; as many as there are entries where 0.

    Returns:
        A figure whose layout leaves those strips to them.
    """
    from matplotlib.figure import Figure

    lines = textwrap.wrap(title, max(20, int(width * _TITLE_CHARACTERS)))
    above = _TITLE_PAD + _TITLE_LINE * len(lines)
    rows = -(-len(legend) // (columns or len(legend))) if legend else 0
    top = above + _LEGEND_ROW * rows
    total = height + top + _FOOT
    figure = Figure(figsize=(width, total), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(
        rect=(0.0, _FOOT / total, 1.0, height / total),
        w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04,
    )  # fmt: skip
    figure.text(
        0.06 / width, 1 - 0.03 / total, "\n".join(lines),
        fontsize=_TITLE_SIZE, fontweight="bold", ha="left", va="top", linespacing=1.25,
    ).set_in_layout(False)  # fmt: skip
    if legend:
        shown = figure.legend(
            handles=list(legend), loc="upper left", ncols=columns or len(legend),
            bbox_to_anchor=(0.05 / width, 1 - above / total), borderaxespad=0.0,
            borderpad=0.1, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip
        shown.set_in_layout(False)
    return figure


def finish(figure: Figure, text: str) -> None:
    """Lay the panels out once for all formats, and write the mark at the foot's right end.

    Args:
        figure: from `canvas`, all drawn.
        text: the mark: which profile made this, from how many seeds.
    """
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)
    figure.set_layout_engine("none")
    width, total = figure.get_size_inches()
    figure.text(
        1 - 0.05 / width, 0.04 / total, text,
        fontsize=5.5, color=FAINT, ha="right", va="bottom",
    ).set_in_layout(False)  # fmt: skip


def columns_that_fit(width: float, panels: int, narrowest: float) -> int:
    """Return how many panels of at least `narrowest` inches stand side by side.

    Rows are then filled as evenly as can be: 4 panels where 3 fit stand as 2 and 2.
    """
    most = max(1, min(panels, int(width / narrowest)))
    rows = -(-panels // most)
    return -(-panels // rows)


def panels(figure: Figure, count: int, columns: int, **options: Any) -> list[Axes]:
    """Return `count` axes in rows of `columns`; places left over in the last row stay empty."""
    rows = -(-count // columns)
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.remove()
    return axes[:count]


def mode_handle(outliers: str, label: str = "", **changes: Any) -> Artist:
    """Return the legend's entry of an outlier mode: its line and marker."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {
        "color": COLOURS[outliers], "marker": MARKERS[outliers], "linestyle": LINES[outliers],
        "label": label or NAMES[outliers], **changes,
    }  # fmt: skip
    return Line2D([], [], **look)


def percent_axis(axis: Any) -> None:
    """Show an axis' shares in [0, 1] as percentages, without the sign: the label has it."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{100 * value:.4g}"))
