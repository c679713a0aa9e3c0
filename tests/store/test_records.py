"""Every byte that is stored is vouched for: a flipped one is found by whoever reads it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fabricated_runs
import pytest

from trustdd.data.distilled_set import load_distilled
from trustdd.report.figures import FIGURES
from trustdd.report.results import arrays, experts_of, pictures, reports
from trustdd.report.tables import TABLES
from trustdd.settings.errors import BadInput
from trustdd.store import files
from trustdd.store.files import atomic_path
from trustdd.store.profiles import Profile, load_profile
from trustdd.store.records import Damaged, checked, read_manifest, read_record, write_record
from trustdd.store.run import Run
from trustdd.store.tensors import read_sealed_tensors, read_tensors, write_sealed_tensors
from trustdd.store.verification import verify


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A profile of a few runs, its figures and tables made."""
    root = tmp_path_factory.mktemp("sealed")
    found = load_profile(fabricated_runs.write_profile(root, PROFILE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUSTDD_RESULTS", str(root))
        fabricated_runs.fabricate(found, root)
        FIGURES.show("fig02", profile=found)
        TABLES.show("tab03", profile=found)
    return found


PROFILE = """\
settings:
  digits: {iterations: 4, ood_limit: 20, width: 8, ood: [textures, gaussian]}
groups:
  main: {dataset: digits, ipc: 1, outliers: [none, poe], seed: [0, 1]}
  mtt: {dataset: digits, method: mtt, ipc: 1, outliers: none, seed: 0, experts: 1}
"""


@pytest.fixture
def folder(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = profile.path.parent
    monkeypatch.setenv("TRUSTDD_RESULTS", str(root))
    return root / profile.name


def flip(path: Path, place: float = 0.9) -> bytes:
    """Flip a bit; return what there was."""
    before = path.read_bytes()
    content = bytearray(before)
    content[int(place * (len(content) - 1))] ^= 1
    path.write_bytes(bytes(content))
    return before


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_anywhere_is_found(folder: Path, place: float) -> None:
    assert verify(folder).complaints == []
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and not _hidden(p)]
    assert len({p.suffix for p in paths}) >= 8
    for path in paths:
        before = flip(path, place)
        found = verify(folder).complaints
        path.write_bytes(before)
        assert any(str(path) in line for line in found), path
        assert all("\n" not in line for line in found)
    assert verify(folder).complaints == []


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


READERS: dict[str, tuple[str, Callable[[Run], object]]] = {
    "distilled.safetensors": (
        "trustdd stage distill KEY",
        lambda run: load_distilled(run.path("distilled.safetensors")),
    ),
    "initial.safetensors": (
        "trustdd stage distill KEY",
        lambda run: pictures(run, "initial.safetensors"),
    ),
    "curves.csv": ("trustdd stage distill KEY", lambda run: run.read_frame("curves.csv")),
    "report.csv": ("trustdd stage evaluate KEY", lambda run: reports([run])),
    "logits.safetensors": (
        "trustdd stage evaluate KEY",
        lambda run: arrays(run, "logits.safetensors"),
    ),
    "transfer.csv": ("trustdd stage transfer KEY", lambda run: reports([run], "transfer.csv")),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_checks_what_it_reads(folder: Path, profile: Profile, name: str) -> None:
    run = Run.of(profile.group("main")[0], profile.name)
    command, read = READERS[name]
    read(run)
    path = run.path(name)
    before = flip(path)
    with pytest.raises(Damaged) as caught:
        read(run)
    path.write_bytes(before)
    read(run)
    message = str(caught.value)
    assert message.startswith(f"{path}: changed since it was recorded")
    assert f"{command.replace('KEY', run.experiment.key)} --profile {profile.name}" in message


def test_a_figure_and_a_table_check_their_runs(folder: Path, profile: Profile) -> None:
    run = Run.of(profile.group("main")[0], profile.name)
    for name, show in (
        ("logits.safetensors", lambda: FIGURES.show("fig02", profile=profile)),
        ("report.csv", lambda: TABLES.show("tab03", profile=profile)),
    ):
        before = flip(run.path(name))
        with pytest.raises(Damaged, match=f"{name}: changed since it was recorded"):
            show()
        run.path(name).write_bytes(before)


def test_experts_are_checked(folder: Path, profile: Profile) -> None:
    (experiment,) = profile.group("mtt")
    run = Run.of(experiment, profile.name)
    path = experts_of(run)[0].path
    before = flip(path)
    with pytest.raises(Damaged, match=f"trustdd experts {experiment.key} --profile"):
        experts_of(run)
    path.write_bytes(before)
    assert experts_of(run)[0].snapshot(0).shape == (4,)


# -- records ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000, b'{"seal": 3}',
        b'{"a": 1, "seal": "0"}', b"PK\x03\x04", b"\x80\x04\x95", b'{"a":' * 3000,
    ],
)  # fmt: skip
def test_what_is_no_record_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    for read in (lambda: read_record(path), lambda: read_manifest(tmp_path)):
        with pytest.raises(Damaged) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["../other", "/etc/passwd", "", "..", "a/b"])
