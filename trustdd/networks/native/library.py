"""Compiling the package's C source for this CPU, once, and loading it.

``convnet.c`` is what is compiled; the headers beside it are its parts.
"""

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


def library_name(compiler: str) -> str:
    """File name of the library that a compiler makes here: a hash of all that goes into it.

    Args:
        compiler: path of the compiler, which is asked for its version.
    """
    made_of = [*_sources(), _version(compiler), *FLAGS, platform.machine(), _cpu()]
    return f"convnet-{hashlib.sha256('|'.join(made_of).encode()).hexdigest()[:16]}.so"


def _compiled(compiler: str) -> Path:
    """Path of the compiled library, made if it is not there."""
    name = library_name(compiler)
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


def _sources() -> list[str]:
    """All C files, each with its name."""
    files = sorted([SOURCE, *SOURCE.parent.glob("*.h")])
    return [f"{file.name}|{file.read_text(encoding='utf-8')}" for file in files]


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
    pointer = ctypes.c_void_p
    found.trustdd_has_bf16.restype = ctypes.c_int
    found.trustdd_room.restype = ctypes.c_int64
    found.trustdd_room.argtypes = [pointer, pointer]
    found.trustdd_run.restype = None
    found.trustdd_run.argtypes = [pointer, pointer, pointer]
    return found
