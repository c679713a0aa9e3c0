"""The revision bundle: what is in it, and that equal results make equal bytes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from trustdd.report.bundle import write_bundle
from trustdd.report.results import MissingArtefacts
from trustdd.store.files import sha256
from trustdd.store.records import Damaged, record_files, write_record
from trustdd.store.verification import verify


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    folder = tmp_path / "quick"
    record = {"id": "fig02", "title": "T", "finding": "F", "seeds": [0], "command": "trustdd …"}
    for name, content in {
        "figures/fig02.pdf": "%PDF",
        "figures/.partial": "left over",
        "figures/mine.txt": "in no record",
        "tables/tab03.tex": "\\toprule",
        "numbers.tex": "\\newcommand",
        "runs/key/report.csv": "not for a paper",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    for name in ("figures/fig02.pdf", "tables/tab03.tex"):
        path = folder / name
        write_record(path.with_suffix(".json"), {**record, "files": {path.name: sha256(path)}})
    record_files(folder, [folder / "numbers.tex"], "trustdd numbers --profile quick")
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
        "figures/fig02.pdf", "tables/tab03.tex", "tables/tab03.json",
    }  # fmt: skip
    assert pdf == b"%PDF"
    assert manifest["files"]["figures/fig02.pdf"] == sha256(stored / "figures" / "fig02.pdf")
    assert set(manifest["files"]) == names - {"manifest.json"}
    assert [entry["finding"] for entry in manifest["entries"]] == ["F", "F"]
    assert [line for line in verify(stored).complaints if ".zip" in line] == [], "it is recorded"


def test_equal_results_make_equal_bytes(stored: Path, tmp_path: Path) -> None:
    first = write_bundle("quick", tmp_path / "one.zip").read_bytes()
    for path in stored.rglob("*.*"):
        path.touch()
    assert write_bundle("quick", tmp_path / "two.zip").read_bytes() == first
    table = stored / "tables" / "tab03.tex"
    table.write_text("\\midrule")
    write_record(table.with_suffix(".json"), {"files": {table.name: sha256(table)}})
    assert write_bundle("quick", tmp_path / "three.zip").read_bytes() != first


@pytest.mark.parametrize("name", ["figures/fig02.pdf", "tables/tab03.json", "numbers.tex"])
def test_what_has_changed_is_not_packed(stored: Path, name: str) -> None:
    path = stored / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Damaged, match=f"{path.name}.*(changed|not readable).*again with: trustdd"):
        write_bundle("quick")
    assert not (stored / "trustdd-quick.zip").exists()


def test_nothing_to_pack_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    with pytest.raises(MissingArtefacts, match="make figures PROFILE=quick"):
        write_bundle("quick")
