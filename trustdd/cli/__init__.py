"""The command line: one command per job a person has.

Nothing heavy is imported before a command needs it, so that ``trustdd --help`` answers at once.
Exit status: 0 done, 2 bad input, 1 failed, 130 interrupted. Errors are one line on stderr.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from trustdd.cli.artefacts import bundle, figure, numbers, page_data, publish, table, verify
from trustdd.cli.complete import complete, experts, stage
from trustdd.cli.data import data
from trustdd.cli.distill import distill
from trustdd.cli.evaluate import evaluate
from trustdd.cli.listing import list_command
from trustdd.cli.run import run
from trustdd.cli.sets import export, import_command
from trustdd.settings.errors import Explained

#: what numerical libraries take the number of their threads from; Snakemake sets the same
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "GOTO_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
)  # fmt: skip


@click.group(
    epilog="\b\nExample:\n  trustdd run notebooks/02_gradient_matching.md -p outliers=oe -p ipc=5",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="trustdd", message="%(version)s")
def cli() -> None:
    """Run, re-make and check everything in the TrustDD companion.

    Every command has a --help with an example. Computing is done on one thread, which the bytes
    of results depend on; OMP_NUM_THREADS in the environment asks for more.
    """


for _command in (
    list_command, run, figure, table, numbers, bundle, data, verify, publish, complete, stage,
    experts, import_command, evaluate, distill, export, page_data,
):  # fmt: skip
    cli.add_command(_command)


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        words: the words behind ``trustdd``; by default those the process was called with.
    """
    # a notebook's kernel and a half-written file are cleaned up on the way out
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with _threads():
            status = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader of our output has gone; what Python flushes at exit has no place to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    """Compute on one thread, as a job of the workflow does, unless ``OMP_NUM_THREADS`` says more.

    The bytes of a result depend on it; libraries read it when they are imported.
    """
    wanted = os.environ.get("OMP_NUM_THREADS", "1")
    unset = [name for name in THREAD_VARIABLES if name not in os.environ]
    os.environ.update(dict.fromkeys(unset, wanted))
    try:
        yield
    finally:
        for name in unset:
            os.environ.pop(name, None)


def _run(words: Sequence[str] | None) -> int:
    try:
        returned: Any = cli.main(words, prog_name="trustdd", standalone_mode=False)
        return returned if isinstance(returned, int) else 0
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _complain("interrupted", 130)
    except BrokenPipeError:
        raise
    except Explained as error:
        return _complain(str(error), error.exit_status)
    except (FloatingPointError, OSError) as error:
        return _complain(str(error), 1)


def _complain(message: str, status: int) -> int:
    print("trustdd:", " ".join(message.split()), file=sys.stderr)
    return status


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
