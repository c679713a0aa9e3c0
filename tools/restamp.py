"""Renew the source hashes of stored results after a change that changed nothing they compute.

    python tools/restamp.py results/quick

A stage counts as made by the source that its manifest names, and is made again when that has
changed. Who has moved code about, and knows that it gives the same bytes, says so with this: no
artefact changes, only the hash that names what made it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trustdd.pipeline.completion import stage_source
from trustdd.settings.experiment import Experiment
from trustdd.store.expert_store import experts_source, read_manifest
from trustdd.store.records import write_record
from trustdd.store.run import MANIFEST, Run


def restamp(directory: Path) -> int:
    """Renew the hashes of a run's stages; return how many were other ones."""
    run = Run.open(directory)
    renewed = 0
    for folder in (run, *run.parts()):
        manifest = folder.manifest()
        now = {stage: stage_source(stage, run.experiment) for stage in manifest}
        other = [stage for stage in manifest if manifest[stage].get("source") != now[stage]]
        if other:
            new = {stage: {**entry, "source": now[stage]} for stage, entry in manifest.items()}
            write_record(folder.directory / MANIFEST, new)
        renewed += len(other)
    return renewed


def restamp_experts(directory: Path) -> int:
    """Renew the hashes of the experts of a folder; return how many were other ones."""
    manifest = read_manifest(directory)
    now = experts_source(Experiment(outliers=manifest["settings"]["outliers"]))
    before = manifest.get("sources", {})
    after = dict.fromkeys(manifest.get("files", {}), now)
    if before != after:
        write_record(directory / MANIFEST, {**manifest, "sources": after})
    return sum(before.get(name) != now for name in after)


def main() -> None:
    """Renew the hashes of every run, and of all experts, of the given profiles' results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", nargs="+", type=Path, help="results/PROFILE")
    for profile in parser.parse_args().results:
        runs = [path.parent for path in sorted(profile.glob(f"runs/*/{MANIFEST}"))]
        renewed = sum(restamp(directory) for directory in runs)
        print(f"{profile}: {renewed} stages of {len(runs)} runs renewed")
        experts = [path.parent for path in sorted(profile.glob(f"experts/*/{MANIFEST}"))]
        print(f"{profile}: {sum(map(restamp_experts, experts))} experts renewed")


if __name__ == "__main__":
    main()
