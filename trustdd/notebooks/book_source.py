"""The book's source folder, put together from prose, executed notebooks and results; and its pages.

Only what differs is written, and what is gone is removed, so that Sphinx reads and writes again
only the pages that have changed.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustdd.settings.errors import BadInput, Explained
from trustdd.store.files import atomic_path, results_root, sha256, write_json
from trustdd.store.profiles import Profile, list_profiles, load_profile
from trustdd.store.run import Run

#: at the top of the project, beside ``book/``
TOP_FILES = ("_config.yml", "_toc.yml", "CHANGELOG.md")
BENCHMARKS = "benchmarks/results"
#: profiles with published results, which stand in every book
SHOWN_BESIDE = ("paper", "cifar10", "tiny100", "cifar10_short", "imagenette", "mnist")
PAGE_SUFFIXES = (".md", ".ipynb")
#: lists the files that `publish` wrote; only those does it ever remove
PUBLISHED = ".published.json"


@dataclass(frozen=True)
class Changes:
    """What `mirror` did, as paths relative to the target.

    Attributes:
        written: files that are new or differ.
        removed: files that are no longer wanted.
    """

    written: tuple[str, ...]
    removed: tuple[str, ...]


def book_files(root: Path) -> list[Path]:
    """List the book's own sources in a project: configuration, contents, ``book/``."""
    found = [root / name for name in TOP_FILES if (root / name).is_file()]
    for path in sorted((root / "book").rglob("*")):
        hidden = any(p.startswith((".", "__pycache__")) for p in path.relative_to(root).parts)
        if path.is_file() and not hidden:
            found.append(path)
    return found


def collect(
    root: Path, profile: Profile, notebooks: Path, costs: Path | None = None
) -> dict[str, Path | bytes]:
    """Say what the source folder of a profile's book holds.

    Args:
        root: the project.
        profile: its results are shown.
        notebooks: the folder of executed notebooks.
        costs: the folder of what each job of the graph took, if any.

    Returns:
        Path in the source folder → the file that it is a copy of, or its content.
    """
    wanted: dict[str, Path | bytes] = {str(p.relative_to(root)): p for p in book_files(root)}
    wanted |= {f"notebooks/{p.name}": p for p in _executed(notebooks)}
    wanted |= {f"notebooks/variants/{p.name}": p for p in _executed(notebooks / "variants")}
    results = results_root() / profile.name
    places = [results / name for name in ("figures", "tables", "pages")]
    places += [results / "variants" / name for name in _variants(notebooks, profile.name)]
    files = [p for place in places for p in sorted(place.glob("*")) if not p.name.startswith(".")]
    files += [p for p in (results / "numbers.json", results / "numbers.tex") if p.is_file()]
    wanted |= {f"results/{profile.name}/{p.relative_to(results)}": p for p in files}
    wanted |= _distilled_sets(profile)
    for other in others_shown(profile):
        wanted |= _of_another(other)
    for name in _beside():
        wanted[f"results/{name}/status.json"] = _status(name, root / BENCHMARKS)
    if costs is not None:
        wanted["costs.json"] = _json(job_costs(costs))
    wanted |= {f"benchmarks/{p.name}": p for p in sorted((root / BENCHMARKS).glob("*.*"))}
    note = {"name": profile.name, "title": profile.title, "description": profile.description}
    wanted["profile.json"] = _json(note)
    return wanted


def others_shown(profile: Profile) -> list[Profile]:
    """The profiles whose published results stand in the book beside the profile's own."""
    return [load_profile(name) for name in _beside() if name != profile.name]


def _beside() -> list[str]:
    return [name for name in SHOWN_BESIDE if name in list_profiles()]


def _status(name: str, benchmarks: Path) -> bytes:
    # imports pandas, which the graph need not wait for
    from trustdd.report.analysis.status import status

    return _json(status(load_profile(name), benchmarks))


def _of_another(profile: Profile) -> dict[str, Path | bytes]:
    """What the book shows of another profile: what is exported of it, and its distilled sets."""
    folder = results_root() / profile.name
    files = [p for kind in ("figures", "tables") for p in sorted((folder / kind).glob("*.*"))]
    files += [folder / "numbers.json"] if (folder / "numbers.json").is_file() else []
    found: dict[str, Path | bytes] = {
        f"results/{profile.name}/{p.relative_to(folder)}": p
        for p in files
        if not p.name.startswith(".")
    }
    return {**found, **_distilled_sets(profile)}


def job_costs(folder: Path) -> list[dict[str, Any]]:
    """Read what each job of the graph took, the longest first.

    Args:
        folder: of Snakemake's benchmark files, ``JOB.tsv``.

    Returns:
        ``job``, ``seconds`` of wall and ``cpu_seconds`` of processor time, ``peak_mib``.
    """
    found = []
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as file:
            row = list(csv.DictReader(file, delimiter="\t"))[-1]
        memory = row["max_rss"] if row["max_rss"] not in ("-", "NA") else "0"
        processor = row["cpu_time"] if row["cpu_time"] not in ("-", "NA") else "0"
        found.append({
            "job": path.stem, "seconds": round(float(row["s"]), 1),
            "cpu_seconds": round(float(processor), 1), "peak_mib": round(float(memory)),
        })  # fmt: skip
    return sorted(found, key=lambda job: (-job["seconds"], job["job"]))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _distilled_sets(profile: Profile) -> dict[str, Path | bytes]:
    """The profile's distilled sets of one seed, to be taken away, and a list of what they are."""
    found: dict[str, Path | bytes] = {}
    listed = []
    for group in ("main", "mtt"):
        for experiment in profile.groups.get(group, ()):
            run = Run.of(experiment, profile.name)
            name = f"results/{profile.name}/distilled/{experiment.key}.safetensors"
            first = min(e.seed for e in profile.groups[group])
            if experiment.seed == first and run.finished("distill") and name not in found:
                found[name] = run.path("distilled.safetensors")
                listed.append({"key": experiment.key, **experiment.to_dict()})
    return {**found, f"results/{profile.name}/distilled/list.json": _json(listed)}


