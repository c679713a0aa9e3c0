"""Which of the package's modules a piece of code runs, and the hash of their source.

A stored artefact is up to date while the source that made it is what it was.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grimp import ImportGraph

PACKAGE = "trustdd"
FOLDER = Path(__file__).resolve().parent


def module_closure(
    modules: Iterable[str], without: Iterable[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """Return modules and everything of the package that they import, directly or not.

    Imports inside functions count, those for type checking only do not. A package stands for
    all its modules.

    Args:
        modules: full names, ``trustdd.distillation``.
        without: imports ``(importer, imported)`` that are known not to be taken.

    Returns:
        Names in alphabetical order.

    Raises:
        ValueError: a name is no module of the package.
    """
    graph = _graph(tuple(sorted(without)))
    found: set[str] = set()
    for module in modules:
        if module not in graph.modules:
            known = ", ".join(sorted(graph.modules))
            raise ValueError(f"module '{module}'; expected one of {known}")
        found |= {module} | graph.find_descendants(module)
    for module in tuple(found):
        found |= graph.find_upstream_modules(module)
    return tuple(sorted(found))


def source_hash(
    modules: Iterable[str],
    without: Iterable[tuple[str, str]] = (),
    alone: Iterable[str] = (),
) -> str:
    """Hash source by content.

    Args:
        modules: these count with all they import, see `module_closure`.
        without: imports that are known not to be taken.
        alone: these count without what they import.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: a name is no module of the package.
    """
    digest = hashlib.sha256()
    for module in sorted({*module_closure(modules, without), *alone}):
        digest.update(f"{module}:{_file_hash(module)}\n".encode())
    return digest.hexdigest()[:16]


@functools.cache
def _graph(without: tuple[tuple[str, str], ...]) -> ImportGraph:
    import grimp

    if not without:
        return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    graph = copy.deepcopy(_graph(()))
    for importer, imported in without:
        if importer in graph.modules and imported in graph.modules:
            graph.remove_import(importer=importer, imported=imported)
    return graph


@functools.cache
def _file_hash(module: str) -> str:
    path = FOLDER.parent.joinpath(*module.split("."))
    # C source counts with the package that it lies in
    files = [path / "__init__.py", *sorted(path.glob("*.c"))] if path.is_dir() else []
    digest = hashlib.sha256()
    for file in files or [path.with_suffix(".py")]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
