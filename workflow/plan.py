"""What the graph consists of, read from the profile, the notebooks and what is stored."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from trustdd.pipeline.completion import stage_source, taken_as_it_is
from trustdd.pipeline.shared_experts import all_experts, needs_experts
from trustdd.settings.defaults import METHODS
from trustdd.settings.experiment import OUTLIERS, Experiment
from trustdd.store.expert_store import experts_key
from trustdd.store.files import results_root
from trustdd.store.profiles import Profile
from trustdd.store.records import Damaged
from trustdd.store.run import Run
from trustdd.store.source_hash import defining_module, module_closure, source_hash
from trustdd.store.stages import FURTHER_STAGES
from trustdd.store.yaml_files import read_yaml

#: makes runs, and imports by their names what only some of them need
COMPLETION = "trustdd.pipeline.completion"
Settings = dict[str, tuple[Experiment, ...]]


def group_settings(profile: Profile, together: bool) -> Settings:
    """Name the jobs of a stage: one a group with all its runs, or one a run.

    A job starts a process that imports torch, seconds during which a small distillation could be
    half done; where a run takes hours, each is better off alone. A run of several groups belongs to
    the first.
    """
    if not together:
        return {experiment.key: (experiment,) for experiment in profile.experiments()}
    found: dict[str, list[Experiment]] = {}
    taken: set[str] = set()
    for group, experiments in profile.groups.items():
        for experiment in experiments:
            if experiment.key not in taken:
                taken.add(experiment.key)
                found.setdefault(group, []).append(experiment)
    return {name: tuple(members) for name, members in found.items()}


def further_jobs(profile: Profile, together: bool) -> dict[str, tuple[str, tuple[Experiment, ...]]]:
    """Name the jobs of the further stages, each with its stage and its experiments.

    One job a stage with all runs of the group of its name, or one a run.
    """
    found: dict[str, tuple[str, tuple[Experiment, ...]]] = {}
    for stage in FURTHER_STAGES:
        members = tuple({e.key: e for e in profile.groups.get(stage, ())}.values())
        if members and together:
            found[stage] = (stage, members)
        elif members:
            found |= {f"{stage}-{e.key}": (stage, (e,)) for e in members}
    return found


def shared_experts(jobs: Settings) -> Settings:
    """Find the expert trajectories that more than one job of the graph is distilled by.

    Each is trained by a job of its own, so that no job waits for another's.

    Args:
        jobs: job → the experiments that it distils.

    Returns:
        Key of the experts → all experiments of the jobs that share them.
    """
    found: dict[str, list[Experiment]] = {}
    users: dict[str, set[str]] = {}
    for job, experiments in jobs.items():
        for experiment in filter(needs_experts, experiments):
            key = experts_key(experiment)
            found.setdefault(key, []).append(experiment)
            users.setdefault(key, set()).add(job)
    return {key: tuple(members) for key, members in found.items() if len(users[key]) > 1}


def tasks(
    stages: Iterable[str], experiments: Sequence[Experiment], shared: Settings
) -> list[tuple[str, Experiment]]:
    """List what a job does, for `costs.needs`: its stages, and experts that no other job trains.

    Args:
        stages: of each experiment.
        experiments: of the job.
        shared: the experts that have a job of their own, from `shared_experts`.
    """
    found = [(stage, experiment) for stage in stages for experiment in experiments]
    own: dict[str, list[Experiment]] = {}
    for stage, experiment in found:
        if stage == "distill" and needs_experts(experiment):
            own.setdefault(experts_key(experiment), []).append(experiment)
    found += [("experts", all_experts(e)) for key, e in own.items() if key not in shared]
    return found


def stage_params(stage: str, runs: Sequence[Run], published: frozenset[Path]) -> list[str]:
    """Everything that decides what a stage makes: settings, and the source that it runs.

    Args:
        stage: the stage.
        runs: which runs' stage it is.
        published: folders whose content is taken as it is, whatever made it.
    """
    settings = [json.dumps(run.experiment.to_dict(), sort_keys=True) for run in runs]
    sources = {
        "published"
        if holds_of(run, lambda r: taken_as_it_is(r, stage, published))
        else stage_source(stage, run.experiment)
        for run in runs
    }
    return settings + sorted(sources)


def holds_of(run: Run, question: Callable[[Run], bool]) -> bool:
    """Ask something of a run; of one whose record is damaged nothing holds."""
    try:
        return question(run)
    except Damaged:
        return False


def drop_stamps(profile: Profile, folder: Path, jobs: Settings, stage: str) -> None:
    """Remove the stamps of jobs of a stage whose artefacts have gone, so that they are made again.

    Args:
        profile: whose runs they are.
        folder: holds ``JOB.STAGE.json``, or ``JOB.json``.
        jobs: job → its experiments.
        stage: the stage.
    """
    for name, experiments in jobs.items():
        runs = [Run.of(e, profile.name) for e in experiments]
        if all(holds_of(run, lambda r: r.finished(stage)) for run in runs):
            continue
        for stamp in (folder / f"{name}.{stage}.json", folder / f"{name}.json"):
            stamp.unlink(missing_ok=True)


def drop_export_stamp(stamp: Path) -> None:
    """Remove the stamp of an export whose files have gone."""
    if stamp.is_file() and not all(Path(p).is_file() for p in json.loads(stamp.read_text())):
        stamp.unlink()


def entries_elsewhere(pages: Iterable[Path]) -> dict[str, dict[str, list[str]]]:
    """Read which entries of other profiles the book's pages show.

    Args:
        pages: the book's sources.

    Returns:
        Profile → ``figures`` and ``tables`` → ids; ``tab15``, the ledger, always.
    """
    found: dict[str, dict[str, list[str]]] = {}
    pattern = re.compile(r"^```\{catalogue\}\s+(\w+)\n:profile:\s*(\S+)", re.M)
    for page in pages:
        if page.suffix != ".md":
            continue
        for entry, profile in pattern.findall(page.read_text(encoding="utf-8")):
            kinds = found.setdefault(profile, {"figures": [], "tables": ["tab15"]})
            ids = kinds["tables" if entry.startswith("tab") else "figures"]
            if entry not in ids:
                ids.append(entry)
    return found


def notebook_variants(path: Path, notebooks: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Read which notebooks run under which further parameters.

    Args:
        path: maps notebooks to names, and names to parameters; it need not be there.
        notebooks: name → source of each notebook there is.

    Returns:
        ``NOTEBOOK-NAME`` → the source, and the options of ``trustdd run``.

    Raises:
        ValueError: a notebook that there is not.
    """
    found: dict[str, tuple[str, str]] = {}
    if not path.is_file():
        return found
    for notebook, variants in (read_yaml(path) or {}).items():
        if notebook not in notebooks:
            raise ValueError(f"{path}: '{notebook}'; expected one of {', '.join(notebooks)}")
        for name, parameters in variants.items():
            given = [
                shlex.quote(
                    f"{key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
                )
                for key, value in parameters.items()
            ]
            options = " ".join(f"-p {text}" for text in given)
            found[f"{notebook}-{name}"] = (notebooks[notebook], options)
    return found


