"""Complain of names that say nothing: in Python files, in notebook cells and among the file names.

Only names that this project gives are looked at (variables, parameters, functions, classes,
attributes, ``import … as``), not those it uses of other libraries.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext

ROOT = Path(__file__).resolve().parent.parent
BANNED_WORDS = frozenset({"args", "res", "syn", "utils", "helpers", "misc"})
BANNED_STARTS = ("do_", "my_")


def is_banned(name: str) -> bool:
    """Whether a name holds a banned word (``gw_syn``) or starts with a banned prefix."""
    words = re.split(r"[_\-.]", name.lower())
    return not BANNED_WORDS.isdisjoint(words) or name.lower().lstrip("_").startswith(BANNED_STARTS)


def given_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name) for every name that the code itself gives to something."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def code_of(path: Path) -> str:
    """Return the Python code of a ``.py`` file, or of a text notebook with magics left out."""
    if path.suffix == ".py":
        return path.read_text()
    cells = jupytext.read(path).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE)


def complaints(root: Path, files: list[str]) -> Iterator[str]:
    """Yield one line for each banned name in `files`, paths relative to `root`."""
    for file in files:
        path = root / file
        banned_parts = [part for part in Path(file).parts if is_banned(Path(part).stem)]
        if banned_parts:
            yield f"{file}: the file name says nothing ({', '.join(banned_parts)})"
        if path.suffix == ".py" or (path.suffix == ".md" and path.parent.name == "notebooks"):
            for line, name in given_names(ast.parse(code_of(path), filename=file)):
                if is_banned(name):
                    yield f"{file}:{line}: the name {name!r} says nothing"


if __name__ == "__main__":
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    tracked = [file for file in listing.stdout.splitlines() if (ROOT / file).is_file()]
    found = list(complaints(ROOT, tracked))
    print("\n".join(found) if found else f"names: {len(tracked)} files, nothing banned")
    sys.exit(bool(found))
