"""The picture of the package's rooms shows the imports as they are."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

pytest.importorskip("grimp")
import draw_rooms  # noqa: E402


def test_the_picture_is_up_to_date() -> None:
    drawn = draw_rooms.PICTURE.read_text(encoding="utf-8")
    assert drawn == draw_rooms.drawing(), "run: python tools/draw_rooms.py"


def test_every_room_and_every_import_is_drawn() -> None:
    picture = ElementTree.fromstring(draw_rooms.drawing())
    space = "{http://www.w3.org/2000/svg}"
    rooms = {text.text for text in picture.iter(f"{space}text") if text.get("class") == "room"}
    assert rooms == {room for floor in draw_rooms.floors() for room in floor}
    arcs = {title.text for title in picture.iter(f"{space}title") if title.get("id") is None}
    links = draw_rooms.imports()
    assert arcs == {f"{above} imports from {below}" for above, below in links}
    level = {room: i for i, floor in enumerate(draw_rooms.floors()) for room in floor}
    assert all(level[above] <= level[below] for above, below in links)


def test_both_pages_show_it() -> None:
    assert "](book/_static/rooms.svg)" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "_static/rooms.svg" in (ROOT / "book" / "api.md").read_text(encoding="utf-8")
