"""A set whose images another run has distilled already takes them from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustdd.pipeline.completion import bring_up_to_date
from trustdd.settings.experiment import Experiment
from trustdd.store.records import write_record
from trustdd.store.run import Run

ORDINARY = Experiment(
    ipc=1, seed=2, iterations=4, outer_loops=1, real_batch=8, width=8, depth=1, device="cpu"
)


@pytest.fixture
def ordinary(tmp_path: Path) -> Run:
    run = Run.of(ORDINARY, "tests", tmp_path)
    bring_up_to_date(run, "distill", progress=False)
    return run


def images_of(root: Path, **changes: object) -> str | None:
    run = Run.of(ORDINARY.but(**changes), "tests", root)
    bring_up_to_date(run, "distill", progress=False)
    return run.manifest()["distill"].get("images_of")


def test_images_are_distilled_once(ordinary: Run, tmp_path: Path) -> None:
    assert images_of(tmp_path, outliers="poe") == ORDINARY.key
    assert images_of(tmp_path, outliers="oe", outlier_selection="random") == ORDINARY.key
    assert images_of(tmp_path, outliers="poe", seed=3) is None, "that seed's are not there"


def test_images_that_other_source_made_are_not_taken(ordinary: Run, tmp_path: Path) -> None:
    manifest = ordinary.manifest()
    entry = manifest["distill"] | {"source": "another"}
    write_record(ordinary.path("manifest.json"), {**manifest, "distill": entry})
    assert images_of(tmp_path, outliers="poe") is None
