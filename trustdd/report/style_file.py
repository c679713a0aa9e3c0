"""Looks from YAML: venues that ship with the package, and an author's own style file.

A style file holds any of the settings of `trustdd.report.style.Style`, those of tables under
``tables``, and under ``show`` what is asked for together with it, as in a
`trustdd.report.selection.Selection`::

    preset: ieee-column          # what it begins with
    width: 3.25                  # inches
    font: Times
    title: false
    show: {score: energy, metric: fpr95_in, ood: [textures, photos], seeds: 0-4}
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from trustdd.report.palettes import PALETTES, Palette
from trustdd.report.selection import Selection
from trustdd.report.style import BOOK, FORMATS, Style, width_in_inches
from trustdd.report.table_style import BOLD, ENVIRONMENTS, SECOND, WIDE, TableStyle
from trustdd.settings.errors import BadInput
from trustdd.settings.validation import check_choice, check_flag, check_number, check_text

#: taken by commands where it lies in the working folder
DEFAULT_FILE = "trustdd.style.yaml"
FOLDER = Path(__file__).with_name("styles")
#: the look of the book, by name
BOOK_NAME = "book"


def presets() -> list[str]:
    """Return the names of the looks that ship with the package."""
    return [BOOK_NAME, *sorted(path.stem for path in FOLDER.glob("*.yaml"))]


def read_style(source: str | Path | Style) -> tuple[Style, Selection]:
    """Read a look, and what is asked for together with it.

    Args:
        source: the name of a preset, the path of a YAML file, or a look, which is returned.

    Raises:
        BadInput: no such preset or file, or a setting is unknown or impossible; the message names
            it and what is allowed.
    """
    if isinstance(source, Style):
        return source, Selection()
    word = str(source)
    if not word.endswith((".yaml", ".yml")):
        if word == BOOK_NAME:
            return BOOK, Selection()
        if word not in presets():
            near = difflib.get_close_matches(word, presets(), n=1)
            hint = f"; did you mean {near[0]}?" if near else ";"
            raise BadInput(
                f"style '{word}'{hint} expected one of {', '.join(presets())}, or a .yaml file"
            )
        return _read(FOLDER / f"{word}.yaml", BOOK, word)
    path = Path(word)
    if not path.is_file():
        raise BadInput(f"style '{word}': no such file; expected a .yaml, or one of "
                       f"{', '.join(presets())}")  # fmt: skip
    # a folder is no part of what a look is called
    return _read(path, BOOK, path.name)


def _read(path: Path, under: Style, source: str) -> tuple[Style, Selection]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"style {source}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, Mapping):
        raise BadInput(f"style {source}: expected a mapping of settings to values")
    try:
        return _style(dict(content), under, path, source)
    except BadInput as error:
        raise BadInput(f"style {source}: {error}") from None


def _style(
    content: dict[str, Any], under: Style, path: Path, source: str
) -> tuple[Style, Selection]:
    known = [f.name for f in fields(Style) if f.name not in ("name", "source")]
    _check_names(content, [*known, "preset", "show"])
    asked = Selection()
    if "preset" in content:
        under, asked = read_style(check_text("preset", content.pop("preset")))
    shown = content.pop("show", None) or {}
    if not isinstance(shown, Mapping):
        raise BadInput(f"show {shown!r}; expected a mapping, e.g. {{score: energy}}")
    asked = Selection.of(**shown).over(asked)
    changes = {
        name: _READERS[name](name, value, under, path.parent) for name, value in content.items()
    }
    name = re.sub(r"\.style$", "", path.name.rpartition(".")[0])
    look = replace(under, **changes, name=name, source=source)
    if look.width is not None:
        width_in_inches(look.width, look)
    look.families()
    return look, asked


def _check_names(content: Mapping[str, Any], known: list[str]) -> None:
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; nearest: {near[0]}" if near else ""
            raise BadInput(f"'{name}'{hint}; expected one of {', '.join(known)}")


# -- a reader for each setting ----------------------------------------------------------------

Reader = Callable[[str, Any, Style, Path], Any]


def _listed(name: str, value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(v, str) for v in found):
        raise BadInput(f"{name} {value!r}; expected a list of texts")
    return tuple(found)


def _paths(name: str, value: Any, under: Style, folder: Path) -> tuple[str, ...]:
    """Paths are taken from the style file's folder; other words stay as they are."""
    return tuple(str(folder / v) if (folder / v).is_file() else v for v in _listed(name, value))


