"""What is published: artefacts that git holds, taken as they are whatever made them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from trustdd.store.files import results_root


def published_folders(folder: Path) -> frozenset[Path]:
    """Folders at or below one whose manifests are in git.

    What they hold may have cost days on another machine, and nothing but ``trustdd publish`` writes
    to it. Where there is no git nothing counts as published.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--", "manifest.json", "*/manifest.json"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    return frozenset((folder / name).parent for name in listed.split("\0") if name)


def published_runs(profile: str) -> set[str]:
    """Keys of a profile's runs whose sets are in git, see `published_folders`."""
    folder = results_root() / profile / "runs"
    return {path.name for path in published_folders(folder) if path.parent == folder}
