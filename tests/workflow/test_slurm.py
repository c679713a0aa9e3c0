"""The graph under a real SLURM, as the book says, from a folder with an awkward name."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from loopback_slurm import LoopbackSlurm, missing

from trustdd.store.profiles import load_profile
from trustdd.store.run import Run
from trustdd.store.verification import verify

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("snakemake_executor_plugin_slurm")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=missing() or "it is there"),
]

#: two runs that take a while, one that does not, and one for a GPU that is none
TINY = """\
settings:
  digits: {iterations: 600, outer_loops: 1, inner_loops: 0, real_batch: 4, width: 4, depth: 1,
           training_epochs: 5, ood: [gaussian], ood_limit: 20}
groups:
  long: {dataset: digits, ipc: 1, outliers: poe, seed: [0, 1]}
  short: {dataset: digits, ipc: 1, outliers: none, iterations: 1}
"""
IMPOSSIBLE = "  impossible: {dataset: digits, ipc: 1, outliers: none, seed: 5, device: cuda}\n"


@pytest.fixture(scope="module")
def slurm() -> Iterator[LoopbackSlurm]:
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        with LoopbackSlurm(folder, cpus=4, gpus=1) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """What a run of the graph needs of the project, where the interpreter's path is awkward too."""
    folder = tmp_path / "a clone of Zoë"
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    (folder / "notebooks").mkdir()
    (folder / "profiles").mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    yield folder
    for master in Master.started:
        master.process.kill()


def documented_command(folder: Path, **settings: str) -> list[str]:
    """The page's command for the runs alone, with this folder's interpreter and these settings."""
    page = (ROOT / "book" / "reproduce.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)
    (text,) = [block for block in blocks if "profiles/slurm" in block and "-- runs" in block]
    words = shlex.split(text.replace("\\\n", " "))
    assert words.pop(0) == ".venv/bin/snakemake"
    given = [settings.pop(word.split("=")[0], None) for word in words]
    assert not settings, "the page says how to set these"
    words = [
        f"{word.split('=')[0]}={value}" if value else word
        for word, value in zip(words, given, strict=True)
    ]
    at = words.index("--config")
    words[at:at] = ["--slurm-init-seconds-before-status-checks", "2"]
    return [str(folder / ".venv" / "bin" / "python"), "-m", "snakemake", *words]


class Master:
    """One Snakemake that submits jobs, and what it says."""

    started: ClassVar[list[Master]] = []

    def __init__(self, folder: Path, slurm: LoopbackSlurm, out: Path) -> None:
        command = documented_command(folder, profile="tiny", account="theirs", partition="other")
        environment = {**slurm.environment, "PYTHONPATH": str(ROOT)}
        environment.pop("TRUSTDD_RESULTS", None)
        self.out = out
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=file, stderr=file
            )
        self.started.append(self)

    def said(self) -> str:
        return self.out.read_text(encoding="utf-8")

    def end(self) -> int:
        """Wait until it is done; its exit status."""
        return self.process.wait(900)


def until(what: str, condition: Callable[[], object], master: Master) -> None:
    """Wait for something that comes about while a Snakemake runs."""
    deadline = time.monotonic() + 300
    while not condition():
        alive = master.process.poll() is None and time.monotonic() < deadline
        assert alive, f"waited in vain for {what}: {master.said()}"
        time.sleep(0.5)


