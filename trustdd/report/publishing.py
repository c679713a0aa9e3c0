"""Published results: what of a profile's runs is kept in the repository, and what is left out.

Kept of a finished run are its reports, curves, manifest and distilled set, and whatever the
catalogue needs to make its entries again without any dataset; of several students of a set, the
tensors of the first. Left out, with their hashes on record, are students, and the real images that
a set began as or consists of: data sets are not the project's to pass on. (Of an OOD set the one
image stays that fig01 shows.) An entry that would need more is kept as it was made.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trustdd.report.catalogue import Catalogue, Entry, Shown
from trustdd.report.export import KEPT
from trustdd.report.figures import FIGURES
from trustdd.report.results import MissingArtefacts
from trustdd.report.tables import TABLES
from trustdd.settings.experiment import Experiment
from trustdd.store.files import results_root
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.records import MANIFEST, write_record
from trustdd.store.run import Run
from trustdd.store.stages import FURTHER_STAGES, MAIN_STAGES, STAGES
from trustdd.store.tensors import tensor_shapes

#: tensors of a run that are kept where an entry of the catalogue asks for them
BY_NEED = ("logits.safetensors", "samples.safetensors", "features.safetensors")
#: groups that pages show the same entries of, as variants
FURTHER_GROUPS = ("mtt",)
#: what a finished run has no more use for
LITTER = ("*.lock", "checkpoint.*")


@dataclass(frozen=True)
class Publication:
    """What `publish` did.

    Attributes:
        runs: keys of the published runs.
        missing: keys of the profile's runs that are not finished.
        entries: ids of the entries that are kept as they were made.
        size: bytes of everything that is kept.
    """

    runs: tuple[str, ...]
    missing: tuple[str, ...]
    entries: tuple[str, ...]
    size: int


def publish(profile: str | Path | Profile) -> Publication:
    """Reduce a profile's finished runs to what is published, in ``results/PROFILE``.

    Files that are left out are removed; their hashes and sizes stay in the manifest under
    ``left_out``, and the shapes of a set's tensors under ``shapes``. A run that is published
    already is left as it is, and so is one that is not finished, with its checkpoint: one whose
    further stages (`course`, `transfer`, `detectors`) are still to be done, where the profile asks
    for them, needs what publishing removes.

    Args:
        profile: the profile.

    Returns:
        What is kept.

    Raises:
        ValueError: no such profile.
        MissingArtefacts: none of its runs is finished.
    """
    chosen = profile if isinstance(profile, Profile) else load_profile(profile)
    folder = results_root() / chosen.name
    runs = [Run.of(e, chosen.name) for e in chosen.experiments()]
    done = [run for run in runs if _finished(run, chosen)]
    if not done:
        raise MissingArtefacts(
            f"profile '{chosen.name}': none of its {len(runs)} runs is finished; make them with: "
            f"make book PROFILE={chosen.name}", [r.experiment.key for r in runs],
            f"make book PROFILE={chosen.name}",
        )  # fmt: skip
    needed = {run.experiment.key: _needed(run.experiment, chosen) for run in done}
    entries = [
        entry.id
        for catalogue in (FIGURES, TABLES)
        for entry in catalogue.entries.values()
        if _keep_entry(catalogue, entry, chosen)
    ]
    for run in done:
        _reduce(run, needed[run.experiment.key])
    kept = [folder / name for name in ("runs", "experts", KEPT)]
    size = sum(p.stat().st_size for place in kept for p in place.rglob("*") if p.is_file())
    keys = tuple(run.experiment.key for run in done)
    missing = tuple(r.experiment.key for r in runs if r.experiment.key not in keys)
    return Publication(keys, missing, tuple(entries), size)


def _finished(run: Run, profile: Profile) -> bool:
    """Tell whether all that a profile asks of a run is done, or can no longer be done."""
    if not all(run.finished(stage) for stage in MAIN_STAGES):
        return False
    asked = [
        (stage, Run(run.directory, experiment))
        for stage in FURTHER_STAGES
        for experiment in profile.groups.get(stage, ())
        if experiment.key == run.experiment.key
    ]
    return all(
        one.finished(stage) or not all(one.has(name) for name in STAGES[stage].made_from)
        for stage, one in asked
    )


def _drawn(experiment: Experiment) -> bool:
    """Tell whether a set consists of real images, in part or whole."""
    beside = experiment.outliers != "none" and experiment.outlier_selection == "random"
    return experiment.selection != "distilled" or beside


def _needed(experiment: Experiment, profile: Profile) -> set[str]:
    """The tensors of a run that stay."""
    kept = set() if _drawn(experiment) else {"distilled.safetensors"}
    for catalogue in (FIGURES, TABLES):
        for entry in catalogue.entries.values():
            if entry.takes(experiment) and _asks(entry, experiment, profile):
                kept |= set(entry.files) & set(BY_NEED)
    return kept


def _asks(entry: Entry, experiment: Experiment, profile: Profile) -> bool:
    members = (e.key for name in entry.groups if name in profile.groups
               for e in profile.group(name))  # fmt: skip
    return experiment.key in members


def _stays(name: str, needed: Iterable[str]) -> bool:
    return not name.endswith(".safetensors") or name in needed


def _keep_entry(catalogue: Catalogue[Any], entry: Entry, profile: Profile) -> bool:
    """Keep an entry as it is where it cannot be made again from what will be left.

    Returns:
        Whether it is kept.
    """
    tensors = [n for n in entry.files if n.endswith(".safetensors") and n not in BY_NEED]
    if not (tensors or entry.data) or not entry.made_from(profile):
        return False
    try:
        own = catalogue.show(entry.id, profile=profile)
    except MissingArtefacts:
        return False
    place = results_root() / profile.name / KEPT
    _copy(own, place)
    for group in FURTHER_GROUPS if tensors else ():
        runs = [Run.of(e, profile.name) for e in profile.groups.get(group, ())]
        if runs and {r.experiment.key for r in runs}.isdisjoint(
            e.key for name in entry.groups for e in profile.group(name)
        ):
            with contextlib.suppress(MissingArtefacts):
                variant = catalogue.show(entry.id, runs, profile)
                _copy(variant, place / next(iter(variant.files.values())).parent.name)
    return True


def _copy(shown: Shown, place: Path) -> None:
    """Copy an entry's files, its record among them."""
    place.mkdir(parents=True, exist_ok=True)
    files = set(shown.files.values())
    records = {path.with_suffix(".json") for path in files}
    for path in files | {path for path in records if path.is_file()}:
        if path.parent != place:
            shutil.copyfile(path, place / path.name)


def _reduce(run: Run, needed: Sequence[str] | set[str]) -> None:
    """Remove what is not published of a run, and say so in its manifests."""
    students = range(run.experiment.students)
    # the further students' reports say all that entries ask of them
    stored = [(run.stored_part(name, i), needed if i == 0 else ()) for name in STAGES
              for i in students if STAGES[name].by_student]  # fmt: skip
    folders = [(run, needed), *((part, own) for part, own in stored if part is not None)]
    for folder, own in folders:
        manifest = folder.manifest()
        gone: list[Path] = []
        for entry in manifest.values():
            for name in [n for n in entry["files"] if not _stays(n, own)]:
                path = folder.directory / name
                entry.setdefault("left_out", {})[name] = {
                    "sha256": entry["files"].pop(name), "bytes": path.stat().st_size,
                }  # fmt: skip
                if name == "distilled.safetensors":
                    entry["shapes"] = tensor_shapes(path)
                gone.append(path)
        if gone:
            # the manifest first: a stop in between leaves files that nobody asks for
            write_record(folder.directory / MANIFEST, manifest)
        for path in gone:
            path.unlink()
    for path in (p for pattern in LITTER for p in run.directory.glob(pattern)):
        path.unlink()