def _executed(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.glob("*.ipynb")) if not p.name.endswith(".failed.ipynb")]


def _variants(notebooks: Path, profile: str) -> list[str]:
    """Names of the variants of a profile's entries that the notebooks show."""
    pattern = re.compile(rf"results/{re.escape(profile)}/variants/([^/\"]+)/")
    found: set[str] = set()
    for path in (*_executed(notebooks), *_executed(notebooks / "variants")):
        found |= set(pattern.findall(path.read_text(encoding="utf-8")))
    return sorted(found)


def mirror(wanted: Mapping[str, Path | bytes], target: Path) -> Changes:
    """Make a folder hold exactly these files; one that is right already is not touched.

    Args:
        wanted: relative path → the file to copy, or the content.
        target: the folder, made if need be. Everything else in it is removed.
    """
    written = [name for name, origin in wanted.items() if _put(origin, target / name)]
    removed = []
    for path in sorted(target.rglob("*"), reverse=True):
        name = str(path.relative_to(target))
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted:
            path.unlink()
            removed.append(name)
    return Changes(tuple(sorted(written)), tuple(sorted(removed)))


def _put(origin: Path | bytes, target: Path) -> bool:
    """Write a file unless it is there with this content; tell whether it was written."""
    content = origin if isinstance(origin, bytes) else origin.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return False
    if target.is_dir():
        shutil.rmtree(target)
    with atomic_path(target) as partial:
        partial.write_bytes(content)
    return True


def stage(
    root: Path,
    profile: Profile,
    notebooks: Path,
    source: Path,
    record: Path,
    costs: Path | None = None,
) -> Changes:
    """Put the source folder together, and record the hash of every file in it.

    Raises:
        ValueError: the table of contents names a notebook that was not executed.
    """
    changes = mirror(collect(root, profile, notebooks, costs), source)
    toc = (source / "_toc.yml").read_text(encoding="utf-8")
    for name in re.findall(r"file:\s*(notebooks/[\w.-]+)", toc):
        if not (source / name).with_suffix(".ipynb").is_file():
            raise BadInput(f"_toc.yml: '{name}' has not been executed; expected it in {notebooks}")
    files = [p for p in sorted(source.rglob("*")) if p.is_file()]
    write_json(record, {str(p.relative_to(source)): sha256(p) for p in files})
    return changes


def build(source: Path, record: Path, folder: Path) -> Path:
    """Build the pages with warnings as errors, only those that changed where that is safe.

    Sphinx does not warn again of what it does not read again, and keeps pages that are no longer
    wanted; so after a failure, or when a page has gone or an extension has changed, it starts anew.

    Args:
        source: the staged source folder.
        record: its hashes, from `stage`.
        folder: for Sphinx's output and state.

    Returns:
        The folder with ``index.html``.

    Raises:
        Explained: the build failed or warned; what it said is on stderr.
    """
    now: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
    last = folder / "source.json"
    before = json.loads(last.read_text(encoding="utf-8")) if last.is_file() else {}
    if not before or _needs_fresh_start(before, now):
        shutil.rmtree(folder, ignore_errors=True)
    # taken away first: a build that is stopped half-way counts as failed
    last.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["-W", "-n", "--keep-going", "--path-output", str(folder)]
    status = subprocess.run([*program, "build", str(source), *options]).returncode
    if status != 0:
        raise Explained(f"the book's build failed or warned (status {status})")
    write_json(last, now)
    return folder / "_build" / "html"


def _needs_fresh_start(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    gone = [n for n in before if n not in now and Path(n).suffix in PAGE_SUFFIXES]

    def steering(files: Mapping[str, str]) -> dict[str, str]:
        prefixes = ("book/_ext/", "book/_templates/", "_config.yml", "_toc.yml", "profile.json")
        return {name: h for name, h in files.items() if name.startswith(prefixes)}

    return bool(gone) or steering(before) != steering(now)


def publish(html: Path, out: Path) -> Changes:
    """Copy the built pages to where readers open them; what an earlier book left there goes.

    Files in `out` that were not put there by this function are left alone.
    """
    wanted = {
        str(p.relative_to(html)): p
        for p in sorted(html.rglob("*"))
        if p.is_file() and p.name not in (".buildinfo", ".buildinfo.bak")
    }
    listing = out / PUBLISHED
    before = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else []
    written = [name for name, origin in wanted.items() if _put(origin, out / name)]
    removed = [n for n in before if n not in wanted and (out / n).is_file()]
    for name in removed:
        (out / name).unlink()
        folder = (out / name).parent
        while folder != out and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
    write_json(listing, sorted(wanted))
    return Changes(tuple(sorted(written)), tuple(sorted(removed)))
