"""Figures on the ground of a page: no paper, inks that can be read, pictures as they are."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

from trustdd.report import style
from trustdd.report.themes import DARK_INKS, GROUNDS, themed


@pytest.fixture
def svg() -> str:
    """A figure with ink of every kind, a marker with a white ring, and a picture."""
    with style.applied():
        figure = style.canvas(3.25, 1.0, "A finding", [style.mode_handle("oe")])
        left, right = style.panels(figure, 2, 2)
        left.plot([0, 1], [0.123456789, 1], "o", color=style.colour("poe"), mec=style.CARD)
        right.imshow(np.linspace(0, 1, 12).reshape(3, 4))
        right.text(1, 1, "on it", color=style.ON_DARK)
        style.finish(figure, "mark")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2, of ``#rrggbb``."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", list(GROUNDS))
def test_the_paper_goes_and_the_rest_is_drawn_alike(svg: str, theme: str) -> None:
    shown = themed(svg, theme)
    assert "#ffffff" not in shown
    # figure, two panels
    assert shown.count("fill: none") - svg.count("fill: none") == 3
    assert GROUNDS[theme] in shown
    assert len(re.findall("<path", shown)) == len(re.findall("<path", svg))
    assert len(shown) < 0.92 * len(svg)


def test_pictures_and_what_stands_on_them_are_left(svg: str) -> None:
    pictures = re.findall(r"data:image/png;base64,[^\"]+", svg)
    assert pictures
    for theme in GROUNDS:
        shown = themed(svg, theme)
        assert all(picture in shown for picture in pictures)
        assert style.ON_DARK.lower() in shown


def test_no_ink_of_the_light_is_left_in_the_dark(svg: str) -> None:
    shown = themed(svg, "dark")
    assert not [ink for ink in DARK_INKS if ink.lower() in shown]


def test_every_ink_is_read_on_its_ground() -> None:
    """Lines and marks need a contrast of 3, text one of 4.5."""
    modes = {style.colour(mode) for mode in style.NAMES}
    texts = {style.text_colour(mode) for mode in style.NAMES}
    others = {*style.BOOK.palette.others, style.OUTLIER_INK, style.INK, style.FAINT}
    lines = {ink.lower() for ink in (*modes, *texts, *others)}
    dark = {ink.lower(): other for ink, other in DARK_INKS.items()}
    assert lines <= set(dark)
    for ink in lines:
        assert contrast(dark[ink], GROUNDS["dark"]) >= 4.5, ink
    for ink in (style.INK, style.FAINT, *modes):
        assert contrast(ink, GROUNDS["light"]) >= 3, ink
    for ink in texts:
        assert contrast(ink, GROUNDS["light"]) >= 4.4, ink


def test_places_move_by_less_than_a_hundredth_of_a_point(svg: str) -> None:
    def numbers(text: str) -> np.ndarray:
        places = re.findall(r' d="([^"]*)"', text)
        return np.array([float(n) for part in places for n in re.findall(r"-?\d+\.?\d*", part)])

    before, after = numbers(svg), numbers(themed(svg, "light"))
    assert np.abs(before - after).max() <= 0.005 + 1e-9
    assert np.abs(before - after).max() > 0


def test_another_theme_is_refused(svg: str) -> None:
    with pytest.raises(ValueError, match="theme 'sepia'; expected one of light, dark"):
        themed(svg, "sepia")