def notebook_source(path: Path) -> str:
    """Hash the package source that a notebook's cells run."""
    # the text is searched, not read as a notebook, for this is done on every start
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```", path.read_text(), re.M | re.S)
    code = [re.sub(r"\A(:[^\n]*\n|---\n.*?\n---\n)*", "", cell, flags=re.S) for cell in cells]
    modules = imported_modules("\n".join(code))
    if COMPLETION in module_closure(modules):
        # whatever its parameters, it may run every method and outlier mode
        modules += [method.module for method in METHODS.values()]
        modules += [module for needed in OUTLIERS.values() for module in needed]
    return source_hash(modules)


def imported_modules(source: str) -> list[str]:
    """Return the modules of the package that a piece of source imports.

    Args:
        source: Python.

    Returns:
        Full names of the modules that define what is imported; the whole package where it is
        imported by its bare name.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "trustdd"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "trustdd":
            found |= {defining_module(str(node.module), alias.name) for alias in node.names}
    return sorted(found)


def files_below(*folders: str) -> list[str]:
    """List the files below some folders of the project, without caches."""
    return sorted(
        str(path)
        for folder in folders
        for path in Path(folder).rglob("*")
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in path.parts)
    )


def manifests(profile: str) -> list[str]:
    """List the manifests of a profile's stored runs."""
    folder = results_root() / profile / "runs"
    return [str(path) for path in sorted(folder.glob("*/manifest.json"))]


def content_hash(paths: Iterable[str]) -> str:
    """Hash some files by name and content."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path}:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
