"""Locks hold between threads and processes, go with their process, and need no flock."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trustdd.store import locks
from trustdd.store.locks import lock, lock_path

HOLD = """
import sys, time
from pathlib import Path
from trustdd.store.locks import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["flock", "lease"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock's file, on a file system that keeps locks and on one that does not."""
    if request.param == "lease":
        import fcntl

        def flock(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
        monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    return lock_path(tmp_path / "deep" / "results", "key")


def test_one_at_a_time(path: Path) -> None:
    inside = 0
    most = 0

    def work() -> None:
        nonlocal inside, most
        with lock(path) as held:
            assert held
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1


def test_a_lock_that_is_held_is_not_waited_for(path: Path) -> None:
    seen: list[bool] = []

    def look() -> None:
        with lock(path, wait=False) as held:
            seen.append(held)

    with lock(path) as held:
        assert held
        other = threading.Thread(target=look)
        other.start()
        other.join(10)
    look()
    assert seen == [False, True]


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "key")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with lock(path, wait=False) as held:
        assert not held
    holder.kill()
    holder.wait(10)
    with lock(path, wait=False) as held:
        assert held


def test_a_lock_that_there_can_not_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), lock(lock_path(tmp_path / "file", "key")):
        pass
