"""A revision bundle: every figure, table and number of a profile in one zip, with a manifest.

The bytes depend on the files alone: entries are sorted and carry one date, so two bundles of the
same artefacts are equal, and a revision differs where its results do.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from trustdd.report.results import MissingArtefacts
from trustdd.store.files import atomic_path, results_root, sha256
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.records import Damaged, checked, read_record, record_files, remedy

#: of every entry: the earliest that a zip can hold
DATE = (1980, 1, 1, 0, 0, 0)
FOLDERS = ("figures", "tables")
NUMBERS = ("numbers.json", "numbers.tex")


def bundle_files(profile: Profile) -> dict[str, Path]:
    """Return what a profile's bundle holds: name in the zip → file.

    Raises:
        MissingArtefacts: nothing was made yet.
        Damaged: a file is not what was made; the message names the command that makes it again.
    """
    folder = results_root() / profile.name
    files = [
        path
        for name in FOLDERS
        for record in sorted((folder / name).glob("*.json"))
        for path in _of_record(record)
    ]
    files += [checked(folder / name) for name in NUMBERS if (folder / name).is_file()]
    if not files:
        command = f"make figures PROFILE={profile.name}"
        raise MissingArtefacts(
            f"profile '{profile.name}': no figure or table is stored; make them with: {command}",
            (), command,
        )  # fmt: skip
    found = {str(path.relative_to(folder)): path for path in files}
    return {**found, "profile.yaml": profile.path}


def _of_record(path: Path) -> list[Path]:
    """A figure's or table's record, and the files that it names, as they were made."""
    record = read_record(path)
    for name, expected in record["files"].items():
        file = path.with_name(name)
        if not file.is_file() or sha256(file) != expected:
            again = remedy(file, str(record.get("command", "")))
            raise Damaged(f"{file}: missing, or changed since it was made; {again}")
    return [path, *(path.with_name(name) for name in record["files"])]


def write_bundle(profile: str | Path | Profile, target: Path | None = None) -> Path:
    """Write a profile's bundle.

    Args:
        profile: the profile.
        target: the zip; ``results/PROFILE/trustdd-PROFILE.zip`` by default.

    Returns:
        The zip. Its ``manifest.json`` lists every file with its SHA-256 and, for figures and
        tables, title, finding, seeds, commit and the command that makes it again.

    Raises:
        ValueError: no such profile.
        MissingArtefacts: nothing was made yet.
    """
    chosen = profile if isinstance(profile, Profile) else load_profile(profile)
    files = bundle_files(chosen)
    target = target or results_root() / chosen.name / f"trustdd-{chosen.name}.zip"
    manifest = {
        "profile": chosen.name,
        "description": chosen.description,
        "entries": [_entry(path) for path in files.values() if _is_record(path)],
        "files": {name: sha256(path) for name, path in files.items()},
    }
    listing = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(target) as partial, zipfile.ZipFile(partial, "w") as packed:
        for name, content in [
            ("manifest.json", listing.encode()),
            *((name, path.read_bytes()) for name, path in sorted(files.items())),
        ]:
            facts = zipfile.ZipInfo(f"trustdd-{chosen.name}/{name}", DATE)
            facts.compress_type = zipfile.ZIP_DEFLATED
            facts.external_attr = 0o644 << 16
            packed.writestr(facts, content)
    if target.parent == results_root() / chosen.name:
        record_files(target.parent, [target], f"trustdd bundle --profile {chosen.name}")
    return target


def _is_record(path: Path) -> bool:
    return path.suffix == ".json" and path.parent.name in FOLDERS


def _entry(path: Path) -> dict[str, object]:
    record = read_record(path)
    wanted = ("id", "title", "finding", "seeds", "commit", "command")
    return {name: record[name] for name in wanted if name in record}
