"""The graph among other processes: one Snakemake a profile, and jobs that outlived the last one."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from trustdd.store.locks import lock


def hold(path: Path, what: str) -> contextlib.ExitStack:
    """Be the only process that holds a lock, until this one ends, however it ends.

    A process that is killed leaves none behind, on other machines that share the folder neither,
    see `trustdd.store.locks`.

    Args:
        path: the lock's file; made with its folders.
        what: is being held, for the message.

    Returns:
        What gives the lock back when it is closed.

    Raises:
        BlockingIOError: another process holds it; the message says which, and where.
    """
    note = path.with_name(f"{path.name}.holder")
    with contextlib.ExitStack() as held:
        if not held.enter_context(lock(path, wait=False)):
            holder = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
            raise BlockingIOError(
                f"{holder or 'another process'} is at {what}; wait for it, or end it"
            )
        note.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        return held.pop_all()


def comment(rule: str, wildcards: Iterable[str]) -> str:
    """Return what Snakemake's executor for SLURM notes with a job."""
    values = "_".join(wildcards).replace("/", "_")
    return f"rule_{rule}_wildcards_{values}" if values else f"rule_{rule}"


def outliving_jobs(folder: Path) -> dict[str, list[str]]:
    """Find the jobs that an earlier Snakemake, killed since, has submitted from a folder.

    They go on by themselves. The same job submitted once more has to wait for them, in the queue
    and not on a node.

    Args:
        folder: where that Snakemake ran.

    Returns:
        A job's comment → ids of the jobs that are queued or run.

    Raises:
        OSError: SLURM does not answer; with what it said.
    """
    command = ["squeue", f"--user={getpass.getuser()}", "--noheader", "--format=%i|%Z|%k"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise OSError(f"squeue: {answer.stderr.strip()}")
    found: dict[str, list[str]] = {}
    for line in answer.stdout.splitlines():
        job, place, note = line.split("|", 2)
        if Path(place).resolve() == folder.resolve():
            found.setdefault(note, []).append(job)
    return found


class Site:
    """What a cluster wants to be told with every job besides its size.

    Made from the workflow's configuration: ``account``, ``partition``, ``gpu_partition`` and
    ``slurm_extra``, further options of ``sbatch``.
    """

    def __init__(
        self, config: Mapping[str, object], outliving: Callable[[], Mapping[str, list[str]]]
    ) -> None:
        """Keep the settings, and who tells which jobs must end before theirs start again."""
        self.config, self.outliving = config, outliving

    def account(self) -> str | None:
        """Return the account that jobs are charged to, if one is set."""
        return self._text("account")

    def partition(self, gpu: int) -> str | None:
        """Return the partition of a job with that many GPUs, if one is set."""
        return (self._text("gpu_partition") if gpu else None) or self._text("partition")

    def extra(self, rule: str, wildcards: Iterable[str]) -> str | None:
        """Return further options of ``sbatch``: what is set, and what the job has to wait for."""
        options = [self._text("slurm_extra") or ""]
        earlier = self.outliving().get(comment(rule, wildcards))
        if earlier:
            options.append(f"--dependency=afterany:{':'.join(earlier)}")
        return " ".join(filter(None, options)) or None

    def _text(self, name: str) -> str | None:
        value = self.config.get(name)
        return None if value in (None, "") else str(value)
