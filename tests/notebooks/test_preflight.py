"""What no notebook can show is refused before a kernel starts, and before a folder is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from trustdd import cli, notebooks
from trustdd.notebooks.budget import published_budget
from trustdd.notebooks.parameters import Makes, read_makes, read_parameters
from trustdd.notebooks.preflight import check_experiments, experts_trained, profile_values
from trustdd.notebooks.source import list_notebooks, read_notebook
from trustdd.notebooks.values import check_values
from trustdd.settings.errors import BadInput
from trustdd.store.files import project_root
from trustdd.store.profiles import load_profile

NOTEBOOK = """\
```{{code-cell}} ipython3
---
tags: [parameters]
{declared}
---
profile = "quick"
method = "dsa"  # how
outliers = "poe"
compared_with = ["none"]
ipc = 2
seeds = [0, 1]
ood = []
```
"""


def declaring(folder: Path, declared: str) -> notebooks.NotebookNode:
    path = folder / "own.md"
    path.write_text(NOTEBOOK.format(declared=declared))
    return read_notebook(path)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of results, which stays so; and no kernel."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setenv("TRUSTDD_RESULTS", str(folder))
    monkeypatch.chdir(project_root())

    def no_kernel(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("trustdd.notebooks.execution.execute", no_kernel)
    yield folder
    assert list(folder.iterdir()) == []


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as leaving:
        cli.main(words)
    out, err = capsys.readouterr()
    assert (leaving.value.code, out) == (2, "")
    assert err.count("\n") == 1, err
    return err


# -- what a notebook declares -----------------------------------------------------------------


def test_a_notebook_says_what_it_takes(tmp_path: Path) -> None:
    takes = (
        "takes: {method: [dc, dsa], compared_with: {of: [none, oe], least: 1}, seeds: {least: 2}}"
    )
    found = read_parameters(declaring(tmp_path, takes))
    assert found["method"].describe() == "one of dc, dsa"
    assert found["compared_with"].describe() == "list of 1 or more of none, oe"
    assert found["seeds"].describe() == "list of 2 or more int"
    assert found["ood"].describe() == "list"
    assert check_values(found, {"method": "dc", "compared_with": ["oe"], "seeds": [4, 5]})
    for values, message in (
        ({"method": "mtt"}, "'method' is 'mtt'; expected one of dc, dsa"),
        (
            {"compared_with": ["poe"]},
            r"'compared_with' is \['poe'\]; expected list of 1 or more of none",
        ),
        ({"compared_with": []}, "expected list of 1 or more of none, oe"),
        ({"seeds": [1]}, "expected list of 2 or more int"),
        ({"seeds": [1, 1]}, "'seeds' has 1 twice"),
    ):
        with pytest.raises(BadInput, match=message):
            check_values(found, values)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("takes: [dc]", "no mapping"),
        ("takes: {methods: [dc]}", "'methods', which is no parameter"),
        ("takes: {method: [dc]}", "holds the default"),
        ("takes: {method: dsa}", "expected a list of values"),
        ("takes: {seeds: {least: 3}}", "holds the default"),
        ("takes: {seeds: {off: [0]}}", "expected a list of values"),
        ("makes: some", "makes 'some'; expected experts, nothing"),
        ("makes: [3]", "expected experts, nothing"),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path: Path, declared: str, message: str) -> None:
    notebook = declaring(tmp_path, declared)
    with pytest.raises(BadInput, match=message):
        read_parameters(notebook)
        read_makes(notebook)


def test_all_that_a_notebook_makes_is_tried_out(tmp_path: Path) -> None:
    notebook = declaring(tmp_path, "makes: [{}, {outliers: none, ipc: 2x}]")
    made = check_experiments(
        read_parameters(notebook), {"seeds": [3]}, load_profile("quick"),
        makes=read_makes(notebook), data=False,
    )  # fmt: skip
    assert [(e.outliers, e.ipc, e.seed) for e in made] == [
        ("poe", 2, 3), ("none", 4, 3), ("none", 2, 3),
    ]  # fmt: skip
    assert read_makes(declaring(tmp_path, "makes: experts")) == Makes("experts")
    assert read_makes(declaring(tmp_path, "takes: {}")) == Makes()


# -- the project's notebooks ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("07 compared_methods=[dsa]", "expected list of 2 or more of"),
        ("07 compared_methods=[dsa,sgd]", "expected list of 2 or more of dc, dsa, dm, mtt"),
        ("07 compared_methods=[dsa,dsa]", "'dsa' twice"),
        ("07 compared_methods=[]", "expected list of 2 or more of"),
        ("07 outlier_modes=[]", "'outlier_modes' is an empty list"),
        ("07 outlier_modes=[poe,poe]", "'poe' twice"),
        ("02 seeds=[]", "'seeds' is an empty list"),
        ("06 seeds=[0,0]", "0 twice"),
        ("03 ood=[gaussian,gaussian]", "'gaussian' twice"),
        ("04 outliers=none", "'outliers' is 'none'; expected one of oe, poe"),
        ("04 compared_with=[none]", "expected list of oe, poe"),
        ("01 outliers=none", "'outliers' is 'none'; expected one of oe, poe"),
        ("02 method=mtt", "'method' is 'mtt'; expected one of dc, dsa"),
        ("05 method=dsa", "'method' is 'dsa'; expected one of mtt"),
        ("06 method=dc", "'method' is 'dc'; expected one of mtt"),
        ("03 method=sgd", "method 'sgd'; expected one of dc, dsa"),
        ("03 dataset=", "dataset ''; expected one of digits"),
        ("02 ipc=0", "ipc 0; expected an integer"),
        ("02 ipc=-3", "ipc -3; expected an integer"),
        # a page that makes sets of twice as many images
        ("04 ipc=100", "ipc 200"),
        ("02 ipc=100000000", "of memory at least"),
        ("05 ipc=10000000000000000000000", "expected an integer"),
        ("02 seeds=[10000000000000000000000]", "expected an integer"),
    ],
)
def test_what_cannot_work_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    number, assignment = words.split(" ")
    (path,) = (p for p in list_notebooks() if p.name.startswith(number))
    assert message in complaint(capsys, "run", str(path), "-p", assignment)


@pytest.mark.parametrize("path", list_notebooks(), ids=lambda path: path.stem)
def test_of_any_list_an_entry_twice_or_none_is_refused_unless_it_says_so(path: Path) -> None:
    notebook = read_notebook(path)
    parameters, profile = read_parameters(notebook), load_profile("quick")
    for name, parameter in parameters.items():
        if parameter.kind != "list":
            continue
        twice = [*parameter.default, *parameter.default[:1]] or ["gaussian", "gaussian"]
        with pytest.raises(BadInput, match=f"'{name}' has .* twice"):
            check_values(parameters, {name: twice})
        if "[] for" not in parameter.help:
            with pytest.raises(BadInput, match=f"'{name}' is"):
                values = check_values(parameters, {name: []})
                check_experiments(parameters, values, profile, data=False)
        else:
            assert check_experiments(parameters, {name: []}, profile, data=False)


@pytest.mark.parametrize("path", list_notebooks(), ids=lambda path: path.stem)
def test_the_books_own_parameters_pass(path: Path) -> None:
    notebook = read_notebook(path)
    parameters, makes = read_parameters(notebook), read_makes(notebook)
    for name in ("quick", "smoke", "cifar10", "mnist", "paper"):
        profile = load_profile(name)
        if name == "mnist" and 5 <= int(path.stem[:2]) <= 6:
            with pytest.raises(BadInput, match="no experiments by mtt"):
                profile_values(parameters, profile)
            continue
        values = check_values(parameters, profile_values(parameters, profile))
        assert check_experiments(parameters, values, profile, makes=makes, data=False)


def test_a_page_on_a_method_that_the_profile_lacks_is_refused_unless_asked_for(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "run", "gradient_matching", "--profile", "imagenette")
    assert "profile 'imagenette' has no experiments by dsa or dc" in said or "by dc or dsa" in said
    parameters = read_parameters(read_notebook(notebooks.find_notebook("gradient_matching")))
    values = profile_values(parameters, load_profile("imagenette"), {"method": "dsa"})
    assert values["dataset"] == "imagenette"


# -- the published budget ---------------------------------------------------------------------


def test_the_published_budget_is_announced_with_its_hours() -> None:
    quick = load_profile("quick")
    cifar = load_profile("cifar10")
    assert published_budget([quick.experiment()], quick) is None
    assert published_budget([quick.experiment(dataset="cifar10")], quick) is None
    foreign = cifar.grid(dataset="mnist", ipc=10, seed=[0, 1])
    said = published_budget(foreign, cifar)
    assert said is not None
    assert "profile 'cifar10' has no settings for 'mnist'" in said
    assert "1000 iterations, students of 1000 epochs" in said
    hours = float(said.split("take about ")[1].split(" hours")[0].replace(",", ""))
    assert hours > 1
    more = published_budget(foreign * 3, cifar)
    assert more is not None
    tripled = float(more.split("take about ")[1].split(" hours")[0].replace(",", ""))
    assert tripled == pytest.approx(3 * hours, 0.1)
    experts = published_budget(cifar.grid(dataset="mnist", method="mtt"), cifar, experts_alone=True)
    assert experts is not None and "100 experts of" in experts


def test_run_announces_it_before_the_kernel_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    monkeypatch.chdir(project_root())
    monkeypatch.setattr("trustdd.notebooks.preflight.check_readiness", lambda experiments: None)
    seen = []

    def execute(path: Path, values: dict, output: Path, **_: object) -> Path:
        seen.append(capsys.readouterr().err)
        return output

    monkeypatch.setattr("trustdd.notebooks.execution.execute", execute)
    for words, expected in (
        (["detection", "-p", "dataset=mnist", "-p", "data_root=data"], True),
        (["detection", "-p", "ipc=1"], False),
        # shows data, and makes nothing
        (["data_and_outliers", "-p", "dataset=mnist", "-p", "data_root=data"], False),
    ):
        with pytest.raises(SystemExit) as leaving:
            cli.main(["run", *words])
        assert leaving.value.code == 0
        assert ("has no settings for 'mnist'" in seen.pop()) is expected


def test_experts_count_as_trained_when_all_are_as_long_as_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from trustdd.store.expert_store import (
        expert_path,
        experts_directory,
        experts_source,
        record_expert,
    )  # fmt: skip
    from trustdd.store.tensors import write_tensors

    monkeypatch.setenv("TRUSTDD_RESULTS", str(tmp_path))
    profile = load_profile("smoke")
    experiment = profile.experiment(method="mtt")
    assert (experiment.experts, experiment.expert_length) == (2, 1)
    folder, source = experts_directory(experiment, tmp_path / "smoke"), experts_source(experiment)

    def trained(index: int, epochs: int) -> bool:
        path = expert_path(folder, index)
        write_tensors(path, {"parameters": torch.zeros(epochs + 1, 3)})
        record_expert(path, 1.0, "cpu", source)
        return experts_trained(experiment, profile)

    assert not experts_trained(experiment, profile)
    assert not trained(0, 1)
    assert not trained(1, 0)
    assert trained(1, 1)


def test_a_report_of_the_benchmark_is_what_hours_come_from() -> None:
    report = json.loads(
        (project_root() / "benchmarks" / "results" / "speed-cpu.json").read_text(encoding="utf-8")
    )
    cifar = load_profile("cifar10")
    said = published_budget([cifar.experiment(dataset="svhn")], cifar)
    assert said is not None and said.endswith(report["machine"]["device"])
