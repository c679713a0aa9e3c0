"""Move runs of the first layout, in which a run held one evaluation, to `trustdd.store.run`'s.

    python tools/move_evaluations.py results/cifar10 results/mnist

What tested a run's set, once a stage beside the set, goes into the folder of its settings, as that
of the first student. No file changes but the manifests; a run that was moved is left as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from trustdd.store.files import write_json
from trustdd.store.run import MANIFEST, Run
from trustdd.store.stages import STAGES, stage_folder


def move(directory: Path) -> list[str]:
    """Move a run's evaluations; return the folders that they went to."""
    run = Run.open(directory)
    manifest = run.manifest()
    found = []
    for name, stage in STAGES.items():
        if not stage.by_student or name not in manifest:
            continue
        entry = manifest.pop(name)
        place = directory / stage_folder(name, entry["settings"]) / "student-0"
        place.mkdir(parents=True, exist_ok=True)
        for file in entry["files"]:
            if (directory / file).is_file():
                (directory / file).rename(place / file)
        write_json(place / MANIFEST, {name: {**entry, "made_from": run.made_from(name)}})
        found.append(str(place))
    if found:
        # last, so that a move that was stopped is gone on with
        write_json(directory / MANIFEST, manifest)
    return found


def main() -> None:
    """Move every run of the given profiles' results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", nargs="+", type=Path, help="results/PROFILE")
    for profile in parser.parse_args().results:
        runs = [p.parent for p in sorted(profile.glob(f"runs/*/{MANIFEST}"))]
        moved = [move(directory) for directory in runs]
        print(json.dumps({str(profile): sum(map(len, moved))}))


if __name__ == "__main__":
    main()
