"""``{room} NAME``: the reference of all modules of a room of the package, not a list by hand.

::

    ```{room} networks
    :first: architectures convnet
    :but: passes native
    ```

shows all modules of ``trustdd/networks``, those named ``first`` first, but those named ``but``, and
what lies in folders so named; with ``only``, those alone. A new module is shown without anybody's
doing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sphinx.application import Sphinx

import trustdd

PACKAGE = Path(trustdd.__file__).parent
_BLOCK = re.compile(r"^```\{room\} (\w+)\n((?::(?:first|but|only): .*\n)*)```$", re.M)
_SECTION = """\
## `{module}`

```{{eval-rst}}
.. automodule:: {module}
   :ignore-module-all:
```
"""


def modules_of(room: str, package: Path = PACKAGE) -> list[str]:
    """List a room's modules below its name: ``losses``, ``native``, ``native.binding``, sorted.

    Raises:
        ValueError: there is no such room.
    """
    folder = package / room
    if not folder.is_dir():
        rooms = ", ".join(sorted(p.parent.name for p in package.glob("*/__init__.py")))
        raise ValueError(f"room '{room}'; expected one of {rooms}")
    found = [p.relative_to(folder).with_suffix("").parts for p in folder.rglob("*.py")]
    names = (".".join(part for part in parts if part != "__init__") for parts in found)
    return sorted(name for name in names if name)


def chosen(
    names: Sequence[str],
    first: Sequence[str] = (),
    but: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[str]:
    """Keep the modules that a block asks for, of these names or in folders of them, in its order.

    Raises:
        ValueError: a name that is no module of the room.
    """
    for name in (*first, *but, *only):
        if name not in names:
            raise ValueError(f"module '{name}'; expected one of {', '.join(names)}")

    def among(name: str, given: Sequence[str]) -> bool:
        return any(name == g or name.startswith(f"{g}.") for g in given)

    kept = [n for n in names if not among(n, but) and (not only or among(n, only))]
    return sorted(kept, key=lambda name: first.index(name) if name in first else len(first))


def write_out_rooms(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put a section for each module in place of the blocks."""

    def sections(block: re.Match[str]) -> str:
        room, options = block[1], re.findall(r"^:(\w+): (.*)$", block[2], re.M)
        for folder in (PACKAGE / room, *(p for p in (PACKAGE / room).rglob("*") if p.is_dir())):
            # the page is read again when a module comes or goes
            app.env.note_dependency(str(folder))
        names = chosen(modules_of(room), **{key: given.split() for key, given in options})
        return "\n".join(_SECTION.format(module=f"trustdd.{room}.{name}") for name in names)

    source[0] = _BLOCK.sub(sections, source[0])


def setup(app: Sphinx) -> None:
    """Register the event."""
    app.connect("source-read", write_out_rooms)
