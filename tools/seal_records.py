"""Seal the records of results that were stored before records vouched for themselves.

    python tools/seal_records.py results/cifar10 results/mnist

Manifests, and the records of figures and tables, get the seal of `trustdd.store.records`; a run's
``experiment.json`` is recorded with its set. A record whose files are not what it says is not
sealed, but named. One that is sealed is left as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trustdd.store.files import sha256
from trustdd.store.records import MANIFEST, SEAL, read_object, recorded_hashes, write_record


def seal(path: Path) -> str:
    """Seal one record; say ``sealed``, an empty text where it was, or what is wrong."""
    record = read_object(path)
    if SEAL in record:
        return ""
    experiment = path.with_name("experiment.json")
    if path.name == MANIFEST and "distill" in record and experiment.is_file():
        record["distill"]["files"][experiment.name] = sha256(experiment)
    for name, expected in recorded_hashes(record).items():
        file = path.with_name(name)
        if not file.is_file() or sha256(file) != expected:
            return f"{file}: missing, or changed since it was recorded; {path} is not sealed"
    write_record(path, record)
    return "sealed"


def main() -> int:
    """Seal every record of the given profiles' results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("results", nargs="+", type=Path, help="results/PROFILE")
    wrong = []
    for profile in parser.parse_args().results:
        paths = [p for p in sorted(profile.rglob(MANIFEST)) if ".locks" not in p.parts]
        for folder in ("figures", "tables", "kept", "variants"):
            paths += sorted((profile / folder).rglob("*.json"))
        said = [seal(path) for path in paths]
        print(f"{profile}: {said.count('sealed')} of {len(said)} records sealed")
        wrong += [text for text in said if text not in ("", "sealed")]
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
