"""Compiling the package's C source for this CPU, once, and loading it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from trustdd.store.files import cache_root

SOURCE = Path(__file__).with_name("convnet.c")
#: -march=native: the library is made for the CPU it is made on, and kept by its name
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC")
#: in seconds; it takes three
PATIENCE = 120


@functools.cache
def library() -> ctypes.CDLL | None:
    """Load the compiled passes, compiling them first where that has not been done.

    The library is kept under `cache_root`, by a hash of source, compiler, flags and CPU.
    ``TRUSTDD_NATIVE=0`` does without it. Where there is no compiler, or it fails, a warning says
    so, once a process, and PyTorch's operations do the work.

    Returns:
        The library, or ``None``.
    """
    if os.environ.get("TRUSTDD_NATIVE", "1") == "0":
        return None
    try:
        return _declared(ctypes.CDLL(str(_compiled(_compiler()))))
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"gradients are taken by PyTorch's operations, at about half the speed: {error}. "
            "A C compiler (cc, or what CC names) makes them faster; TRUSTDD_NATIVE=0 says that "
            "this is meant.",
            stacklevel=2,
        )
        return None


def _compiler() -> str:
    if os.name != "posix":
        raise OSError(f"compiling is not written for {platform.system()}")
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise OSError("there is no C compiler")


def compiler_version() -> str:
    """Return the first line that the compiler says of itself.

    Raises:
        OSError: there is none.
    """
    return next(iter(_version(_compiler()).splitlines()), "unknown")


def _version(compiler: str) -> str:
    return subprocess.run(
        [compiler, "--version"], capture_output=True, text=True, timeout=PATIENCE
    ).stdout


def _compiled(compiler: str) -> Path:
    """Path of the compiled library, made if it is not there."""
    made_of = [SOURCE.read_text(), _version(compiler), *FLAGS, platform.machine(), _cpu()]
    name = f"convnet-{hashlib.sha256('|'.join(made_of).encode()).hexdigest()[:16]}.so"
    folders = [cache_root() / "native", Path(tempfile.gettempdir()) / f"trustdd-{os.getuid()}"]
    for folder in folders:
        if _own(folder / name):
            return folder / name
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to somebody else")
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                target = Path(scratch) / name
                finished = subprocess.run(
                    [compiler, *FLAGS, "-o", str(target), str(SOURCE), "-lm", "-lpthread"],
                    capture_output=True, text=True, timeout=PATIENCE,
                )  # fmt: skip
                if finished.returncode:
                    lines = finished.stderr.strip().splitlines() or ["no message"]
                    raise subprocess.SubprocessError(f"{compiler} failed with '{lines[0]}'")
                # several processes may be at it: whole files only
                os.replace(target, folder / name)
            return folder / name
        except OSError as error:
            refused = error
    raise refused


def _own(path: Path) -> bool:
    """Whether a library is there and nobody else's: what is loaded is run."""
    return path.is_file() and path.stat().st_uid == os.getuid()


def _cpu() -> str:
    """What the compiler's ``native`` depends on, as far as the system tells."""
    if sys.platform.startswith("linux"):
        try:
            lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        except OSError:
            lines = []
        chosen = ("model name", "flags", "Features", "CPU part")
        return "".join(sorted(line for line in lines if line.startswith(chosen)))
    return platform.processor()


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    """Tell ctypes the functions' types."""
    pointer, count, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    found.trustdd_has_bf16.restype = flag
    found.trustdd_room.restype = count
    found.trustdd_room.argtypes = [pointer, count, count, flag, flag, count]
    found.trustdd_run.restype = None
    found.trustdd_run.argtypes = [
        *[pointer] * 2, count, *[pointer] * 9, count, count, pointer, pointer,
    ]  # fmt: skip
    return found
