"""How figures look: typeface, sizes, colours, and where title, legend and mark stand.

A figure is drawn on a `canvas`: its finding on top, panels below it, a strip at the foot for
the mark that names the profile. Draw and save inside ``with style.applied(look):``; everything
else here follows the look that is applied, the book's own where none is. Nothing touches
matplotlib's global state. `trustdd.report.style_file` reads looks from YAML.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.report import naming
from trustdd.report.palettes import CARD as CARD
from trustdd.report.palettes import FAINT, PALETTES, Palette, confusions, readable
from trustdd.report.palettes import FILL as FILL
from trustdd.report.palettes import GRID as GRID
from trustdd.report.palettes import INK as INK
from trustdd.report.palettes import ON_DARK as ON_DARK
from trustdd.report.palettes import ON_LIGHT as ON_LIGHT
from trustdd.report.palettes import OUTLIER_INK as OUTLIER_INK
from trustdd.report.table_style import TableStyle
from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: widths of one and of two columns of a page in the book, in inches
COLUMN, PAGE = 3.25, 6.75
#: an outlier mode has one marker, line and name on every page, and one colour in every look
MARKERS = {"none": "o", "oe": "s", "poe": "^"}
LINES: dict[str, Any] = {"none": (0, (4, 1.5)), "oe": "-", "poe": (0, (6, 1.2, 1.2, 1.2))}
NAMES = naming.MODES
#: what a figure is written as
FORMATS = ("svg", "pdf", "png")
#: resolution of the PNG, in pixels an inch
PNG_DPI = 220
#: points: text is not read below
LEAST_SIZE = 6.0
#: the style sheet underneath every look, and the size of its labels in points
SHEET, SIZE = Path(__file__).with_name("styles") / "book.mplstyle", 7.5
#: settings of matplotlib that are sizes of type, in points
_TYPE_SIZES = (
    "font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize",
    "legend.fontsize",
)  # fmt: skip
#: inches, at the book's size of type: a line of the title and the strip above the panels, a row of
#: the legend, the foot
_TITLE_LINE, _TITLE_PAD, _LEGEND_ROW, _FOOT = 0.15, 0.06, 0.19, 0.15
_TITLE_SIZE, _MARK_SIZE = 8.5, 6.0
#: families that stand for a typeface, the real one first; matplotlib ships the last of each
FAMILIES = {
    "book": ("DejaVu Sans",),
    "times": ("Times New Roman", "Times", "TeX Gyre Termes", "Nimbus Roman", "Liberation Serif",
              "STIXGeneral"),
    "helvetica": ("Helvetica", "Arial", "TeX Gyre Heros", "Nimbus Sans", "Liberation Sans",
                  "DejaVu Sans"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Style:
    """A look of figures.

    Attributes:
        name: what it is called, in names of folders.
        base: matplotlib's style sheets underneath, by name or path, over the book's own.
        font: a key of `FAMILIES`, or the name of an installed family.
        font_files: further fonts to be known, paths of .ttf or .otf.
        size: of labels, in points; all other type and the height of panels follow.
        palette: colours of the outlier modes.
        title: write the finding into the figure.
        stamp: write the profile and the number of seeds at the foot.
        width: of every figure: ``"column"``, ``"page"`` or inches; its own where ``None``.
        column: width of a column, in inches.
        page: width of a page, in inches.
        max_height: of a figure, in inches; ``None`` for any.
        formats: of `FORMATS`.
        rc: matplotlib's settings by name, over all else.
        tables: how tables look.
        source: how a command names it, a preset or a file; its name where empty.
    """

    name: str = "book"
    base: tuple[str, ...] = ()
    font: str = "book"
    font_files: tuple[str, ...] = ()
    size: float = SIZE
    palette: Palette = PALETTES["book"]
    title: bool = True
    stamp: bool = True
    width: str | float | None = None
    column: float = COLUMN
    page: float = PAGE
    max_height: float | None = None
    formats: tuple[str, ...] = FORMATS
    rc: Mapping[str, Any] = field(default_factory=dict)
    tables: TableStyle = field(default_factory=TableStyle)
    source: str = ""

    def changes(self, kind: str) -> dict[str, Any]:
        """What differs from the book's look, as far as an entry of a kind shows it; JSON values.

        Args:
            kind: ``"figure"`` or ``"table"``.
        """
        if kind == "table":
            mine, usual = asdict(self.tables), asdict(TableStyle())
        else:
            mine, usual = asdict(self), asdict(BOOK)
            for name in ("name", "tables", "source"):
                del mine[name]
        return {k: v for k, v in mine.items() if v != usual[k]}

    @property
    def scale(self) -> float:
        """Size of type against the book's."""
        return self.size / SIZE

    def families(self) -> list[str]:
        """Return the family that is installed, and the one that has every character.

        Raises:
            ValueError: a family of this name is not installed.
        """
        wanted = FAMILIES.get(self.font.lower(), (self.font,))
        found = next((name for name in wanted if _installed(name, self.font_files)), None)
        if found is None:
            raise BadInput(
                f"font '{self.font}' is not installed; expected one of {', '.join(FAMILIES)}, an "
                "installed family, or one in a file that font_files names"
            )
        return list(dict.fromkeys((found, "DejaVu Sans")))


