"""Which of the package's modules a piece of code runs, and the hash of their source.

A stored artefact is up to date while the source that made it is what it was.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grimp import ImportGraph

PACKAGE = "trustdd"
FOLDER = Path(__file__).resolve().parents[1]


def module_closure(
    modules: Iterable[str], without: Iterable[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """Return modules and everything of the package that they import, directly or not.

    Imports inside functions count, those for type checking only do not. A package stands for
    all its modules.

    Args:
        modules: full names, ``trustdd.distillation.loop``.
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


def defining_module(package: str, name: str) -> str:
    """Return the module that ``from package import name`` runs.

    Packages list in ``__init__.pyi`` what they export, and import it when it is first used; these
    lists are followed.

    Args:
        package: full name of a module or package.
        name: what is imported from it.

    Returns:
        A full name; `package` itself where it defines `name`.
    """
    inner = f"{package}.{name}"
    folder = _path(package)
    if _path(inner).with_suffix(".py").is_file() or (_path(inner) / "__init__.py").is_file():
        return inner
    stub = folder / "__init__.pyi"
    if stub.is_file():
        for node in ast.parse(stub.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name in {a.name for a in node.names}:
                source = f"{package}.{node.module}" if node.module else package
                return defining_module(source, name)
    return package


def _path(module: str) -> Path:
    return FOLDER.parent.joinpath(*module.split("."))


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
    path = _path(module)
    # C source counts with the package that it lies in
    files = [path / "__init__.py", *sorted(path.glob("*.c"))] if path.is_dir() else []
    digest = hashlib.sha256()
    for file in files or [path.with_suffix(".py")]:
        digest.update(file.read_bytes())
    return digest.hexdigest()
