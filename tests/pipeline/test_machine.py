"""An experiment that this machine cannot do is refused before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from trustdd.pipeline.completion import bring_up_to_date, complete
from trustdd.settings.errors import BadInput
from trustdd.settings.experiment import Experiment
from trustdd.store.run import Run

SMALL = Experiment(width=4, depth=1, iterations=1, training_epochs=1, ood=("gaussian",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda:99"}, "device 'cuda:99'; this machine offers cpu"),
        ({"width": 10**8}, "width 100000000"),
        ({"image_size": 10**5}, "image_size 100000"),
        ({"outliers": "poe", "outlier_ipc": 10**8}, "outlier_ipc 100000000"),
    ],
)
def test_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, message: str
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path / "results"))
    with pytest.raises(BadInput, match=message):
        complete(SMALL.but(**changes), "smoke", progress=False)
    assert not (tmp_path / "results").exists()


def test_what_is_stored_is_read_on_a_machine_that_could_not_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.of(SMALL, "smoke", tmp_path)
    assert bring_up_to_date(run, "distill", progress=False)
    elsewhere = Run.of(SMALL.but(device="cuda:99"), "smoke", tmp_path)
    assert elsewhere.directory == run.directory
    assert not bring_up_to_date(elsewhere, "distill")
    with pytest.raises(BadInput, match="this machine offers cpu"):
        bring_up_to_date(elsewhere, "evaluate")