def test_a_manifest_names_files_of_its_own_folder_alone(tmp_path: Path, name: str) -> None:
    write_record(tmp_path / "manifest.json", {"distill": {"files": {name: "0"}}})
    with pytest.raises(Damaged, match="names files of other folders"):
        read_manifest(tmp_path)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    value = {"name": "é – 图", "values": (1, 2.5, None, True), "nested": {1: {"x": 1e-320}}}
    write_record(path, value)
    assert read_record(path) == json.loads(json.dumps(value))
    text = path.read_text().replace("é", "e")
    path.write_text(text)
    with pytest.raises(Damaged, match="changed since it was written"):
        read_record(path)


def test_tensors_that_no_manifest_records_vouch_for_themselves(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "checkpoint.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.zeros(0, 3), "c": torch.tensor(True)}
    write_sealed_tensors(path, tensors, {"data": "x"})
    found, metadata = read_sealed_tensors(path)
    assert metadata == {"data": "x"}
    assert torch.equal(found["a"], tensors["a"])
    size = path.stat().st_size
    for place in range(size):
        before = flip(path, place / (size - 1))
        with pytest.raises(BadInput) as caught:
            read_sealed_tensors(path)
        assert str(caught.value).startswith(str(path))
        path.write_bytes(before)


#: a file of tensors that holds none
EMPTY = (2).to_bytes(8, "little") + b"{}"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 8, b"\xff" * 8 + b"{}", (1 << 40).to_bytes(8, "little") + b"{",
        EMPTY, (5).to_bytes(8, "little") + b"[1,2]",
        b"PK\x03\x04" + b"\0" * 60, b"\x80\x04\x95" + b"\0" * 60, b"\x93NUMPY\x01\0",
        (99_999).to_bytes(8, "little") + b'{"a":' * 19_999 + b"{}  ",
        (61).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,99999999]}}',
    ],
)  # fmt: skip
def test_what_is_no_tensor_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "set.safetensors"
    path.write_bytes(content)
    for read in (read_tensors, load_distilled) if content != EMPTY else (load_distilled,):
        with pytest.raises(BadInput) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_respect_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_record(tmp_path / "record.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "record.json").stat().st_mode) == mode


def test_a_file_is_on_the_disk_before_it_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def note(*what: object, name: str = name, original: Callable = original) -> object:
            done.append(name)
            return original(*what)

        monkeypatch.setattr(files.os, name, note)
    write_record(tmp_path / "record.json", {})
    assert done == ["fsync", "replace"]


KILLED = """
import os, signal, sys
from pathlib import Path
from trustdd.store.files import atomic_path
with atomic_path(Path(sys.argv[1])) as partial:
    partial.write_text("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_partial_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".partial-")
    with atomic_path(tmp_path / "other.csv") as partial:
        # what is being written by a process that lives is left alone
        files._sweep.cache_clear()
        with atomic_path(path) as second:
            second.write_text("all of it")
        assert partial.is_file()
        assert not left.exists()
    assert {p.name for p in tmp_path.iterdir()} == {"report.csv", "other.csv"}


def test_a_file_is_hashed_once_as_long_as_nobody_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trustdd.store import records

    path = tmp_path / "report.csv"
    path.write_text("a\n1\n")
    write_record(tmp_path / "manifest.json", {"files": {"report.csv": files.sha256(path)}})
    hashed: list[Path] = []
    monkeypatch.setattr(records, "sha256", lambda p: hashed.append(p) or files.sha256(p))
    for _ in range(3):
        assert checked(path) == path
    assert len(hashed) == 1
    path.write_text("a\n2\n")
    with pytest.raises(Damaged):
        checked(path)
