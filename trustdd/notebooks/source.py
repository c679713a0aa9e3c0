"""Notebook sources: where they lie, and MyST Markdown read as a notebook."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from trustdd.settings.errors import BadInput
from trustdd.store.files import project_root

if TYPE_CHECKING:
    from nbformat import NotebookNode


def list_notebooks() -> list[Path]:
    """Return the project's notebooks in the order of their numbers."""
    return sorted((project_root() / "notebooks").glob("[0-9]*.md"))


def find_notebook(name: str) -> Path:
    """Find a notebook by path, or by its name with or without number and suffix.

    Args:
        name: ``notebooks/03_detection.md``, ``03_detection`` or ``detection``.

    Raises:
        ValueError: there is none; the nearest and all names are given.
    """
    path = Path(name)
    if path.is_file():
        return path.resolve()
    known = {p.stem: p for p in list_notebooks()}
    names = {**{stem.partition("_")[2]: p for stem, p in known.items()}, **known}
    stem = path.stem if path.suffix in (".md", ".ipynb") else path.name
    # a path into some other folder names a file that is not there, not one of the project's
    if stem in names and path.parent.name in ("", "notebooks"):
        return names[stem]
    near = difflib.get_close_matches(stem, names, n=1)
    hint = f"did you mean {names[near[0]].stem}? " if near else ""
    raise BadInput(
        f"notebook '{name}' is not there; {hint}expected a path, or one of "
        f"{', '.join(known) or '(no notebooks in notebooks/)'}"
    )


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook source: MyST Markdown, or an ``.ipynb``, without its outputs.

    Raises:
        ValueError: the file is of another kind or cannot be read as a notebook.
    """
    import jupytext
    import nbformat

    try:
        if path.suffix == ".md":
            notebook = jupytext.read(path, fmt="md:myst")
        elif path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
        else:
            raise BadInput("expected MyST Markdown (.md) or a notebook (.ipynb)")
        nbformat.validate(notebook)
    except BadInput as error:
        raise BadInput(f"notebook {path}: {error}") from None
    except Exception as error:  # readers and validators raise many kinds on damaged files
        said = next(iter(str(error).splitlines()), "")
        raise BadInput(f"notebook {path}: not readable as one ({said})") from None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def notebook_title(notebook: NotebookNode) -> str:
    """Return a notebook's first heading, or the empty string."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("# "):
                    return line.removeprefix("# ").strip()
    return ""
