"""Artefacts on disk: written whole or not at all, hashed, and found again by name."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

LIBRARIES = ("torch", "torchvision", "numpy", "scikit-learn", "scikit-image", "safetensors")


def project_root() -> Path:
    """Return the folder that holds ``profiles/`` and ``notebooks/``.

    The nearest one at or above the working directory, else the checkout that this
    package is installed from.
    """
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "profiles").is_dir() and (folder / "notebooks").is_dir():
            return folder
    return Path(__file__).resolve().parents[2]


def results_root() -> Path:
    """Return where artefacts go: ``$TRUSTDD_RESULTS``, or ``results/`` in the project."""
    chosen = os.environ.get("TRUSTDD_RESULTS")
    return Path(chosen) if chosen else project_root() / "results"


def cache_root() -> Path:
    """Return where what can be made again is kept: ``$TRUSTDD_CACHE``, or ``~/.cache/trustdd``.

    Decoded images, whitenings, compiled code. ``$XDG_CACHE_HOME`` is honoured as the place of
    ``~/.cache``.
    """
    chosen = os.environ.get("TRUSTDD_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trustdd"


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, moved into place when the block ends well.

    The temporary file keeps the suffix, since many writers choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, atomically and with sorted keys."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write named tensors as safetensors, atomically; same tensors, same bytes."""
    from safetensors.torch import save_file

    plain = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    with atomic_path(path) as partial:
        save_file(plain, partial, metadata=dict(metadata or {}))
        # safetensors keeps metadata in a hash map whose order differs between processes
        _sort_header(partial)
    return path


def _sort_header(path: Path) -> None:
    """Rewrite a safetensors file's JSON header with its metadata in sorted order."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length)
        header = json.loads(raw)
        if "__metadata__" not in header:
            return
        metadata = dict(sorted(header.pop("__metadata__").items()))
        text = json.dumps(
            {"__metadata__": metadata, **header}, separators=(",", ":"), ensure_ascii=False
        ).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))
            return
        body = file.read()
        # the body must start at a multiple of eight bytes
        text = text.ljust(-(-len(text) // 8) * 8)
        file.seek(0)
        file.write(len(text).to_bytes(8, "little") + text + body)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: its tensors on the CPU, and its metadata.

    Raises:
        ValueError: the file is not there or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadInput(f"{path}: no such file; expected a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise BadInput(f"{path}: not a readable .safetensors file ({error})") from None


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of a safetensors file's tensors, from its header alone."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


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


class Run:
    """One experiment's folder of artefacts, ``results/PROFILE/runs/KEY``.

    Each stage writes its files atomically and then records them, with their hashes, in
    ``manifest.json``; a stage counts as done once it is recorded.
    """

    def __init__(self, directory: Path, experiment: Experiment) -> None:
        """Open the folder of `experiment` at `directory`; nothing is written yet."""
        self.directory = Path(directory)
        self.experiment = experiment

    @classmethod
    def of(cls, experiment: Experiment, profile: str, root: Path | None = None) -> Run:
        """Return an experiment's run under a profile's results."""
        base = root or results_root()
        return cls(base / profile / "runs" / experiment.key, experiment)

    @classmethod
    def open(cls, directory: Path) -> Run:
        """Open a stored run by its folder.

        Raises:
            ValueError: the folder holds no ``experiment.json``.
        """
        path = Path(directory) / "experiment.json"
        if not path.is_file():
            raise BadInput(f"{directory}: no run is stored here (experiment.json is missing)")
        values = json.loads(path.read_text())
        # a folder dataset needs a data_root to be valid; where it lay is not recorded
        return cls(Path(directory), Experiment.from_dict({"data_root": "data", **values}))

    def path(self, name: str) -> Path:
        """Return the path of one of the run's files."""
        return self.directory / name

    def has(self, name: str) -> bool:
        """Tell whether the run holds a file of this name."""
        return self.path(name).is_file()

    def write_tensors(
        self, name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write named tensors as ``name`` (safetensors)."""
        return write_tensors(self.path(name), tensors, metadata)

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read the tensors of ``name``."""
        return read_tensors(self.path(name))[0]

    def write_frame(self, name: str, frame: pd.DataFrame) -> Path:
        """Write a frame as CSV; floats in their shortest exact form."""
        with atomic_path(self.path(name)) as partial:
            frame.to_csv(partial, index=False, lineterminator="\n")
        return self.path(name)

    def read_frame(self, name: str) -> pd.DataFrame:
        """Read the frame of ``name``."""
        import pandas as pd

        return pd.read_csv(self.path(name))

    def manifest(self) -> dict[str, Any]:
        """Return what each finished stage recorded; empty before the first."""
        path = self.path("manifest.json")
        return json.loads(path.read_text()) if path.is_file() else {}

    def done(self, stage: str) -> bool:
        """Tell whether a stage is recorded and all its files are there."""
        entry = self.manifest().get(stage)
        return all(self.has(name) for name in entry["files"]) if entry else False

    def record(self, stage: str, files: list[str], seconds: float, **facts: Any) -> None:
        """Record a finished stage: the hashes of its files, its wall time, and further facts.

        Args:
            stage: the stage's name.
            files: names of the files it wrote.
            seconds: wall time in seconds.
            facts: anything else worth keeping, as JSON values.
        """
        write_json(self.path("experiment.json"), self.experiment.to_dict())
        entry = {
            "files": {name: sha256(self.path(name)) for name in sorted(files)},
            "seconds": round(seconds, 2),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            **provenance(),
            **facts,
        }
        write_json(self.path("manifest.json"), {**self.manifest(), stage: entry})

    def verify(self) -> list[str]:
        """Re-hash every recorded file.

        Returns:
            One line per complaint: a file is missing or its bytes have changed.
        """
        complaints = []
        for stage, entry in self.manifest().items():
            for name, expected in entry["files"].items():
                path = self.path(name)
                if not path.is_file():
                    complaints.append(f"{path}: missing (written by stage '{stage}')")
                elif sha256(path) != expected:
                    complaints.append(f"{path}: changed since stage '{stage}' wrote it")
        return complaints
