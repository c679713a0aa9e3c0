"""The revision bundle: what is in it, and that equal results make equal bytes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from trustdd.report.bundle import write_bundle
from trustdd.report.results import MissingArtefacts
from trustdd.store.files import sha256


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    folder = tmp_path / "quick"
    record = {"id": "fig02", "title": "T", "finding": "F", "seeds": [0], "command": "trustdd …"}
    for name, content in {
        "figures/fig02.json": json.dumps(record),
        "figures/fig02.pdf": "%PDF",
        "figures/.partial": "left over",
        "tables/tab03.tex": "\\toprule",
        "numbers.tex": "\\newcommand",
        "runs/key/report.csv": "not for a paper",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_bundle_holds_what_a_paper_needs_and_a_manifest(stored: Path) -> None:
    path = write_bundle("quick")
    assert path == stored / "trustdd-quick.zip"
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        names = {n.removeprefix("trustdd-quick/") for n in packed.namelist()}
        manifest = json.loads(packed.read("trustdd-quick/manifest.json"))
        pdf = packed.read("trustdd-quick/figures/fig02.pdf")
    assert names == {
        "manifest.json", "profile.yaml", "numbers.tex", "figures/fig02.json",
        "figures/fig02.pdf", "tables/tab03.tex",
    }  # fmt: skip
    assert pdf == b"%PDF"
    assert manifest["files"]["figures/fig02.pdf"] == sha256(stored / "figures" / "fig02.pdf")
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert [entry["finding"] for entry in manifest["entries"]] == ["F"]


def test_equal_results_make_equal_bytes(stored: Path, tmp_path: Path) -> None:
    first = write_bundle("quick", tmp_path / "one.zip").read_bytes()
    for path in stored.rglob("*.*"):
        path.touch()
    assert write_bundle("quick", tmp_path / "two.zip").read_bytes() == first
    (stored / "tables" / "tab03.tex").write_text("\\midrule")
    assert write_bundle("quick", tmp_path / "three.zip").read_bytes() != first


def test_nothing_to_pack_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    with pytest.raises(MissingArtefacts, match="make figures PROFILE=quick"):
        write_bundle("quick")
