"""pyproject.toml, environment.yml, requirements.lock and CITATION.cff say the same."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch"}
CONDA_ONLY = {"make", "pip", "python", "setuptools"}
LOCK_LINE = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; [a-z_]+ == \"[\w.]+\")?")


def project_bounds() -> dict[str, SpecifierSet]:
    """Name → every bound that pyproject.toml puts on it, over its core and its extras."""
    extras = PROJECT["optional-dependencies"].values()
    bounds: dict[str, SpecifierSet] = {}
    for text in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        bounds[name] = bounds.get(name, SpecifierSet()) & requirement.specifier
    return bounds


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def locked() -> dict[str, Version]:
    pins = (Requirement(line) for line in lock_lines())
    return {canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version) for pin in pins}


def conda_bounds() -> dict[str, SpecifierSet]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = [line for line in entries if isinstance(line, str)]
    lines += next(entry["pip"] for entry in entries if isinstance(entry, dict))
    requirements = [Requirement(line) for line in lines if not line.startswith("--")]
    return {
        canonicalize_name(
            CONDA_NAMES.get(requirement.name, requirement.name)
        ): requirement.specifier
        for requirement in requirements
    }


def test_conda_has_what_the_project_asks_for():
    """Same names, and the tightest bound of each."""
    conda = conda_bounds()
    project = project_bounds()
    assert set(conda) - CONDA_ONLY == set(project)
    assert conda["python"] == SpecifierSet(PROJECT["requires-python"])
    for name, wanted in project.items():
        lowest = max(Version(bound.version) for bound in wanted if bound.operator in (">=", "=="))
        others = {str(bound) for bound in wanted if bound.operator != ">="}
        stated = conda[name]
        assert {str(bound) for bound in stated if bound.operator != ">="} == others, name
        floors = [Version(bound.version) for bound in stated if bound.operator in (">=", "==")]
        assert floors == [lowest], name


def test_lock_satisfies_the_project():
    pins = locked()
    for name, wanted in project_bounds().items():
        assert pins[name] in wanted, f"{name} {pins[name]} is outside {wanted}"


def test_lock_names_no_host():
    """Only `name==version` and simple markers: it installs from any index."""
    assert lock_lines() == sorted(lock_lines(), key=lambda line: line.split("==")[0].lower())
    assert [line for line in lock_lines() if not LOCK_LINE.fullmatch(line)] == []
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert "://" not in (ROOT / "package-lock.json").read_text()


def imported(folder: str) -> set[str]:
    """The top-level packages that the Python files below a folder import."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"trustdd"}


def test_what_the_package_imports_is_declared():
    """No dependency is there by luck, because another package happened to bring it."""
    providers = metadata.packages_distributions()
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    undeclared = {
        package
        for package in imported("trustdd")
        if core.isdisjoint(canonicalize_name(name) for name in providers.get(package, [package]))
    }
    assert undeclared == set()


def test_code_runs_on_an_older_torch_than_the_environment():
    """The core asks for 2.11; torch and torchvision of the environment come as a pair."""
    core = {Requirement(line).name: Requirement(line) for line in PROJECT["dependencies"]}
    assert Version("2.11") in core["torch"].specifier
    assert Version("2.13") not in project_bounds()["torch"]
    paired = [Requirement(text) for text in metadata.requires("torchvision") or []]
    torch_wanted = next(requirement for requirement in paired if requirement.name == "torch")
    assert locked()["torch"] in torch_wanted.specifier
    assert Version(metadata.version("torchvision")).release == locked()["torchvision"].release


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == PROJECT["version"] == metadata.version("trustdd")
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == [
        "Ma",
        "Zhu",
        "Cheng",
        "Zhang",
    ]
    assert (paper["volume"], paper["year"], paper["start"]) == (157, 2025, 110875)


def test_changelog_has_the_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert PROJECT["version"] in headings


def fake_python(folder: Path, name: str, *, version: str, has_venv: bool) -> Path:
    """A stand-in for an interpreter, that answers the questions of tools/make_venv.sh."""
    minor = int(version.split(".")[1])
    program = folder / name
    program.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f"  *print*) echo {version} ;;\n"
        f"  *'<= (3, 13)'*) exit {int(not 11 <= minor <= 13)} ;;\n"
        f"  *'< (3, 11)'*) exit {int(minor < 11)} ;;\n"
        f"  *ensurepip*) exit {int(not has_venv)} ;;\n"
        '  *) [ "$2" = venv ] && echo made by $0 ;;\n'
        "esac\n"
    )
    program.chmod(0o755)
    return program


def make_venv(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "tools/make_venv.sh"), str(folder / "venv")],
        env={"PATH": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pythons", "said"),
    [
        ({"python3": ("3.9", True)}, "Python 3.11 or newer is needed; python3 is 3.9"),
        ({}, "Python 3.11 or newer is needed; python3 is not there"),
        ({"python3": ("3.12", False)}, "sudo apt install python3-venv"),
    ],
)
def test_a_machine_that_lacks_something_is_told_what(tmp_path, pythons, said):
    for name, (version, has_venv) in pythons.items():
        fake_python(tmp_path, name, version=version, has_venv=has_venv)
    outcome = make_venv(tmp_path)
    assert outcome.returncode == 1
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": ("3.11", True), "python3.13": ("3.13", True)}, "python3"),
        ({"python3": ("3.9", True), "python3.12": ("3.12", True)}, "python3.12"),
        ({"python3": ("3.12", False), "python3.11": ("3.11", True)}, "python3.11"),
        ({"python3": ("3.14", True), "python3.13": ("3.13", True)}, "python3.13"),
        ({"python3": ("3.14", True)}, "python3"),
    ],
)
def test_a_fitting_python_is_found(tmp_path, pythons, chosen):
    for name, (version, has_venv) in pythons.items():
        fake_python(tmp_path, name, version=version, has_venv=has_venv)
    outcome = make_venv(tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.rstrip().endswith(f"made by {tmp_path / chosen}")


def test_every_make_target_is_explained():
    """`make help` lists every target that a person may call."""
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    listing = subprocess.run(
        ["make", "help"], cwd=ROOT, env=plain, check=True, capture_output=True, text=True
    ).stdout
    assert set(re.findall(r"^  (\w+)", listing, re.MULTILINE)) == set(phony)
