"""What the terminal shows while the graph runs: one line. Snakemake's own log goes to its file."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

#: seconds between two drawings of the line
INTERVAL = 1.0
#: rules that only gather others
TARGETS = ("all", "runs")
TAIL_BYTES = 2000


class ProgressLine(logging.Handler):
    """Draws jobs done and to do, what runs now, and the time left; prints what fails."""

    def __init__(self, times_file: Path, cores: int, stream: Any = None) -> None:
        """Read how long jobs of each rule took last time from `times_file`."""
        super().__init__(logging.INFO)
        self.times_file, self.cores = times_file, max(1, cores)
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.begun = time.monotonic()
        self.expected: dict[str, float] = (
            json.loads(times_file.read_text()) if times_file.is_file() else {}
        )
        self.todo: Counter[str] = Counter()
        self.total = self.done = self.failed = 0
        self.jobs: dict[int, dict[str, Any]] = {}
        self.running: dict[int, float] = {}
        self.took: dict[str, list[float]] = {}
        self.width = 0
        self.stop = threading.Event()
        if self.live:
            threading.Thread(target=self._tick, daemon=True).start()

    # -- what Snakemake tells -----------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message of Snakemake's."""
        event = str(getattr(record, "event", "") or "")
        handle = getattr(self, f"on_{event}", None)
        if handle is not None:
            handle(record)
        elif record.levelno >= logging.ERROR and not event.startswith(("job", "group")):
            # what a failed job comes to is said with the job
            if not self.failed and getattr(record, "exception", "") != "RuleException":
                self.say(record.getMessage())
        elif record.getMessage().startswith("Nothing to be done"):
            self.say("everything is up to date")

    def on_run_info(self, record: Any) -> None:
        """The graph is known: jobs by rule."""
        stats = dict(record.stats)
        self.total = stats.pop("total", sum(stats.values()))
        self.todo = Counter({rule: n for rule, n in stats.items() if rule not in TARGETS})

    def on_job_info(self, record: Any) -> None:
        """A job is about to start."""
        label = " ".join([record.rule_name, *record.wildcards.values()])
        self.jobs[record.jobid] = {
            "rule": record.rule_name, "label": label, "log": list(record.log or []),
        }  # fmt: skip
        self.running[record.jobid] = time.monotonic()
        self.draw()

    def on_job_finished(self, record: Any) -> None:
        """A job is done."""
        begun = self.running.pop(record.job_id, None)
        job = self.jobs.get(record.job_id)
        self.done += 1
        if job is not None and begun is not None and job["rule"] not in TARGETS:
            self.todo[job["rule"]] -= 1
            self.took.setdefault(job["rule"], []).append(time.monotonic() - begun)
            if not self.live:
                self.say(f"{self.done}/{self.total} {job['label']}")
        self.draw()

    def on_job_error(self, record: Any) -> None:
        """A job failed: say how, and show the last line of its log, or else of its executor's."""
        job = self.jobs.get(record.jobid, {"rule": "?", "label": str(record.msg), "log": []})
        if self.running.pop(record.jobid, None) is None:
            return
        self.failed += 1
        self.todo[job["rule"]] -= 1
        status = re.search(r"status is: '(\w+)", str(getattr(record, "rule_msg", "")))
        self.say(f"failed: {job['label']}" + (f" ({status[1]})" if status else ""))
        own = [Path(log) for log in job["log"]]
        telling = [log for log in own if last_line(log)]
        if not telling or (status and status[1] != "FAILED"):
            # what ran the job has a log of its own: of one that was ended, or never got so far as
            # to write to the first
            others = [Path(log) for log in getattr(record, "log", None) or ()]
            telling += [log for log in others if log not in own and last_line(log)]
        for log in telling:
            self.say(f"  {last_line(log)}\n  log: {log}")
        if not telling:
            self.say("  (nothing in its log)" + "".join(f"\n  log: {log}" for log in own))

    # -- what it says -------------------------------------------------------------------------

    def _tick(self) -> None:
        while not self.stop.wait(INTERVAL):
            self.draw()

    def draw(self) -> None:
        """Draw the line again."""
        if not self.live or not self.total:
            return
        with self.lock:  # type: ignore[union-attr]
            text = self.text()
            self.stream.write("\r" + text.ljust(self.width))
            self.width = len(text)
            self.stream.flush()

    def text(self) -> str:
        """The line: jobs done, what runs, time gone and left."""
        import shutil

        now = time.monotonic()
        left = self.seconds_left(now)
        head = f"{self.done}/{self.total} jobs, {clock(now - self.begun)} gone"
        head += f", about {clock(left)} left" if left is not None else ""
        shown = []
        for jobid in self.running:
            job = self.jobs[jobid]
            inner = percent_of(job["log"])
            shown.append(job["label"] + (f" {inner}" if inner else ""))
        width = shutil.get_terminal_size().columns - 1
        return f"{head}: {' | '.join(shown)}"[:width]

    def seconds_left(self, now: float) -> float | None:
        """Estimate from how long jobs of each rule took, now or last time; ``None`` if unknown."""
        known = dict(self.expected)
        known |= {rule: sum(t) / len(t) for rule, t in self.took.items()}
        if not known:
            return None
        usual = sum(known.values()) / len(known)
        work = sum(n * known.get(rule, usual) for rule, n in self.todo.items() if n > 0)
        for jobid, begun in self.running.items():
            work -= min(now - begun, known.get(self.jobs[jobid]["rule"], usual))
        parallel = min(self.cores, max(1, sum(n for n in self.todo.values() if n > 0)))
        return work / parallel

    def say(self, text: str) -> None:
        """Print something that stays."""
        with self.lock:  # type: ignore[union-attr]
            if self.live:
                self.stream.write("\r" + " " * self.width + "\r")
            self.stream.write(text.rstrip() + "\n")
            self.stream.flush()

    def close(self) -> None:
        """Stop drawing; keep how long jobs took."""
        if self.stop.is_set():
            return
        self.stop.set()
        if self.total:
            failed = f", {self.failed} failed" if self.failed else ""
            self.say(f"{self.done} of {self.total} jobs done{failed} in "
                     f"{clock(time.monotonic() - self.begun)}")  # fmt: skip
        if self.took:
            means = {rule: round(sum(t) / len(t), 1) for rule, t in self.took.items()}
            self.times_file.parent.mkdir(parents=True, exist_ok=True)
            self.times_file.write_text(json.dumps({**self.expected, **means}, indent=1))
        super().close()


def clock(seconds: float) -> str:
    """Return seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def last_line(path: Path) -> str:
    """Return the last line of a log that says what went wrong, or its last line."""
    lines = _tail(path)
    errors = [line for line in lines if re.search(r"error|cancelled|killed", line, re.I)]
    return (errors or lines or [""])[-1]


def percent_of(logs: list[str]) -> str:
    """Return how far a bar in a job's log has come, ``45%``, or the empty string."""
    for log in logs:
        for line in reversed(_tail(Path(log))):
            found = re.search(r"(\d+%)\|", line)
            if found:
                return found[1]
    return ""


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]


def show_progress(times_file: Path, cores: int | None) -> ProgressLine:
    """Let the line take the place of Snakemake's messages on the terminal.

    Snakemake's log file goes on getting all of them.
    """
    logger = logging.getLogger("snakemake.logging")
    for handler in list(logger.handlers):
        if handler.name == "DefaultStreamHandler":
            logger.removeHandler(handler)
    line = ProgressLine(times_file, cores or 1)
    logger.addHandler(line)
    return line
