"""What made an artefact: the commit, the versions of libraries, the machine."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from trustdd.store.files import project_root

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "scikit-image", "safetensors")


@functools.cache
def provenance() -> dict[str, Any]:
    """Return what made an artefact: commit, Python and library versions, machine."""
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": versions,
        "machine": f"{platform.system()} {platform.machine()}, {processor()}, "
        f"{os.cpu_count()} cores",
    }


def processor() -> str:
    """Return the processor's model, as far as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or "unknown processor"


def _commit() -> str:
    """Return the checkout's commit, with ``+`` where the package differs from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(project_root()), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if git("status", "--porcelain", "--", "trustdd", "profiles") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
