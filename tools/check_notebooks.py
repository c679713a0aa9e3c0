"""Complain of notebooks that are not what the book expects.

A notebook is MyST Markdown under ``notebooks/NN_name.md``: jupytext's front matter, one cell
tagged ``parameters`` made of plain assignments, the first ``profile = "quick"``, and no outputs.
No ``.ipynb`` is in git.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import yaml

from trustdd.notebooks.parameters import read_makes, read_parameters
from trustdd.settings.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
FILE_NAME = re.compile(r"\d\d_[a-z0-9_]+\.md")
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def front_matter_complaints(text: str) -> Iterator[str]:
    """Yield what is wrong with the YAML at the head of a notebook."""
    head = FRONT_MATTER.match(text)
    if head is None:
        yield "no front matter (--- … ---) at the top"
        return
    try:
        front: Any = yaml.safe_load(head[1])
    except yaml.YAMLError as error:
        yield f"front matter is no YAML: {str(error).splitlines()[0]}"
        return
    if not isinstance(front, dict):
        yield "front matter is no mapping"
        return
    representation = front.get("jupytext", {}).get("text_representation", {})
    if representation.get("format_name") != "myst":
        yield "front matter lacks jupytext.text_representation.format_name: myst"
    if front.get("kernelspec", {}).get("name") != "python3":
        yield "front matter lacks kernelspec.name: python3"


def parameter_complaints(notebook: Any) -> Iterator[str]:
    """Yield what is wrong with the cell tagged ``parameters``."""
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells tagged `parameters`; expected one"
        return
    try:
        parameters = read_parameters(notebook)
        read_makes(notebook)
    except BadInput as error:
        yield str(error)
        return
    if [*parameters][:1] != ["profile"]:
        yield "the parameters cell does not start with profile"
    elif parameters["profile"].default != "quick":
        yield f'profile = {parameters["profile"].default!r}; expected "quick"'


def notebook_complaints(path: Path) -> Iterator[str]:
    """Yield everything wrong with one notebook, without its path."""
    if not FILE_NAME.fullmatch(path.name):
        yield "file name; expected NN_name.md"
    text = path.read_text()
    found = list(front_matter_complaints(text))
    yield from found
    if found:
        return
    notebook = jupytext.reads(text, fmt="md:myst")
    yield from parameter_complaints(notebook)
    if any(cell.get("outputs") for cell in notebook.cells):
        yield "holds outputs"


if __name__ == "__main__":
    listing = subprocess.run(
        ["git", "ls-files", "*.ipynb"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    messages = [f"{file}: an executed notebook in git" for file in listing.stdout.splitlines()]
    notebooks = sorted((ROOT / "notebooks").glob("*.md"))
    for notebook in notebooks:
        messages += [f"notebooks/{notebook.name}: {text}" for text in notebook_complaints(notebook)]
    print("\n".join(messages) if messages else f"notebooks: {len(notebooks)}, all plain")
    sys.exit(bool(messages))
