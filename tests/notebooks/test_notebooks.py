"""Notebooks: parameters read and checked, and executions that are whole, quiet and repeatable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import nbformat
import papermill
import pytest

from trustdd import notebooks
from trustdd.notebooks import execution
from trustdd.store.profiles import load_profile

TINY = """\
---
kernelspec:
  name: somebody-elses
  display_name: Python 3
---

# A tiny notebook

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"  # whose settings
dataset = "digits"
ipc: int = 2  # images per class
rate = 0.5
seeds = [
    0,
    1,  # two
]
limit: int | None = None
colour = "#0072B2=blue"  # not a comment before this
shown = True
data_root = ""
```
"""


def notebook(tmp_path: Path, *cells: str, name: str = "tiny") -> Path:
    path = tmp_path / f"{name}.md"
    path.write_text(TINY + "".join(f"\n```{{code-cell}} ipython3\n{c}\n```\n" for c in cells))
    return path


def parameters_of(path: Path) -> dict[str, notebooks.Parameter]:
    return notebooks.read_parameters(notebooks.read_notebook(path))


def values_of(path: Path, *texts: str) -> dict[str, object]:
    parameters = parameters_of(path)
    return notebooks.check_values(parameters, notebooks.parse_assignments(texts, parameters))


# -- reading ----------------------------------------------------------------------------------


def test_parameters_have_types_defaults_and_help(tmp_path: Path) -> None:
    found = parameters_of(notebook(tmp_path))
    assert {name: p.describe() for name, p in found.items()} == {
        "profile": "str", "dataset": "str", "ipc": "int", "rate": "float",
        "seeds": "list of int", "limit": "int or null", "colour": "str", "shown": "bool",
        "data_root": "str",
    }  # fmt: skip
    assert found["seeds"].default == [0, 1]
    assert found["colour"].default == "#0072B2=blue"
    assert found["colour"].help == "not a comment before this"
    assert found["ipc"].help == "images per class"


def test_plain_parameters_agree_with_papermills_inspection(tmp_path: Path) -> None:
    path = notebook(tmp_path)
    source = notebooks.read_notebook(path)
    source.metadata["kernelspec"]["language"] = "python"
    nbformat.write(source, tmp_path / "tiny.ipynb")
    theirs = papermill.inspect_notebook(tmp_path / "tiny.ipynb")
    ours = parameters_of(path)
    # what its line patterns lose is what ours are read from the syntax tree for
    assert set(ours) - set(theirs) == {"limit", "colour"}
    assert theirs["ipc"]["help"] == ours["ipc"].help


def test_a_parameters_cell_holds_plain_values_only(tmp_path: Path) -> None:
    path = tmp_path / "odd.md"
    path.write_text("```{code-cell} ipython3\n:tags: [parameters]\nipc = len('ab')\n```\n")
    with pytest.raises(ValueError, match=r"ipc = len\('ab'\)"):
        parameters_of(path)


def test_every_notebook_of_the_project_can_be_read() -> None:
    for path in notebooks.list_notebooks():
        parameters = parameters_of(path)
        assert "profile" in parameters, path.name
        assert notebooks.notebook_title(notebooks.read_notebook(path)), path.name


def test_a_notebook_is_found_by_path_or_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / "profiles").mkdir()
    (folder / "03_detection.md").write_text("# Detection\n")
    monkeypatch.chdir(tmp_path)
    for name in ("notebooks/03_detection.md", "03_detection", "detection", "detection.md"):
        assert notebooks.find_notebook(name).name == "03_detection.md"
    with pytest.raises(ValueError, match="did you mean 03_detection"):
        notebooks.find_notebook("detecton")
    with pytest.raises(ValueError, match="'elsewhere/detection' is not there"):
        notebooks.find_notebook("elsewhere/detection")


# -- values -----------------------------------------------------------------------------------


def test_values_are_yaml_of_the_parameters_type(tmp_path: Path) -> None:
    given = values_of(
        notebook(tmp_path),
        "ipc=10", "rate=1e-3", "seeds=0,1,2", "limit=null", "dataset=2025", "shown=false",
        "data_root=",
    )  # fmt: skip
    assert given == {
        "ipc": 10, "rate": 0.001, "seeds": [0, 1, 2], "limit": None, "dataset": "2025",
        "shown": False, "data_root": "",
    }  # fmt: skip
    assert values_of(notebook(tmp_path), "rate=2")["rate"] == 2.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ipcs=3", "'ipcs' is unknown to the notebook; nearest: ipc; expected one of profile, "),
        ("ipc=ten", "'ipc' is 'ten'; expected int"),
        ("ipc=2.5", "'ipc' is 2.5; expected int"),
        ("ipc=true", "'ipc' is True; expected int"),
        ("ipc=null", "'ipc' is None; expected int"),
        ("rate=fast", "'rate' is 'fast'; expected float"),
        ("rate=nan", "'rate' is 'nan'; expected float"),
        ("seeds=3", "'seeds' is 3; expected list of int"),
        ("seeds=[0, x]", r"'seeds' is \[0, 'x'\]; expected list of int"),
        ("limit=[1]", "expected int or null"),
        ("dataset=[a]", r"'dataset' is \['a'\]; expected str"),
        ("ipc", "'ipc'; expected key=value"),
        ("seeds=[0, 1", "expected ',' or '\\]'.*expected YAML, e.g. -p 'seeds="),
        ("seeds={a: 1, a: 2}", "'a' is given twice"),
        ("seeds=[0, 1, 0]", "'seeds' has 0 twice"),
        ("rate=" + "9" * 400, "expected float"),
        ("ipc=" + "9" * 5000, "Exceeds the limit"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values_of(notebook(tmp_path), text)


def test_a_parameter_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'ipc' is given twice"):
        values_of(notebook(tmp_path), "ipc=1", "ipc=2")


def test_values_are_tried_out_as_experiments(tmp_path: Path) -> None:
    quick = load_profile("quick")
    parameters = parameters_of(notebook(tmp_path))
    made = notebooks.check_experiments(parameters, {"ipc": 5, "seeds": [3, 4]}, quick)
    assert [(e.ipc, e.seed, e.data_root) for e in made] == [(5, 3, None), (5, 4, None)]
    for values, message in (
        ({"ipc": 0}, "ipc 0; expected an integer ≥ 1"),
        ({"seeds": [0, -1.5]}, "seed -1.5; expected an integer"),
        ({"dataset": "cifar11"}, "dataset 'cifar11'; expected one of digits, cifar10"),
        ({"dataset": "cifar10", "data_root": str(tmp_path)}, "'cifar10'.*not found under"),
        ({"dataset": "mine", "data_root": str(tmp_path / "no")}, "no such folder"),
    ):
        with pytest.raises(ValueError, match=message):
            notebooks.check_experiments(parameters, values, quick)


def test_another_profile_brings_its_main_experiments(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("groups:\n  main: {dataset: mnist, ipc: [5, 7], seed: [4, 5, 6]}\n")
    parameters = parameters_of(notebook(tmp_path))
    assert notebooks.profile_values(parameters, load_profile(profile)) == {
        "dataset": "mnist", "ipc": 5, "seeds": [4, 5, 6],
    }  # fmt: skip


def test_a_notebook_on_another_method_takes_the_group_of_its_own(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(
        "groups:\n  main: {dataset: mnist, ipc: 5, seed: [4, 5]}\n"
        "  mtt: {dataset: mnist, method: mtt, ipc: 3, seed: [6, 7]}\n"
    )
    parameters = parameters_of(notebook(tmp_path))
    own = {**parameters, "method": replace(parameters["dataset"], name="method", default="mtt")}
    values = notebooks.profile_values(own, load_profile(profile))
    assert values == {"dataset": "mnist", "ipc": 3, "seeds": [6, 7]}


# -- executing --------------------------------------------------------------------------------

CELL = """\
import os, sys
from tqdm import tqdm
for _ in tqdm(range(3)):
    pass
print("careful", file=sys.stderr)
print(ipc, seeds, sys.executable == EXECUTABLE, os.getcwd())
object()"""


def test_two_equal_runs_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from trustdd.store.files import project_root

    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))
    path = notebook(tmp_path, CELL.replace("EXECUTABLE", repr(sys.executable)))
    first = notebooks.execute(path, {"ipc": 3}, tmp_path / "a" / "out.ipynb", progress=False)
    again = notebooks.execute(path, {"ipc": 3}, tmp_path / "b" / "out.ipynb", progress=True)
    assert first.read_bytes() == again.read_bytes()
    made = nbformat.read(first, as_version=4)
    nbformat.validate(made)
    printed = {o.get("name", o.output_type): o for o in made.cells[-1].outputs}
    assert printed["stdout"].text == f"3 [0, 1] True {project_root()}\n"
    assert printed["stderr"].text == "careful\n", "a progress bar is no output"
    assert printed["execute_result"].data["text/plain"] == "<object>"
    assert made.metadata.trustdd.parameters == {"ipc": 3}
    # sockets of two kernels in one folder would be taken for each other's
    assert not list(project_root().glob("kernel*"))
    text = first.read_text()
    assert str(tmp_path) not in text
    assert "papermill" not in text
    assert "JUPYTER_PATH" not in os.environ or "trustdd-run" not in os.environ["JUPYTER_PATH"]


def test_a_failure_keeps_the_last_good_notebook(tmp_path: Path) -> None:
    out = tmp_path / "out.ipynb"
    out.write_text("the last good one")
    path = notebook(tmp_path, "print('before')", "raise KeyError('oops')", "print('after')")
    with pytest.raises(
        notebooks.NotebookFailed, match=r"tiny.md, cell 3: KeyError: 'oops'"
    ) as failure:
        notebooks.execute(path, {}, out, progress=False)
    assert out.read_text() == "the last good one"
    kept = tmp_path / "out.failed.ipynb"
    assert failure.value.partial == kept
    outputs = [o for c in nbformat.read(kept, as_version=4).cells for o in c.get("outputs", [])]
    assert [o.get("ename", o.get("text")) for o in outputs] == ["before\n", "KeyError"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "out.failed.ipynb",
        "out.ipynb",
        "tiny.md",
    ]


def test_a_kernel_that_dies_at_its_start_is_tried_once_more(tmp_path: Path) -> None:
    mark = tmp_path / "died"
    die_once = f"""\
import os, pathlib
mark = pathlib.Path({str(mark)!r})
if not mark.exists():
    mark.touch()
    os._exit(1)"""
    path = tmp_path / "frail.md"
    path.write_text(f"```{{code-cell}} ipython3\n{die_once}\n```\n")
    assert notebooks.execute(path, {}, tmp_path / "out.ipynb", progress=False).is_file()
    path = notebook(tmp_path, "import os; os.write(2, b'out of luck'); os._exit(1)")
    with pytest.raises(notebooks.NotebookFailed, match=r"died in code cell 2: .*out of luck"):
        notebooks.execute(path, {}, tmp_path / "other.ipynb", progress=False)
    assert (tmp_path / "other.failed.ipynb").is_file()


def test_outputs_are_named_by_their_parameters(tmp_path: Path) -> None:
    path = notebook(tmp_path)
    assert notebooks.output_path(path, {}, tmp_path) == tmp_path / "tiny.ipynb"
    one, two = (notebooks.output_path(path, {"ipc": n}, tmp_path).name for n in (3, 4))
    assert one != two
    assert one.startswith("tiny-")


def test_normalising_removes_what_differs_between_runs() -> None:
    cell = nbformat.v4.new_code_cell("x", metadata={"execution": {"iopub.status.idle": "2025"}})
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/plain": "<A at 0x7f12ab> <B>"})]
    made = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {"duration": 1.5}})
    execution.normalise(made, {})
    assert made.cells[0].outputs[0].data["text/plain"] == "<A> <B>"
    assert made.cells[0].metadata == {}
    assert made.cells[0].id == "cell-001"
    assert "papermill" not in made.metadata
