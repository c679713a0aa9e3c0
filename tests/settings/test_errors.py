"""Bad input is one line and status 2, what failed is status 1, and a fault shows its traceback."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

import trustdd
from trustdd import cli
from trustdd.notebooks.execution import NotebookFailed
from trustdd.report.results import MissingArtefacts
from trustdd.settings.errors import BadInput, MissingData

PACKAGE = Path(trustdd.__file__).parent
#: what is checked here can only be wrong by a fault of the package itself
OWN_FAULTS = {
    "report/comparison.py", "report/export.py", "report/show/display.py",
    "report/show/image_rows.py", "report/tables/layout.py", "store/source_hash.py",
}  # fmt: skip


def ending(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    @click.command()
    def raising() -> None:
        raise error

    monkeypatch.setitem(cli.cli.commands, "raising", raising)
    with pytest.raises(SystemExit) as leaving:
        cli.main(["raising"])
    return int(leaving.value.code or 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("ipc 0;\n expected more"), 2),
        (MissingData("no such folder"), 2),
        (MissingArtefacts("not there yet", (), ""), 1),
        (NotebookFailed("cell 3", None), 1),
        (OSError("no space left"), 1),
    ],
)
def test_an_error_of_ours_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
) -> None:
    assert ending(monkeypatch, error) == status
    said = capsys.readouterr().err
    assert said == f"trustdd: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize("kind", [ValueError, RuntimeError, KeyError, UnicodeError])
def test_a_fault_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    with pytest.raises(kind, match="a fault"):
        ending(monkeypatch, kind("a fault"))


def test_bad_input_is_told_from_a_fault_everywhere() -> None:
    plain = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "ValueError"
    }
    assert plain <= OWN_FAULTS
