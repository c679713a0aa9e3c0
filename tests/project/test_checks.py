"""The checks of `make check` catch what they are there for."""

import ast
import importlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


def tool(name):
    """Import tools/NAME.py, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lint_imports(project):
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=project, env={"PYTHONPATH": str(project)}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def package_copy(tmp_path):
    """A folder with a copy of the package and of pyproject.toml, to be spoilt."""
    pycache = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "trustdd", tmp_path / "trustdd", ignore=pycache)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_rooms_hold_and_an_upward_import_breaks_them(package_copy):
    outcome = lint_imports(package_copy)
    assert outcome.returncode == 0, outcome.stdout
    with (package_copy / "trustdd" / "networks" / "losses.py").open("a") as losses:
        losses.write("\n\ndef climb():\n    from trustdd.data import ood\n    return ood\n")
    outcome = lint_imports(package_copy)
    assert outcome.returncode == 1
    assert "trustdd.networks is not allowed to import trustdd.data" in outcome.stdout


def test_a_circle_in_one_room_is_refused(package_copy):
    with (package_copy / "trustdd" / "settings" / "defaults.py").open("a") as defaults:
        defaults.write("\nfrom trustdd.settings import experiment\n")
    outcome = lint_imports(package_copy)
    assert outcome.returncode == 1
    assert "round a corner BROKEN" in outcome.stdout


def test_a_room_without_a_floor_is_refused(package_copy):
    (package_copy / "trustdd" / "attic.py").touch()
    outcome = lint_imports(package_copy)
    assert outcome.returncode == 1
    assert "trustdd.attic" in outcome.stdout


def test_nothing_in_the_package_imports_from_a_room_itself():
    """A room imports its names when they are used, which the graph of the imports cannot see."""
    graph = grimp.build_graph("trustdd", exclude_type_checking_imports=True, cache_dir=None)
    rooms = [
        ".".join(stub.parent.relative_to(ROOT).parts)
        for stub in (ROOT / "trustdd").rglob("__init__.pyi")
    ]
    assert "trustdd.data" in rooms
    found = {room: graph.find_modules_that_directly_import(room) for room in rooms}
    assert not {room: importers for room, importers in found.items() if importers}


def test_every_name_that_a_room_exports_is_there():
    for stub in (ROOT / "trustdd").rglob("__init__.pyi"):
        room = ".".join(stub.parent.relative_to(ROOT).parts)
        module = importlib.import_module(room)
        for name in module.__all__:
            assert getattr(module, name, None) is not None, f"{room}.{name}"


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("gw_syn = 1", ["gw_syn"]),
        ("def do_all(args, *, limit): pass", ["args", "do_all"]),
        ("import numpy as my_numpy", ["my_numpy"]),
        ("self.res = 1", ["res"]),
        ("class Utils: pass", ["Utils"]),
        ("from typing import get_args\nshape = get_args(int)\nresult, synthetic = 1, 2", []),
        ("for domain, mystery in resolved.items(): print(domain)", []),
    ],
)
def test_names(code, named):
    names = tool("check_names")
    found = [name for _, name in names.given_names(ast.parse(code)) if names.is_banned(name)]
    assert sorted(found, key=str.lower) == named


def test_names_of_files_and_in_notebooks(tmp_path):
    (tmp_path / "notebooks").mkdir()
    notebook = tmp_path / "notebooks" / "01_a.md"
    notebook.write_text(NOTEBOOK + "```{code-cell} ipython3\n%time\nres = 1\n```\n")
    (tmp_path / "helpers.py").write_text("")
    found = list(tool("check_names").complaints(tmp_path, ["notebooks/01_a.md", "helpers.py"]))
    assert len(found) == 2
    assert "'res'" in found[0]
    assert found[1].startswith("helpers.py")


NOTEBOOK = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
  language: python
---

# A notebook

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
ipc = 2
```
"""


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("", "", None),
        ("name: python3", "name: conda-env", "kernelspec.name"),
        ("format_name: myst", "format_name: markdown", "format_name: myst"),
        ("kernelspec:", "kernelspec: [", "no YAML"),
        ("---\n", "", "no front matter"),
        ("[parameters]", "[other]", "0 cells tagged"),
        ('"quick"', '"paper"', 'expected "quick"'),
        ('profile = "quick"\n', "", "does not start with profile"),
        ("ipc = 2", "ipc = len(profile)", "expected assignments of plain values"),
        ("ipc = 2", "import torch", "expected assignments of plain values"),
        ("[parameters]", "[parameters]\n:takes: 3", "takes is no mapping"),
    ],
)
def test_notebooks(tmp_path, before, after, complaint):
    path = tmp_path / "01_a.md"
    path.write_text(NOTEBOOK.replace(before, after) if before else NOTEBOOK)
    found = list(tool("check_notebooks").notebook_complaints(path))
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in text for text in found), found


def test_a_notebook_s_file_name(tmp_path):
    path = tmp_path / "first-steps.md"
    path.write_text(NOTEBOOK)
    assert list(tool("check_notebooks").notebook_complaints(path)) == [
        "file name; expected NN_name.md"
    ]
