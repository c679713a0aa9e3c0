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
#: functions whose callers are the package's own: what they refuse is a fault of it
OWN_FAULTS = {
    "report/comparison.py:over_seeds",
    "report/comparison.py:paired_difference",
    "report/export.py:__post_init__",
    "report/export.py:_need_text",
    "report/page_data/packing.py:packed",
    "report/show/display.py:picture",
    "report/show/image_rows.py:as_pictures",
    "report/show/image_rows.py:draw_rows",
    "report/tables/layout.py:measured",
    "store/run.py:_mean",
    "store/source_hash.py:module_closure",
}


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
    plain = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and any(map(_raises_plainly, function.body)):
                plain.add(f"{path.relative_to(PACKAGE)}:{function.name}")
    assert plain <= OWN_FAULTS


def _raises_plainly(statement: ast.stmt) -> bool:
    return any(
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "ValueError"
        for node in ast.walk(statement)
    )
