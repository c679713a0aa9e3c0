"""The command line: one line for an error, the right exit status, and no waiting for --help."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest

from trustdd.cli import cli, main
from trustdd.settings.experiment import Experiment
from trustdd.store.profiles import load_profile
from trustdd.store.provenance import processor
from trustdd.store.run import Run

NOTEBOOK = """\
# Tiny

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
dataset = "digits"
data_root = ""
ipc = 2
ood = []
```
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one notebook and one profile, with the working directory in it."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_tiny.md").write_text(NOTEBOOK)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "quick.yaml").write_text(
        "title: Quick\nsettings:\n  digits: {iterations: 1}\n"
        "groups:\n  main: {dataset: digits, outliers: [none, poe], seed: [0, 1]}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRUSTDD_RESULTS", raising=False)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    out, err = capsys.readouterr()
    return int(leaving.value.code or 0), out, err


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a refusal."""
    status, out, err = call(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith("trustdd: ")
    assert err.count("\n") == 1, err
    return err


def test_help_needs_nothing_heavy() -> None:
    heavy = ("torch", "pandas", "numpy", "snakemake", "papermill", "jupytext", "yaml", "matplotlib")
    probe = f"""
import sys
from trustdd.cli import main
try:
    main(["--help"])
except SystemExit:
    print([name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "run " in done.stdout


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("3", "3")])
def test_commands_compute_on_as_many_threads_as_the_workflow(
    given: str | None, threads: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from snakemake.shell import shell as snakemake_shell

    import trustdd.cli as package

    for name in package.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        assert name in inspect.getsource(snakemake_shell), "Snakemake sets it"
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    seen = {}

    @click.command()
    def looking() -> None:
        seen.update({name: os.environ.get(name) for name in package.THREAD_VARIABLES})

    monkeypatch.setitem(cli.commands, "looking", looking)
    assert call(capsys, "looking")[0] == 0
    assert set(seen.values()) == {threads}
    assert [n for n in package.THREAD_VARIABLES if n in os.environ] == (
        [] if given is None else ["OMP_NUM_THREADS"]
    )


def test_a_result_records_threads_compiler_and_processor(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `complete` makes in a process of its own, and the bytes of one thread."""
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    words = ("complete", "-p", "width=4", "-p", "training_epochs=1", "-p", "ood=[gaussian]",
             "-p", "ood_limit=50", "-p", "outer_loops=2")  # fmt: skip
    made = []
    for threads in ({}, {"OMP_NUM_THREADS": "1"}):
        root = project / f"results-{len(made)}"
        done = subprocess.run(
            [sys.executable, "-m", "trustdd", *words], cwd=project, capture_output=True, text=True,
            env={**environment, **threads, "TRUSTDD_RESULTS": str(root)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        run = Run.open(Path(done.stdout.strip()))
        record = run.manifest()["distill"]
        assert record["threads"] == 1
        assert record["compiler"]
        assert processor() in record["machine"]
        made.append(run.path("distilled.safetensors").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_explains_itself_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert f"trustdd {name} " in out.partition("Example")[2]


def test_bad_words_are_refused_with_the_nearest(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Did you mean 'list'" in refused(capsys, "lst")
    assert "Did you mean '--profile'" in refused(capsys, "verify", "--profle", "quick")
    assert "did you mean 01_tiny" in refused(capsys, "run", "tny")
    assert "did you mean quick" in refused(capsys, "run", "tiny", "--profile", "quik")
    assert "fig02" in refused(capsys, "figure", "fig2").split(";")[1]
    assert "tab03" in refused(capsys, "table", "tab3").split(";")[1]
    assert "expected one of notebooks, figures, tables, profiles" in refused(capsys, "list", "x")
    assert "stage 'distil'; expected one of distill, evaluate" in refused(
        capsys, "stage", "distil", "x"
    )
    key = Experiment(iterations=1, outliers="poe").key
    assert f"did you mean {key}" in refused(capsys, "stage", "distill", key[:-1])
    assert "nearest: outliers" in refused(capsys, "complete", "-p", "outlier=poe")
    assert "ipc 0; expected an integer" in refused(capsys, "complete", "-p", "ipc=[1, 0]")


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("pic=1", "'pic' is unknown to 01_tiny.md; nearest: ipc; expected one of profile, "),
        ("ipc=ten", "'ipc' is 'ten'; expected int"),
        ("ipc=0", "ipc 0; expected an integer ≥ 1"),
        ("dataset=cifar11", "dataset 'cifar11'; expected one of digits, cifar10, "),
        ("dataset=cifar10", "dataset 'cifar10': needs data_root"),
        ("ood=[nothing]", "nothing"),
    ],
)
def test_a_notebook_is_refused_before_any_kernel(
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    assignment: str,
    message: str,
) -> None:
    def no_kernel(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("trustdd.notebooks.execution.execute", no_kernel)
    assert message in refused(capsys, "run", "tiny", "-p", assignment)


def test_what_run_hands_to_the_notebook(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "profiles" / "other.yaml").write_text(
        "groups:\n  main: {dataset: digits, ipc: 3, seed: [0]}\n"
    )
    (project / "values.yaml").write_text("ipc: 4\n")
    handed = {}

    def execute(path: Path, values: dict, output: Path, **_: object) -> Path:
        handed[path.name] = values
        return output

    monkeypatch.setattr("trustdd.notebooks.execution.execute", execute)
    build = project / "_build" / "notebooks"
    for words, expected in (
        ((), {}),
        (("-p", "ipc=2"), {}),
        (("-p", "ipc=7"), {"ipc": 7}),
        (("-f", "values.yaml"), {"ipc": 4}),
        (("-f", "values.yaml", "-p", "ipc=5"), {"ipc": 5}),
        (("--profile", "other"), {"profile": "other", "ipc": 3}),
        # the notebook's own default, asked for by name, is not overruled by the profile
        (("--profile", "other", "-p", "ipc=2"), {"profile": "other"}),
    ):
        status, out, _ = call(capsys, "run", "tiny", *words)
        assert status == 0
        assert handed["01_tiny.md"] == expected
        assert Path(out.strip()).parent == build
        assert (Path(out.strip()).name == "01_tiny.ipynb") == (expected == {})
    assert "ends in .ipynb" in refused(capsys, "run", "tiny", "-o", "out.html")


def test_a_failing_notebook_exits_with_one(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trustdd.notebooks import NotebookFailed

    def execute(*_: object, **__: object) -> Path:
        raise NotebookFailed("cell 3: KeyError: 'a\nb'", None)

    monkeypatch.setattr("trustdd.notebooks.execution.execute", execute)
    assert call(capsys, "run", "tiny") == (1, "", "trustdd: cell 3: KeyError: 'a b'\n")


def test_list_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "list", "--json")
    found = json.loads(out)
    assert status == 0
    assert list(found) == ["notebooks", "figures", "tables", "profiles"]
    (tiny,) = found["notebooks"]
    assert (tiny["name"], tiny["title"]) == ("01_tiny", "Tiny")
    assert {"name": "ipc", "type": "int", "default": 2, "help": ""} in tiny["parameters"]
    assert "fig02" in [entry["name"] for entry in found["figures"]]
    assert found["profiles"][0]["groups"] == ["main"]
    shown = call(capsys, "list", "profiles")[1]
    assert "4 experiments" in shown


def test_verify_names_what_is_damaged(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.of(Experiment(), "quick")
    run.write_frame("curves.csv", pd.DataFrame({"iteration": [1]}))
    run.record("distill", ["curves.csv"], 1.0)
    run.part("evaluate").write_frame("report.csv", pd.DataFrame({"auroc": [0.5]}))
    run.record("evaluate", ["report.csv"], 1.0)
    from trustdd.store.files import sha256
    from trustdd.store.records import write_record

    figures = project / "results" / "quick" / "figures"
    figures.mkdir()
    for name in ("fig02.svg", "fig03.svg"):
        (figures / name).write_text("<svg/>")
    again = {"command": "trustdd figure fig02 --profile quick"}
    bad = {"files": {"fig02.svg": "0" * 64, "fig02.pdf": "0" * 64}, **again}
    write_record(figures / "fig02.json", bad)
    write_record(figures / "fig03.json", {"files": {"fig03.svg": sha256(figures / "fig03.svg")}})
    status, out, err = call(capsys, "verify", "--profile", "quick")
    assert status == 1
    # of the run two manifests, a report, curves and its settings; of the figures two records
    assert out == "10 files checked, 2 damaged, missing or in no record\n"
    assert "fig02.svg: changed since it was recorded; make it again with: trustdd figure" in err
    assert "fig02.pdf: missing" in err
    for path in figures.glob("fig02.*"):
        path.unlink()
    assert call(capsys, "verify")[0] == 0
    report = run.path("report.csv")
    report.write_text("auroc\n0.9\n")
    run.path("curves.csv").unlink()
    (project / "results" / "quick" / "notes.txt").write_text("mine")
    status, _, err = call(capsys, "verify")
    assert status == 1
    key = run.experiment.key
    assert (
        f"report.csv: changed since it was recorded; make it again with: trustdd stage "
        f"evaluate {key} --profile quick" in err
    )
    assert "curves.csv: missing" in err
    assert "notes.txt: in no record" in err


def test_a_figure_of_missing_runs_names_the_command_that_makes_them(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = call(capsys, "figure", "fig02")
    assert (status, out) == (1, "")
    assert "make book PROFILE=quick" in err
    assert err.count("\n") == 1


def test_complete_makes_a_grid(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "trustdd.pipeline.completion.bring_up_to_date",
        lambda run, stage: made.append((run.experiment, stage)),
    )
    words = ("-p", "outliers=[none, poe]", "-p", "training_lr=1e-2", "-p", "ood=[gaussian]")
    status, out, _ = call(capsys, "complete", *words)
    assert status == 0
    assert len(out.splitlines()) == 2
    assert [(e.outliers, e.training_lr, e.ood, e.iterations, s) for e, s in made] == [
        (mode, 0.01, ("gaussian",), 1, stage)
        for mode in ("none", "poe")
        for stage in ("distill", "evaluate")
    ]


def test_complete_all_makes_a_profiles_experiments(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(
        "trustdd.pipeline.completion.bring_up_to_date",
        lambda run, stage: made.append(run.experiment.key),
    )
    status, out, _ = call(capsys, "complete", "--all")
    assert status == 0
    expected = [e.key for e in load_profile("quick").experiments()]
    assert list(dict.fromkeys(made)) == expected
    assert [Path(line).name for line in out.splitlines()] == expected
    status, _, err = call(capsys, "complete", "--all", "-p", "ipc=5")
    assert status == 2
    assert "--all and -p ipc=5; expected one of them" in err
