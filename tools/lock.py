"""Write requirements.lock: what pip chooses for this project with all its extras, pinned.

``make lock`` runs it with every Python given in ``LOCK_PYTHONS``: the first one decides the
versions, the others add what only they need, with a marker. The file holds ``name==version`` and
no address of any registry, so it installs from whichever index the machine is set up with.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

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


if __name__ == "__main__":
    resolutions: dict[str, dict[str, str]] = {}
    pins: dict[str, str] = {}
    for python in sys.argv[1:] or [sys.executable]:
        version, found = resolution(python, "book,dev", pins)
        found.pop("trustdd")
        resolutions[version] = found
        pins |= found
    (ROOT / "requirements.lock").write_text(lock_text(resolutions))
