"""The graph's last two steps: put the book's source together, build its pages."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from trustdd.notebooks.book_source import build, publish, stage
from trustdd.store.profiles import load_profile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    staging = steps.add_parser("stage")
    staging.add_argument("--profile", required=True)
    staging.add_argument("--notebooks", type=Path, required=True)
    staging.add_argument("--costs", type=Path)
    building = steps.add_parser("build")
    building.add_argument("--folder", type=Path, required=True)
    building.add_argument("--out", type=Path, required=True)
    for step in (staging, building):
        step.add_argument("--source", type=Path, required=True)
        step.add_argument("--record", type=Path, required=True)
    given = parser.parse_args()
    if given.step == "stage":
        profile = load_profile(given.profile)
        changes = stage(
            Path.cwd(), profile, given.notebooks, given.source, given.record, given.costs
        )
    else:
        changes = publish(build(given.source, given.record, given.folder), given.out)
    print(f"{len(changes.written)} files written, {len(changes.removed)} removed")
    for name in (*changes.written, *changes.removed):
        print(f"  {name}"[: shutil.get_terminal_size().columns])


if __name__ == "__main__":
    main()
