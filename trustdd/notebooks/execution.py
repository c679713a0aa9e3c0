"""Executing a notebook with papermill: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.notebooks.source import read_notebook
from trustdd.settings.errors import Explained
from trustdd.store.files import atomic_path, project_root

if TYPE_CHECKING:
    from nbformat import NotebookNode

KERNEL = "trustdd-run"
#: seconds that a kernel may take to answer for the first time
START_TIMEOUT = 120
#: a socket file's path has at most so many characters
SOCKET_PATH = 100


class NotebookFailed(Explained, RuntimeError):  # noqa: N818 - it says what happened
    """A notebook stopped before its end.

    Attributes:
        partial: the notebook as far as it came, or ``None`` where nothing was executed.
    """

    def __init__(self, message: str, partial: Path | None) -> None:
        """Say what went wrong, and where the notebook is kept as far as it came."""
        super().__init__(message)
        self.partial = partial


def output_path(path: Path, values: Mapping[str, Any], build: Path | None = None) -> Path:
    """Return where an executed notebook goes unless told otherwise.

    Args:
        path: the source.
        values: parameters that differ from the defaults.
        build: the folder, by default ``_build/notebooks`` of the project.

    Returns:
        ``NAME.ipynb``, or ``NAME-HASH.ipynb`` where parameters differ from the defaults.
    """
    folder = build or project_root() / "_build" / "notebooks"
    if not values:
        return folder / f"{path.stem}.ipynb"
    text = json.dumps(dict(values), sort_keys=True, default=str)
    return folder / f"{path.stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.ipynb"


def execute(path: Path, values: Mapping[str, Any], output: Path, *, progress: bool = True) -> Path:
    """Execute a notebook in a fresh kernel of this interpreter, in the project's folder.

    Args:
        path: the source, MyST Markdown or ``.ipynb``.
        values: parameters, already checked.
        output: the executed notebook; it is written when the last cell is done, until then an
            earlier one stays.
        progress: show the cell that runs, the time left, and the cell's own progress bar.

    Returns:
        `output`.

    Raises:
        NotebookFailed: a cell raised, or the kernel died (at its start twice). The notebook is
            kept as far as it came as ``OUTPUT.failed.ipynb``, and `output` as it was.
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from trustdd.notebooks.client import Engine, register_engine

    notebook = read_notebook(path)
    output = output.resolve()
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    register_engine()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="trustdd-run-") as folder:
        source, partial = Path(folder) / path.with_suffix(".ipynb").name, Path(folder) / "out.ipynb"
        nbformat.write(notebook, source)
        log = Path(folder) / "kernel.log"
        with _own_kernel(Path(folder)), log.open("wb") as kernel_log:
            for attempt in (1, 2):
                Engine.cells_done = 0
                try:
                    executed = papermill.execute_notebook(
                        source,
                        partial,
                        parameters=dict(values),
                        engine_name="trustdd",
                        kernel_name=KERNEL,
                        language="python",
                        cwd=project_root(),
                        progress_bar=_bar(path.stem) if progress else False,
                        request_save_on_cell_execute=False,
                        autosave_cell_every=0,
                        start_timeout=START_TIMEOUT,
                        coalesce_streams=True,
                        sockets=_sockets(folder),
                        kernel_log=kernel_log,
                    )
                    break
                except PapermillExecutionError as error:
                    _keep(partial, failed, values)
                    line = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
                    message = f"{path.name}, cell {error.exec_count}: {line}"
                    raise NotebookFailed(f"{message} (kept as {failed})", failed) from None
                except RuntimeError as error:
                    # one kernel in some fifty dies at its start; a second try is cheap
                    if attempt == 1 and not Engine.cells_done:
                        continue
                    kept = _keep_stopped(failed, values)
                    where = f"in code cell {Engine.cells_done + 1}" if kept else "twice"
                    raise NotebookFailed(
                        f"{path.name}: the kernel died {where}: {_reason(error, log)}"
                        + (f" (kept as {failed})" if kept else ""),
                        failed if kept else None,
                    ) from None
        _write(normalise(executed, values), output)
    failed.unlink(missing_ok=True)
    return output


def _reason(error: Exception, log: Path) -> str:
    """Say why a kernel died: its own last words, where it had any."""
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return said[-1] if said else str(error).splitlines()[0]


def _sockets(folder: str) -> str | None:
    """Name the kernel's socket files: unlike ports, no other process may take them first."""
    name = str(Path(folder) / "kernel")
    return name if len(name) < SOCKET_PATH else None


def _bar(name: str) -> dict[str, str]:
    line = "{n_fmt} of {total_fmt} cells done, {elapsed} gone, {remaining} left{postfix}"
    return {"desc": name, "bar_format": "{desc}: " + line}


@contextlib.contextmanager
def _own_kernel(folder: Path) -> Iterator[None]:
    """Offer the running interpreter as the kernel `KERNEL`, free of the user's configuration."""
    spec = folder / "jupyter" / "kernels" / KERNEL / "kernel.json"
    spec.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {"argv": command, "display_name": "Python 3", "language": "python"}
    spec.write_text(json.dumps(content))
    changes = {
        "JUPYTER_PATH": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        # a frozen module cannot be stepped into, which the kernel warns of on every start
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _keep(partial: Path, failed: Path, values: Mapping[str, Any]) -> None:
    import nbformat

    _write(normalise(nbformat.read(partial, as_version=4), values), failed)


def _keep_stopped(failed: Path, values: Mapping[str, Any]) -> bool:
    """Keep the notebook of a kernel that died on the way."""
    from trustdd.notebooks.client import Engine

    if Engine.cells_done and Engine.notebook is not None:
        _write(normalise(Engine.notebook, values), failed)
        return True
    return False


def _write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    with atomic_path(path) as partial:
        nbformat.write(notebook, partial)


def normalise(notebook: NotebookNode, values: Mapping[str, Any]) -> NotebookNode:
    """Take out of an executed notebook what differs between two equal runs.

    Timestamps, paths, durations, versions, random cell ids and memory addresses go; the
    parameters stay, as ``metadata.trustdd.parameters``.
    """
    metadata = notebook.metadata
    for name in ("papermill", "jupytext", "widgets"):
        metadata.pop(name, None)
    metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata["language_info"] = {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    }
    metadata["trustdd"] = {**metadata.get("trustdd", {}), "parameters": dict(values)}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index + 1:03}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        for output in cell.get("outputs", []):
            plain = output.get("data", {}).get("text/plain")
            if plain:
                output["data"]["text/plain"] = re.sub(r" at 0x[0-9a-fA-F]+", "", "".join(plain))
    return notebook