def _fonts(name: str, value: Any, under: Style, folder: Path) -> tuple[str, ...]:
    found = _paths(name, value, under, folder)
    for path in found:
        if not Path(path).is_file():
            raise BadInput(f"{name} '{path}'; expected the path of a .ttf or .otf file")
    return found


def _inches(name: str, value: Any, under: Style, folder: Path) -> float:
    return check_number(name, value, positive=True)


def _height(name: str, value: Any, under: Style, folder: Path) -> float | None:
    return None if value is None else check_number(name, value, positive=True)


def _width(name: str, value: Any, under: Style, folder: Path) -> str | float | None:
    if value is None or value in ("column", "page"):
        return value
    return check_number(name, value, positive=True)


def _formats(name: str, value: Any, under: Style, folder: Path) -> tuple[str, ...]:
    found = _listed(name, value)
    for part in found:
        check_choice(name, part, FORMATS)
    if not found:
        raise BadInput(f"{name} is empty; expected at least one of {', '.join(FORMATS)}")
    return tuple(part for part in FORMATS if part in found)


def _palette(name: str, value: Any, under: Style, folder: Path) -> Palette:
    if isinstance(value, str):
        return PALETTES[check_choice(name, value, tuple(PALETTES))]
    if not isinstance(value, Mapping):
        raise BadInput(
            f"{name} {value!r}; expected one of {', '.join(PALETTES)}, or a mapping of outlier "
            "modes to colours"
        )
    _check_names(value, [f.name for f in fields(Palette)])
    changes: dict[str, Any] = {k: _colour(f"{name} {k}", v) for k, v in value.items()}
    return replace(under.palette, **changes)


def _colour(name: str, value: Any) -> Any:
    from matplotlib.colors import is_color_like, to_hex

    if isinstance(value, list):
        return tuple(_colour(name, part) for part in value)
    if not isinstance(value, str) or not is_color_like(value):
        raise BadInput(f"{name} {value!r}; expected a colour, e.g. '#0072B2'")
    return to_hex(value).upper()


def _rc(name: str, value: Any, under: Style, folder: Path) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{name} {value!r}; expected a mapping of matplotlib's settings to values")
    return {**under.rc, **{str(k): v for k, v in value.items()}}


def _tables(name: str, value: Any, under: Style, folder: Path) -> TableStyle:
    if not isinstance(value, Mapping):
        raise BadInput(f"{name} {value!r}; expected a mapping of settings to values")
    _check_names(value, [f.name for f in fields(TableStyle)])
    choices = {"bold": BOLD, "second": SECOND, "wide": WIDE, "environment": ENVIRONMENTS}
    changes: dict[str, Any] = {}
    for key, given in value.items():
        said = f"{name}, {key}"
        if key in choices:
            # YAML reads a bare `no` as false
            changes[key] = check_choice(said, "none" if given is False else given, choices[key])
        elif key in ("ranks", "siunitx"):
            changes[key] = check_flag(said, given)
        elif key == "width":
            changes[key] = check_number(said, given, positive=True)
        elif key == "placement":
            changes[key] = check_text(said, given, r"[htbpH!]+", "letters of htbpH!, e.g. tb")
        else:
            changes[key] = _texts(said, given)
    return replace(under.tables, **changes)


def _texts(name: str, value: Any) -> dict[str, str]:
    """Ids of tables → texts."""
    if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
        raise BadInput(f"{name} {value!r}; expected a mapping of ids to texts, e.g. tab03: …")
    for entry_id in value:
        check_text(name, entry_id, r"tab[0-9]{2}", "the id of a table, e.g. tab03")
    return {str(k): v for k, v in value.items()}


def _flag(name: str, value: Any, under: Style, folder: Path) -> bool:
    return check_flag(name, value)


def _text(name: str, value: Any, under: Style, folder: Path) -> str:
    return check_text(name, value)


_READERS: Mapping[str, Reader] = {
    "base": _paths, "font": _text, "font_files": _fonts, "size": _inches, "palette": _palette,
    "title": _flag, "stamp": _flag, "width": _width, "column": _inches, "page": _inches,
    "max_height": _height, "formats": _formats, "rc": _rc, "tables": _tables,
}  # fmt: skip