def artefacts(results: Path) -> dict[str, bytes]:
    """Tensors and frames of a profile's runs, by their place."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(results.rglob("*"))
        if path.suffix in (".safetensors", ".csv") and not path.name.startswith("checkpoint")
    }


def test_jobs_are_cancelled_and_masters_killed_and_the_bytes_are_those_of_one_machine(
    clone: Path, slurm: LoopbackSlurm, tmp_path: Path
) -> None:
    profile = clone / "profiles" / "tiny.yaml"
    profile.write_text(TINY + IMPOSSIBLE)
    loaded = load_profile(profile)
    survivor, cancelled = (e.key for e in loaded.group("long"))
    (impossible,) = (e.key for e in loaded.group("impossible"))
    logs = clone / "_build" / "tiny" / "logs"

    def job(key: str) -> str:
        """The id of a run's distilling job that is now running; empty if there is none."""
        listed = slurm.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i|%k")
        jobs = dict(line.split("|")[::-1] for line in listed.splitlines())
        return jobs.get(f"rule_distill_wildcards_{key}", "")

    def distils(key: str) -> bool:
        log = logs / f"distill-{key}.log"
        return bool(job(key)) and log.is_file() and "it/s" in log.read_text(errors="replace")

    # a Snakemake is killed while its jobs run; they go on
    first = Master(clone, slurm, tmp_path / "first.txt")
    until("two runs", lambda: distils(survivor) and distils(cancelled), first)
    outlives = job(survivor)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    slurm.ask("scancel", job(cancelled))
    assert job(survivor) == outlives

    # the same command again: what still runs is waited for in the queue, what was stopped starts
    second = Master(clone, slurm, tmp_path / "second.txt")
    waiting = ("squeue", "--noheader", "--states=PENDING", "--format=%k|%E")
    until(
        "a job behind the one that outlived",
        lambda: f"rule_distill_wildcards_{survivor}|afterany:{outlives}" in slurm.ask(*waiting),
        second,
    )
    until("the run that was stopped", lambda: distils(cancelled), second)
    # meanwhile nobody else may build this
    third = Master(clone, slurm, tmp_path / "third.txt")
    assert third.end() == 1
    assert re.search(r"process \d+ on \S+ is at profile 'tiny' here", third.said())
    # a job is cancelled while Snakemake looks on, and one fails by itself
    slurm.ask("scancel", job(cancelled))
    assert second.end() == 1
    said = second.said()
    assert f"failed: distill {cancelled} (CANCELLED)" in said
    assert f"failed: distill {impossible} (FAILED)" in said
    assert "trustdd: device 'cuda'" in said, "what is in its own log"
    assert "nothing in its log" not in said

    profile.write_text(TINY)
    last = Master(clone, slurm, tmp_path / "last.txt")
    assert last.end() == 0, last.said()
    # distill and evaluate of the one that was left, and the target
    assert "3 of 3 jobs done" in last.said()

    # on this machine, in one process
    here = tmp_path / "here"
    subprocess.run(
        [sys.executable, "-m", "trustdd", "complete", "--all", "--profile", str(profile)],
        env={**os.environ, "TRUSTDD_RESULTS": str(here), "OMP_NUM_THREADS": "1"},
        cwd=clone, check=True, capture_output=True,
    )  # fmt: skip
    made = artefacts(clone / "results" / "tiny" / "runs")
    assert len(made) >= 3 * 4
    assert made == artefacts(here / "tiny" / "runs")
    for experiment in load_profile(profile).experiments():
        run = Run.of(experiment, "tiny", clone / "results")
        assert verify(run.directory).complaints == []

    fields = ("Comment", "State", "Account", "ReqTRES", "Timelimit", "Start", "End", "Partition")
    jobs = [facts for facts in slurm.jobs(*fields) if facts["Partition"] == "other"]
    assert {facts["Account"] for facts in jobs} == {"theirs"}
    on_gpus = {facts["Comment"] for facts in jobs if "gres/gpu=1" in facts["ReqTRES"]}
    assert on_gpus == {f"rule_distill_wildcards_{impossible}"}, "whose device says so"
    assert all("cpu=1," in facts["ReqTRES"] and "mem=" in facts["ReqTRES"] for facts in jobs)
    assert all(facts["Timelimit"] == "00:30:00" for facts in jobs)
    # no run was ever distilled by two jobs at once
    for key, states in (
        (survivor, "COMPLETED COMPLETED"),
        (cancelled, "CANCELLED CANCELLED COMPLETED"),
    ):
        same = [facts for facts in jobs if facts["Comment"] == f"rule_distill_wildcards_{key}"]
        assert [facts["State"].split()[0] for facts in same] == states.split()
        assert all(one["End"] <= other["Start"] for one, other in itertools.pairwise(same))
