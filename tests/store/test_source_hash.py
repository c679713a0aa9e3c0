"""What a stage runs is known, and a change of it is seen: of code, not of comments."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trustdd.pipeline import completion
from trustdd.settings.experiment import Experiment
from trustdd.store import source_hash
from trustdd.store.source_hash import c_syntax, module_closure, syntax
from trustdd.store.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / "trustdd" / "networks" / "native"


def test_the_closure_follows_imports_also_inside_functions() -> None:
    found = module_closure(["trustdd.pipeline.work"])
    assert {
        "trustdd.students.detection",
        "trustdd.students.metrics",
        "trustdd.store.run",
        "trustdd.data.outliers",
    } <= {*found}
    assert "trustdd.networks.native.library" in found
    assert not {"trustdd.cli", "trustdd.report.figures", "trustdd.report.results"} & {*found}


def test_the_closure_holds_the_packages_that_modules_lie_in() -> None:
    found = module_closure(["trustdd.networks.native.library"])
    assert {"trustdd", "trustdd.networks", "trustdd.networks.native"} <= {*found}
    assert "trustdd.networks.eager" not in found


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"module 'trustdd.distilation'; expected one of "):
        source_hash.source_hash(["trustdd.distilation"])


@pytest.fixture
def edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, str], None]]:
    """A copy of the package; changes one of its files."""
    copy = tmp_path / "trustdd"
    shutil.copytree(ROOT / "trustdd", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_hash, "FOLDER", copy)
    source_hash._module_hash.cache_clear()

    def change(name: str, old: str, new: str) -> None:
        path = copy / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        source_hash._module_hash.cache_clear()

    yield change
    source_hash._module_hash.cache_clear()


def hashes(**fields: object) -> dict[str, str]:
    return {stage: completion.stage_source(stage, Experiment(**fields)) for stage in STAGES}


def changed(before: dict[str, str], **fields: object) -> set[str]:
    now = hashes(**fields)
    return {stage for stage in STAGES if before[stage] != now[stage]}


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("students/metrics.py", "import ", "import abc\nimport ", {*STAGES} - {"distill"}),
        ("distillation/gradient_matching.py", "import ", "import abc\nimport ", {"distill"}),
        ("students/detectors.py", "import ", "import abc\nimport ", {"detectors"}),
        ("distillation/trajectory_matching.py", "import ", "import abc\nimport ", set()),
        ("data/corruptions.py", "import ", "import abc\nimport ", set()),
        # of packages, what runs before their modules
        ("students/__init__.py", "import ", "import abc\nimport ", {*STAGES}),
        ("__init__.py", "import ", "import abc\nimport ", {*STAGES}),
        ("report/__init__.py", "import ", "import abc\nimport ", set()),
    ],
)
def test_a_stage_is_stale_when_what_it_runs_has_changed(
    edit: Callable[[str, str, str], None], file: str, old: str, new: str, stages: set[str]
) -> None:
    before = hashes()
    edit(file, f"\n{old}", f"\n{new}")
    assert changed(before) == stages


@pytest.mark.parametrize("name", sorted(p.name for p in NATIVE.glob("*.[ch]")))
def test_every_file_of_c_counts(edit: Callable[[str, str, str], None], name: str) -> None:
    before = hashes()
    edit(f"networks/native/{name}", "\n#", "  // a comment\n\n\n#")
    assert changed(before) == set()
    edit(f"networks/native/{name}", "\n#", "\nint another;\n#")
    assert changed(before) == {*STAGES}


def test_what_only_some_experiments_need_counts_for_these(
    edit: Callable[[str, str, str], None],
) -> None:
    cases: dict[str, dict[str, object]] = {
        "poe": {"outliers": "poe"}, "mtt": {"method": "mtt"},
        "full": {"outliers": "poe", "selection": "full"},
    }  # fmt: skip
    before = {name: hashes(**fields) for name, fields in cases.items()}
    edit("data/corruptions.py", "\nimport ", "\nimport abc\nimport ")
    assert changed(before["poe"], **cases["poe"]) == {"distill"}
    assert changed(before["full"], **cases["full"]) == {*STAGES}, "it trains on real outliers"
    assert changed(before["mtt"], **cases["mtt"]) == set()
    edit("distillation/trajectory_matching.py", "\nimport ", "\nimport abc\nimport ")
    assert changed(before["mtt"], **cases["mtt"]) == {"distill"}


def test_what_says_the_same_has_the_same_hash(edit: Callable[[str, str, str], None]) -> None:
    before = hashes()
    copy = source_hash.FOLDER
    for path in copy.rglob("*.py"):
        os.utime(path)
    edit("students/metrics.py", '"""', '"""Other words.')
    edit("students/metrics.py", "\nimport", "\n# a comment\n\n\nimport")
    assert changed(before) == set()


def test_syntax_is_what_python_runs() -> None:
    plain = "def f(x):\n    return x + 1\n"
    same = (
        '"""Text."""\n\ndef f( x ):  # comment\n    """Docs."""\n    return (x +\n            1)\n'
    )
    assert syntax(plain) == syntax(same)
    differing = [
        plain, plain.replace("1", "1.0"), plain.replace("1", "'1'"), plain.replace("x", "y"),
        plain.replace("+ 1", "- 1"), plain.replace("(x)", "(x=None)"), plain.replace("(x)", "(*x)"),
        plain.replace("x + 1", "{**x}"), plain.replace("x + 1", "{None: x}"), "@g\n" + plain,
        plain.replace("def", "async def"), plain.replace("x + 1", "x[:1]"),
        plain.replace("x + 1", "x[1:]"), plain.replace("return x + 1", "'text'\n    return x + 1")
        + "\nf",
    ]  # fmt: skip
    assert len({syntax(source) for source in differing}) == len(differing)


def test_c_syntax_is_what_the_compiler_reads() -> None:
    plain = '#define A 1\nint f(void) { return "// no /* comment" [A]; }\n'
    same = (
        "/* several\n lines */\n#define  A\t1 // one\n\n\n  int f(void)   {\n"
        ' return "// no /* comment" [A]; }'
    ).replace("{\n", "{ ")
    assert c_syntax(plain) == c_syntax(same)
    for other in (plain.replace("A 1", "A 2"), plain.replace("no /*", "no  /*"), plain[1:]):
        assert c_syntax(other) != c_syntax(plain)
    # a directive ends with its line
    assert c_syntax("#define A\n1") != c_syntax("#define A 1")
