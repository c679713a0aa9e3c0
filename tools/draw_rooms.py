"""Draw which room of the package imports which: the floors of pyproject.toml, and what grimp finds.

``python tools/draw_rooms.py`` writes the picture that CONTRIBUTING and the book's reference show.
"""

import ast
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "book" / "_static" / "rooms.svg"
#: neighbouring floors are told apart by everybody
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00",
    "#56B4E9", "#882255", "#4D4D4D", "#999999",
)  # fmt: skip
#: pixels: a floor, the gap below it, the boxes' left and right edge, room for a floor of arcs
FLOOR, GAP, LEFT, RIGHT, REACH = 46, 22, 16, 560, 30
WIDTH = 780
#: pixels between two rooms of one floor
BESIDE = 34


def floors() -> list[list[str]]:
    """Return the rooms of every floor, the uppermost first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return [[room for room in layer.split(" : ") if room != "__main__"] for layer in layers]


def imports() -> set[tuple[str, str]]:
    """Return which room imports from which other one."""
    graph = grimp.build_graph("trustdd", cache_dir=None)
    found = {
        (importer.split(".")[1], imported.split(".")[1])
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if importer.count(".") and imported.count(".")
    }
    return {(above, below) for above, below in found if above != below and above != "__main__"}


def purpose(room: str) -> str:
    """Return what a room is for, the first sentence of its docstring, in a few words."""
    source = (ROOT / "trustdd" / room / "__init__.py").read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return first.partition(":")[0].rstrip(".")


def drawing() -> str:
    """Return the picture as SVG: a box a room, an arc from every room to each that it imports."""
    above, links = floors(), imports()
    middle = {
        room: GAP + i * (FLOOR + GAP) + FLOOR / 2 for i, row in enumerate(above) for room in row
    }
    level = {room: i for i, row in enumerate(above) for room in row}
    height = GAP + len(above) * (FLOOR + GAP)
    boxes, arcs = [], []
    for i, row in enumerate(above):
        width = (RIGHT - LEFT - BESIDE * (len(row) - 1)) / len(row)
        for place, room in enumerate(row):
            x, y = LEFT + place * (width + BESIDE), middle[room] - FLOOR / 2
            said = purpose(room) if len(row) == 1 else ""
            boxes.append(
                f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{FLOOR}" rx="7" '
                f'fill="{COLOURS[i]}" fill-opacity="0.12" stroke="{COLOURS[i]}" '
                f'stroke-width="1.5"/>'
                f'<text x="{x + 14:.0f}" y="{middle[room] + 5:.0f}" class="room">{room}</text>'
                f'<text x="{x + 122:.0f}" y="{middle[room] + 5:.0f}" class="said">'
                f"{escape(said)}</text>"
            )
    for importer, imported in sorted(
        links, key=lambda link: (level[link[0]] - level[link[1]], link)
    ):
        i, j = level[importer], level[imported]
        hint = f"<title>{importer} imports from {imported}</title></path>"
        line = f'stroke="{COLOURS[i]}" marker-end="url(#tip{i})">{hint}'
        if i == j:
            edge = (LEFT + RIGHT - BESIDE) / 2
            arcs.append(f'<path d="M{edge:.0f},{middle[importer]} h{BESIDE - 2}" {line}')
            continue
        # leaves at the lower half of its floor, and arrives at the upper half of the other
        start = middle[importer] + 3 + 18 * (j - i - 1) / len(above)
        end = middle[imported] - 19 + 18 * i / len(above)
        out = RIGHT + 14 + REACH * (j - i) + 10 * above[i].index(importer)
        curve = f"C{out:.1f},{start:.1f} {out:.1f},{end:.1f} {RIGHT + 5},{end:.1f}"
        arcs.append(f'<path d="M{RIGHT},{start:.1f} {curve}" {line}')
    tips = "".join(
        f'<marker id="tip{i}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        f'orient="auto"><path d="M0,0.8 L8,4 L0,7.2 Z" fill="{COLOURS[i]}" stroke="none"/></marker>'
        for i in range(len(above))
    )
    title = "The rooms of the package, one above the other; every import points down"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
            f'<title id="title">{title}</title>',
            "<style>text{font-family:DejaVu Sans,Verdana,sans-serif;fill:#111827}"
            ".room{font-size:14px;font-weight:bold}.said{font-size:12px}"
            ".arcs path{fill:none;stroke-width:1.6;stroke-opacity:.75}</style>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f"<defs>{tips}</defs>",
            f'<g class="arcs">{"".join(arcs)}</g>',
            *boxes,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
