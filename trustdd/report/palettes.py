"""Colours of the outlier modes and of what stands beside them, and how well they are told apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: what is drawn beside the modes: InD data, small print, lines of a grid, paper
INK, FAINT, GRID, CARD = "#111827", "#6B7280", "#E5E7EB", "#FFFFFF"
#: boxes of a diagram, and what in it concerns outliers
FILL, OUTLIER_INK = "#F3F4F6", "#007A5A"
#: text on a picture, dark or light: the same in every theme, see `trustdd.report.themes`
ON_DARK, ON_LIGHT = "#FEFEFE", "#101010"
#: colour differences below this look the same, in steps of CAM02-UCS (a reader's eye: about 1
#: side by side, far more across a figure)
LEAST_DIFFERENCE = 12.0
#: the same of lightness, L* in [0, 100], which is all that a greyscale print leaves
LEAST_LIGHTNESS = 12.0
#: kinds of colour blindness, as colorspacious calls them
BLINDNESS = {
    "deuteranomaly": "green-blind", "protanomaly": "red-blind", "tritanomaly": "blue-blind",
}  # fmt: skip


@dataclass(frozen=True)
class Palette:
    """One colour for each outlier mode, and some for what has no mode of its own.

    Attributes:
        none: ordinary distillation, as ``#rrggbb``.
        oe: outlier exposure.
        poe: pseudo-outlier exposure.
        others: OOD sets, networks.
    """

    none: str
    oe: str
    poe: str
    others: tuple[str, ...] = (
        "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#4B0082", "#000000",
    )  # fmt: skip

    def of(self, outliers: str) -> str:
        """Return the colour of an outlier mode."""
        return str(getattr(self, outliers))


#: by name: hues of Okabe and Ito's palette at three lightnesses; that palette as published; greys
PALETTES: Mapping[str, Palette] = {
    "book": Palette("#8A929F", "#00447A", "#B84C00"),
    "okabe-ito": Palette("#000000", "#0072B2", "#D55E00"),
    "grey": Palette(
        "#969696", "#111111", "#5A5A5A",
        ("#111111", "#8C8C8C", "#4D4D4D", "#B3B3B3", "#2E2E2E", "#707070", "#000000"),
    ),
}  # fmt: skip


def readable(colour: str, contrast: float = 4.5) -> str:
    """Darken a colour until text in it has a contrast to white paper, by default WCAG's 4.5 to 1.

    Args:
        colour: ``#rrggbb``.
        contrast: at least this, at most 21.

    Returns:
        The colour itself where it is dark enough.
    """
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = to_rgb(colour)
    scale = 1.0
    while 1.05 / (_luminance((red * scale, green * scale, blue * scale)) + 0.05) < contrast:
        scale -= 0.02
    return str(to_hex((red * scale, green * scale, blue * scale)))


def _luminance(rgb: Iterable[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def confusions(colours: Mapping[str, str]) -> list[str]:
    """Say which colours some reader cannot tell apart.

    Args:
        colours: what each stands for → ``#rrggbb``.

    Returns:
        A line for each pair and reader: full colour vision, a kind of colour blindness (simulated
        after Machado et al. 2009, at full strength), or print in greys.
    """
    import numpy as np
    from colorspacious import cspace_convert, deltaE
    from matplotlib.colors import to_rgb

    found = []
    for (one, first), (other, second) in itertools.combinations(colours.items(), 2):
        pair = [np.array(to_rgb(c)) for c in (first, second)]
        readers = {"": pair}
        for kind, name in BLINDNESS.items():
            space = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
            readers[f" by a {name} reader"] = [
                np.clip(cspace_convert(c, space, "sRGB1"), 0, 1) for c in pair
            ]
        for reader, (a, b) in readers.items():
            if float(deltaE(a, b, input_space="sRGB1")) < LEAST_DIFFERENCE:
                found.append(f"{one} {first} and {other} {second} are not told apart{reader}")
        lightness = [float(cspace_convert(c, "sRGB1", "CIELab")[0]) for c in pair]
        if abs(lightness[0] - lightness[1]) < LEAST_LIGHTNESS:
            found.append(f"{one} {first} and {other} {second} are not told apart in greys")
    return found
