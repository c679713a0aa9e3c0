"""What the graph consists of, read from the profile, the notebooks and what is stored."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import trustdd
from trustdd.experiment import Experiment
from trustdd.profiles import Profile
from trustdd.source_hash import source_hash
from trustdd.stages import finished, stage_source
from trustdd.store import Run

Settings = dict[str, tuple[Experiment, ...]]


def group_settings(profile: Profile, together: bool) -> Settings:
    """Name the jobs of a stage: one a setting with all its seeds, or one a run.

    A job starts a process that imports torch, seconds during which a small distillation could be
    half done; where a run takes hours, every seed is better off alone.
    """
    found: dict[str, list[Experiment]] = {}
    for experiment in profile.experiments():
        name = experiment.key
        if together:
            values = {k: v for k, v in experiment.to_dict().items() if k != "seed"}
            digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
            name = f"{experiment.key.partition('-seed')[0]}-{digest}"
        found.setdefault(name, []).append(experiment)
    return {name: tuple(experiments) for name, experiments in found.items()}


def stage_params(stage: str, experiments: Sequence[Experiment], kept: bool) -> list[str]:
    """Everything that decides what a stage makes: settings, and the source that it runs."""
    settings = [json.dumps(e.to_dict(), sort_keys=True) for e in experiments]
    sources = ["kept"] if kept else sorted({stage_source(stage, e) for e in experiments})
    return settings + sources


def drop_stamps(profile: Profile, folder: Path, settings: Settings, stages: Iterable[str]) -> None:
    """Remove the stamps of stages whose artefacts have gone, so that they are made again."""
    for stage in stages:
        for name, experiments in settings.items():
            stamp = folder / f"{name}.{stage}.json"
            runs = [Run.of(e, profile.name) for e in experiments]
            if stamp.is_file() and not all(finished(run, stage) for run in runs):
                stamp.unlink()


def drop_export_stamp(stamp: Path) -> None:
    """Remove the stamp of an export whose files have gone."""
    if stamp.is_file() and not all(Path(p).is_file() for p in json.loads(stamp.read_text())):
        stamp.unlink()


def notebook_source(path: Path) -> str:
    """Hash the package source that a notebook's cells run."""
    # the text is searched, not read as a notebook, for this is done on every start
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", path.read_text(), re.M | re.S)
    code = [re.sub(r"\A(:[^\n]*\n|---\n.*?\n---\n)*", "", cell, flags=re.S) for cell in cells]
    return source_hash(imported_modules("\n".join(code), trustdd._HOME))


def imported_modules(source: str, public: Mapping[str, str]) -> list[str]:
    """Return the modules of the package that a piece of source imports.

    Args:
        source: Python.
        public: public name → the module that it comes from.

    Returns:
        Full names; the whole package where it is imported by its bare name.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "trustdd"}
        elif isinstance(node, ast.ImportFrom) and node.module == "trustdd":
            found |= {f"trustdd.{public.get(alias.name, alias.name)}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trustdd."):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if _is_module(inner) else str(node.module))
    return sorted(name if _is_module(name) else "trustdd" for name in found)


def _is_module(name: str) -> bool:
    path = Path(trustdd.__file__).parent.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def files_below(*folders: str) -> list[str]:
    """List the files below some folders of the project, without caches."""
    return sorted(
        str(path)
        for folder in folders
        for path in Path(folder).rglob("*")
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in path.parts)
    )


def content_hash(paths: Iterable[str]) -> str:
    """Hash some files by name and content."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path}:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