def _installed(family: str, files: Sequence[str]) -> bool:
    """Tell whether matplotlib knows a family, after having looked for it."""
    from matplotlib.font_manager import findSystemFonts, fontManager, get_font

    def known() -> bool:
        return family in {entry.name for entry in fontManager.ttflist}

    for path in files:
        if not any(entry.fname == path for entry in fontManager.ttflist):
            fontManager.addfont(path)
    if known():
        return True
    # matplotlib lists the fonts of a machine once; this one may have come later
    for path in findSystemFonts():
        with contextlib.suppress(RuntimeError, OSError):
            if get_font(path).family_name == family:
                fontManager.addfont(path)
    return known()


BOOK = Style()
_CURRENT: ContextVar[Style] = ContextVar("style", default=BOOK)


def current() -> Style:
    """Return the look that is applied."""
    return _CURRENT.get()


@contextlib.contextmanager
def applied(look: Style = BOOK) -> Iterator[None]:
    """Lay a look over matplotlib's own defaults, whatever a user's matplotlibrc says.

    Raises:
        ValueError: its font, a style sheet or a setting is not there.
    """
    import matplotlib
    from matplotlib import style as sheets

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams
        sheets.use(SHEET)
        try:
            for sheet in look.base:
                sheets.use(sheet)
        except OSError as error:
            raise BadInput(f"style '{look.name}': base: {error}") from None
        sizes = {name: settings[name] for name in _TYPE_SIZES}
        settings.update({n: s * look.scale for n, s in sizes.items() if isinstance(s, float)})
        if look.font != BOOK.font or look.font_files:
            settings["font.family"] = look.families()
        try:
            settings.update(look.rc)
        except (KeyError, ValueError) as error:
            raise BadInput(f"style '{look.name}': rc: {error.args[0]}") from None
        token = _CURRENT.set(look)
        try:
            yield
        finally:
            _CURRENT.reset(token)


def fonts() -> list[str]:
    """Return the files' names of the fonts that the current look is set in."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, findfont

    weights = ("normal", rcParams["axes.titleweight"])
    found = [Path(findfont(FontProperties(weight=weight))).name for weight in weights]
    return list(dict.fromkeys(found))


def colour(outliers: str) -> str:
    """Return the colour of an outlier mode."""
    return current().palette.of(outliers)


def text_colour(outliers: str) -> str:
    """Return the same, dark enough for text."""
    return readable(colour(outliers))


def other_colour(place: int) -> str:
    """Return a colour for what has no mode of its own, the same for the same place."""
    others = current().palette.others
    return others[place % len(others)]


def points(size: float) -> float:
    """Return a size of type, given at the book's, in points."""
    return size * current().scale


def width_in_inches(width: str | float, look: Style = BOOK) -> float:
    """Return a width in inches: ``"column"``, ``"page"``, or a number of inches.

    Raises:
        ValueError: another name, or a width that no panel fits in.
    """
    if width in ("column", "page"):
        return look.column if width == "column" else look.page
    try:
        inches = float(width)
    except ValueError:
        inches = 0.0
    if not 2.0 <= inches <= 20.0:
        raise BadInput(
            f"width {width!r}; expected column ({look.column:g} in), page ({look.page:g} in), or "
            "2 to 20 inches"
        )
    return inches


def wide(width: float) -> bool:
    """Tell whether panels stand side by side at a width in inches, at this size of type."""
    return width / current().scale >= 5


