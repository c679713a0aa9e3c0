"""Ways to display: a sentence, rows of images, a picture, a table.

Everything is displayed twice in one output: in a form that any notebook viewer knows, and as
``application/vnd.trustdd.entry+json``, from which the book makes accessible pages.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trustdd.report import style
from trustdd.report.catalogue import MIME
from trustdd.report.show.image_rows import draw_rows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor

#: pixels of the book's text column, and of a picture's bitmap for each of them
COLUMN_PIXELS, DENSITY = 760, 2


def finding(sentence: str) -> None:
    """Display the sentence, in Markdown, that a page opens with."""
    from IPython.display import Markdown, display

    display(Markdown(sentence))


def images(
    rows: Mapping[str, Tensor | np.ndarray],
    alt: str,
    caption: str = "",
    heads: Sequence[str] = (),
    columns: int = 10,
) -> None:
    """Display rows of images, one name and one line of images each.

    Args:
        rows: name → ``[n, c, h, w]`` tensor, or ``[n, h, w, c]`` array, in [0, 1] or uint8;
            the first `columns` images are shown.
        alt: what a reader who cannot see the picture should know.
        caption: shown below it, Markdown.
        heads: names above the columns.
        columns: at most so many images a row.
    """
    picture(draw_rows(rows, heads, columns), alt, caption)


def picture(figure: Figure, alt: str, caption: str = "") -> None:
    """Display a figure that is no catalogue entry.

    Args:
        figure: drawn with `trustdd.report.style`.
        alt: what a reader who cannot see it should know.
        caption: shown below it, Markdown.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; expected what a reader who cannot see the picture needs")
    width = float(figure.get_figwidth())
    pixels = round(COLUMN_PIXELS * width / style.PAGE)
    bitmap, drawing = io.BytesIO(), io.BytesIO()
    with style.applied():
        figure.savefig(
            bitmap, format="png", dpi=DENSITY * pixels / width, metadata={"Software": None}
        )
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    png, svg = base64.b64encode(bitmap.getvalue()).decode(), drawing.getvalue().decode()
    _display(
        {"kind": "picture", "svg": svg, "alt": alt, "caption": caption, "width": pixels},
        {"image/png": png, "text/plain": alt},
        {"image/png": {"width": pixels}},
    )


def table(
    frame: pd.DataFrame, caption: str = "", names: Mapping[str, str] | None = None, digits: int = 3
) -> None:
    """Display a frame as a table, numbers rounded.

    Args:
        frame: its index is not shown.
        caption: shown above it, Markdown.
        names: column → heading; columns left out keep their names.
        digits: decimals of floats.
    """
    columns = [(names or {}).get(str(c), str(c)) for c in frame.columns]
    rows = [[_cell(value, digits) for value in line] for line in frame.itertuples(index=False)]
    plain = [columns, ["---"] * len(columns), *rows]
    _display(
        {"kind": "frame", "columns": columns, "rows": rows, "caption": caption},
        {"text/markdown": "\n".join("| " + " | ".join(line) + " |" for line in plain)},
        {},
    )


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.{digits}f}"
    return str(value).replace("|", "\\|")


def _display(entry: dict[str, Any], plain: dict[str, str], metadata: dict[str, Any]) -> None:
    from IPython.display import display

    display({MIME: entry, **plain}, metadata=metadata, raw=True)
