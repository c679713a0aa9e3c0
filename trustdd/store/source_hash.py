"""Which of the package's modules a piece of code runs, and the hash of their source.

A stored artefact is up to date while the source that made it is what it was. What is hashed is the
syntax: comments, docstrings and layout change nothing.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from grimp import ImportGraph

PACKAGE = "trustdd"
FOLDER = Path(__file__).resolve().parents[1]
#: C, in comments, white space, and whatever else: strings in one piece, as they may look like these
_C_PARTS = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<space>\s+)"""
    r"""|(?P<word>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'/]+|.)""",
    re.DOTALL,
)


def module_closure(modules: Iterable[str]) -> tuple[str, ...]:
    """Return modules and everything of the package that they run.

    That is what they import, directly or not, and the packages that either lie in. Imports inside
    functions count, those for type checking only do not. A package stands for all its modules.

    Args:
        modules: full names, ``trustdd.distillation.loop``.

    Returns:
        Names in alphabetical order.

    Raises:
        ValueError: a name is no module of the package.
    """
    graph = _graph()
    found: set[str] = set()
    for module in modules:
        if module not in graph.modules:
            known = ", ".join(sorted(graph.modules))
            raise BadInput(f"module '{module}'; expected one of {known}")
        found |= {module} | graph.find_descendants(module)
    for module in tuple(found):
        found |= graph.find_upstream_modules(module)
    return tuple(sorted({package for module in found for package in _with_packages(module)}))


def _with_packages(module: str) -> Iterator[str]:
    """A module, and the packages whose ``__init__`` runs before it."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def source_hash(modules: Iterable[str], alone: Iterable[str] = ()) -> str:
    """Hash source by what it says, see `syntax`.

    Args:
        modules: these count with all they run, see `module_closure`.
        alone: these count without what they import.

    Returns:
        16 hexadecimal digits.

    Raises:
        ValueError: a name is no module of the package.
    """
    digest = hashlib.sha256()
    for module in sorted({*module_closure(modules), *alone}):
        digest.update(f"{module}:{_module_hash(module)}\n".encode())
    return digest.hexdigest()[:16]


def syntax(source: str) -> str:
    """Return what Python source says, without comments, docstrings and layout.

    The text is that of the syntax tree, written so that it does not depend on Python's version.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return _written(tree)


def _is_text(node: ast.AST) -> bool:
    """Tell whether a statement is a bare string, which does nothing."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _written(node: object) -> str:
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__}:{node.value!r}"
    if isinstance(node, ast.AST):
        # fields that are not there are left out: later versions of Python have more of them
        parts = [
            f"{name}={_written(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("type_comment", "type_ignores")
        ]
        return f"{type(node).__name__}({','.join(parts)})"
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    return repr(node)


def c_syntax(source: str) -> str:
    """Return what C source says, without comments and layout; lines stay, for the preprocessor."""
    parts: list[str] = []
    gap = ""
    for match in _C_PARTS.finditer(source):
        if match["word"] is None:
            # a comment within a line parts words, as a space does
            ends_line = match["space"] is not None and "\n" in match["space"]
            gap = "\n" if ends_line or gap == "\n" else " "
            continue
        parts += [gap, match["word"]]
        gap = ""
    return "".join(parts).strip()


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
def _graph() -> ImportGraph:
    import grimp

    return grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)


@functools.cache
def _module_hash(module: str) -> str:
    digest = hashlib.sha256()
    path = _path(module)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    digest.update(syntax(file.read_text(encoding="utf-8")).encode())
    for name in _c_files(path) if path.is_dir() else ():
        # C source counts with the package that it lies in
        text = c_syntax(name.read_text(encoding="utf-8"))
        digest.update(f"{name.relative_to(path).as_posix()}:{text}".encode())
    return digest.hexdigest()


def _c_files(folder: Path) -> list[Path]:
    """C files and headers in a package, also in its folders, but not in the packages inside it."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".c", ".h"):
            found.append(path)
        elif path.is_dir() and not (path / "__init__.py").is_file():
            found += _c_files(path)
    return found
