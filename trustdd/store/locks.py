"""Locks between processes, on this machine and on others that share a folder."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLease, Timeout

#: what a file system says that keeps no locks, such as one mounted from a server without them
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
#: seconds after which others take a lease that its holder has not renewed
LEASE_SECONDS = 120.0
#: seconds between two looks at a lock that another process holds
_POLL = 0.2


def lock_path(profile_directory: Path, name: str) -> Path:
    """Return the file of a profile's lock, in a folder beside the results, never among them."""
    return profile_directory / ".locks" / name


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, until the process ends at the latest.

    Where the file system keeps locks it is one of the system's, which go with their process and
    hold between machines that share the folder, over NFS as well. Where it does not, it is a lease:
    a file that its holder renews, and that others take over `LEASE_SECONDS` after the last time.

    Args:
        path: of the lock's file; it stays, and says nothing by being there.
        wait: wait for whoever holds it; else ``False`` is yielded where another does.

    Yields:
        Whether it is held.

    Raises:
        OSError: there can be no such file here, as in a tree that is read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            given = _acquire(FileLock(path, fallback_to_soft=False), wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            lease = SoftFileLease(
                path.with_name(f"{path.name}.lease"), lease_duration=LEASE_SECONDS
            )
            given = _acquire(lease, wait)
        if given is not None:
            held.callback(given.release)
        yield given is not None


def _acquire(wanted: BaseFileLock, wait: bool) -> BaseFileLock | None:
    try:
        wanted.acquire(timeout=-1 if wait else 0, poll_interval=_POLL)
    except Timeout:
        return None
    return wanted