def canvas(width: float, height: float, title: str, legend: Sequence[Artist] = ()) -> Figure:
    """Make an empty figure with its title, its legend and a strip for the mark.

    Args:
        width: in inches.
        height: of the panels, in inches at the book's size of type; title, legend and foot are
            added to it.
        title: the finding; broken into lines that fit, and left out where the look has no titles.
        legend: labelled artists, shown between title and panels, in rows that fit.

    Returns:
        A figure whose layout leaves those strips to them.
    """
    from matplotlib.figure import Figure

    look = current()
    scale = look.scale
    lines = _lines(title, width - 0.12, points(_TITLE_SIZE)) if look.title else []
    above = scale * (_TITLE_PAD + _TITLE_LINE * len(lines)) if lines else 0.02
    columns = _legend_columns(legend, width - 0.1)
    rows = -(-len(legend) // columns) if legend else 0
    top = above + scale * _LEGEND_ROW * rows
    foot = scale * _FOOT if look.stamp else 0.02
    total = height * scale + top + foot
    figure = Figure(figsize=(width, total), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(
        rect=(0.0, foot / total, 1.0, height * scale / total),
        w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.04,
    )  # fmt: skip
    if lines:
        figure.text(
            0.06 / width, 1 - 0.03 / total, "\n".join(lines), fontsize=points(_TITLE_SIZE),
            fontweight="bold", ha="left", va="top", linespacing=1.25,
        ).set_in_layout(False)  # fmt: skip
    if legend:
        shown = figure.legend(
            handles=list(legend), loc="upper left", ncols=columns,
            bbox_to_anchor=(0.05 / width, 1 - above / total), borderaxespad=0.0,
            borderpad=0.1, columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip
        shown.set_in_layout(False)
    return figure


def _inches(text: str, size: float, weight: str = "normal") -> float:
    """Width of a text in the current typeface."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    properties = FontProperties(size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, properties, False)[0]) / 72


def _lines(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines that fit a width in inches."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _inches(longer, size, "bold") <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _legend_columns(legend: Sequence[Artist], width: float) -> int:
    """How many columns a legend needs to stand in as few rows as fit a width in inches."""
    import matplotlib

    if not legend:
        return 0
    size = matplotlib.rcParams["legend.fontsize"]
    handle = (matplotlib.rcParams["legend.handlelength"] + 0.5 + 1.2) * size / 72
    widths = [_inches(str(artist.get_label()), size) + handle for artist in legend]
    for rows in range(1, len(legend) + 1):
        # matplotlib fills a legend column by column
        columns = [widths[i : i + rows] for i in range(0, len(widths), rows)]
        if sum(max(column) for column in columns) <= width:
            return len(columns)
    return 1


def finish(figure: Figure, text: str) -> None:
    """Lay the panels out once for all formats, and write the mark at the foot's right end.

    Args:
        figure: from `canvas`, all drawn.
        text: the mark: which profile made this, from how many seeds; left out where the look has
            no stamps.
    """
    engine: Any = figure.get_layout_engine()
    engine.execute(figure)
    figure.set_layout_engine("none")
    if not current().stamp:
        return
    width, total = figure.get_size_inches()
    figure.text(
        1 - 0.05 / width, 0.04 / total, text,
        fontsize=points(_MARK_SIZE), color=FAINT, ha="right", va="bottom",
    ).set_in_layout(False)  # fmt: skip


def check(figure: Figure) -> list[str]:
    """Say what a reader of a finished figure would have trouble with, in the current look.

    Returns:
        A line for type under 6 points, and one for a height beyond the page.
    """
    from matplotlib.text import Text

    found = []
    shown = [t for t in figure.findobj(Text) if t.get_visible() and str(t.get_text()).strip()]
    small = [t for t in shown if float(t.get_fontsize()) < LEAST_SIZE - 1e-6]
    if small:
        least = min(small, key=lambda t: float(t.get_fontsize()))
        words = " ".join(str(least.get_text()).split())
        found.append(f"{len(small)} texts under {LEAST_SIZE:g} pt; the smallest, "
                     f"{float(least.get_fontsize()):.1f} pt: '{words}'")  # fmt: skip
    height, most = float(figure.get_figheight()), current().max_height
    if most is not None and height > most:
        found.append(f"{height:.2f} in high; the page has {most:g} in")
    return found


def check_palette(look: Style) -> list[str]:
    """Say which modes' colours some reader cannot tell apart; see `palettes.confusions`."""
    return confusions({NAMES[mode]: look.palette.of(mode) for mode in NAMES})


def columns_that_fit(width: float, panels: int, narrowest: float) -> int:
    """Return how many panels of at least `narrowest` inches stand side by side.

    Rows are then filled as evenly as can be: 4 panels where 3 fit stand as 2 and 2.
    """
    most = max(1, min(panels, int(width / current().scale / narrowest)))
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
        "color": colour(outliers), "marker": MARKERS[outliers], "linestyle": LINES[outliers],
        "label": label or NAMES[outliers], **changes,
    }  # fmt: skip
    return Line2D([], [], **look)


def percent_axis(axis: Any) -> None:
    """Show an axis' shares in [0, 1] as percentages, without the sign: the label has it."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{100 * value:.4g}"))
