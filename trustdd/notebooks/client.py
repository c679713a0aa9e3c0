"""papermill's engine, with the cells' own progress bars shown instead of stored."""

from __future__ import annotations

import re
import sys
from typing import IO, Any, ClassVar

from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets.config import Config

#: a bar redraws its line: it returns to the line's start and writes it again
_REDRAWN = re.compile(r"\r|\x1b\[A")
_WIDTH = 70


class Client(PapermillNotebookClient):
    """Runs the cells; a bar written to stderr goes to the terminal, not into the notebook."""

    _in_bar = False

    def process_message(self, *positions: Any, **names: Any) -> Any:
        """Handle one message of the kernel."""
        message = positions[0] if positions else names["msg"]
        content = message.get("content", {})
        if message.get("msg_type") == "stream" and content.get("name") == "stderr":
            if _REDRAWN.search(content["text"]):
                self._show(content["text"])
                self._in_bar = True
                return None
            if self._in_bar:
                # the line end that closes a bar
                content["text"] = content["text"].removeprefix("\n")
                self._in_bar = False
                if not content["text"]:
                    return None
        return super().process_message(*positions, **names)

    def _show(self, text: str) -> None:
        lines = [line.strip() for line in _REDRAWN.split(text) if line.strip()]
        if self.nb_man.pbar is not None and lines:
            self.nb_man.pbar.set_postfix_str(lines[-1][:_WIDTH])


class Engine(NBClientEngine):
    """papermill's own engine with `Client`; remembers how far the notebook came."""

    cells_done: ClassVar[int] = 0
    notebook: ClassVar[NotebookNode | None] = None

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        log_output: bool = False,
        start_timeout: int = 60,
        execution_timeout: int | None = None,
        sockets: str | None = None,
        kernel_log: IO[bytes] | None = None,
        **options: Any,
    ) -> Any:
        """Run every cell of the managed notebook in a fresh kernel.

        With `sockets` the kernel is talked to by socket files whose names begin so. What it says
        outside any cell goes to `kernel_log`.
        """
        cls.notebook = nb_man.nb
        complete = nb_man.cell_complete

        def count(cell: NotebookNode, cell_index: int | None = None, **more: Any) -> None:
            # papermill calls this in a `finally`, also while an exception passes
            cls.cells_done += cell.cell_type == "code" and sys.exc_info()[0] is None
            if nb_man.pbar is not None:
                nb_man.pbar.set_postfix_str("", refresh=False)
            complete(cell, cell_index=cell_index, **more)

        nb_man.cell_complete = count
        options.pop("input_path", None)
        for name in ("stdout_file", "stderr_file", "output_path"):
            options.pop(name, None)
        connection = {"transport": "ipc", "ip": sockets} if sockets else {}
        return Client(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            timeout=execution_timeout,
            config=Config({"KernelManager": connection}),
            **options,
        ).execute(stdout=kernel_log, stderr=kernel_log)


def register_engine() -> None:
    """Make papermill know the engine by the name ``trustdd``."""
    papermill_engines.register("trustdd", Engine)
