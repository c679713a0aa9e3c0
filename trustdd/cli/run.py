"""``trustdd run``: execute a notebook with other parameters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from trustdd.notebooks.parameters import Makes, Parameter


@click.command(
    epilog="""\b
Examples:
  trustdd run notebooks/03_detection.md -p outliers=oe -p 'seeds=[0, 1, 2]'
  trustdd run gradient_matching -p dataset=cifar10 -p data_root=data -p ipc=10 -o out.ipynb
""",
    short_help="Execute a notebook with your parameters.",
)
@click.argument("notebook")
@click.option(
    "-p", "--parameter", "assignments", multiple=True, metavar="KEY=VALUE",
    help="Set a parameter; the value is YAML. May be repeated.",
)  # fmt: skip
@click.option(
    "-f", "--parameters-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Set the parameters that a YAML file maps to values; -p goes over it.",
)  # fmt: skip
@click.option("--profile", help="Run under this profile; the notebook's own by default.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="Where the executed notebook goes; _build/notebooks/NAME[-HASH].ipynb by default.",
)  # fmt: skip
@click.option("--progress/--no-progress", default=None, help="Show a bar; default: on a terminal.")
def run(
    notebook: str,
    assignments: tuple[str, ...],
    parameters_file: Path | None,
    profile: str | None,
    output: Path | None,
    progress: bool | None,
) -> None:
    """Execute NOTEBOOK, a path or a name, by papermill.

    An unknown or badly typed parameter, an impossible value, or a dataset that is not there is
    refused before anything runs. Paths are taken from the project's folder.
    """
    from trustdd.notebooks.execution import execute, output_path
    from trustdd.notebooks.parameters import read_makes, read_parameters
    from trustdd.notebooks.source import find_notebook, read_notebook
    from trustdd.notebooks.values import check_values, parse_assignments

    path = find_notebook(notebook)
    source = read_notebook(path)
    parameters, makes = read_parameters(source), read_makes(source)
    given = _read_file(parameters_file) if parameters_file else {}
    given |= parse_assignments(assignments, parameters)
    if profile is not None:
        # a name is no path: a folder of this name that happens to be here is not meant
        profile = _seen_from_here(profile) if Path(profile).is_file() else profile
        if given.setdefault("profile", profile) != profile:
            raise BadInput(f"profile '{given['profile']}' and '{profile}'; expected one of them")
        if "profile" not in parameters:
            raise BadInput(f"{path.name} has no parameter 'profile'; expected no --profile")
    values = check_values(parameters, given, path.name)
    if values.get("data_root"):
        values["data_root"] = _seen_from_here(values["data_root"])
    if output is not None and output.suffix != ".ipynb":
        raise BadInput(f"output '{output}'; expected a name that ends in .ipynb")
    values = _under_profile(parameters, makes, values)
    shown = sys.stderr.isatty() if progress is None else progress
    written = execute(path, values, output or output_path(path, values), progress=shown)
    click.echo(written)


def _read_file(path: Path) -> dict[str, Any]:
    from trustdd.store.yaml_files import read_yaml

    content = read_yaml(path)
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected a mapping of parameters to values")
    return dict(content)


def _seen_from_here(path: str) -> str:
    """Let what is there seen from here, and not from the project, mean this one."""
    from trustdd.store.files import project_root

    if (project_root() / path).exists() or not Path(path).exists():
        return path
    return str(Path(path).resolve())


def _under_profile(
    parameters: dict[str, Parameter], makes: Makes, given: dict[str, Any]
) -> dict[str, Any]:
    """Add what the profile sets, and try out what is asked for, in the project's folder."""
    import contextlib

    from trustdd.notebooks.budget import published_budget
    from trustdd.notebooks.preflight import (
        check_experiments,
        experts_trained,
        finished,
        profile_values,
    )
    from trustdd.notebooks.values import changed, check_values
    from trustdd.store.files import project_root
    from trustdd.store.profiles import load_profile

    if "profile" not in parameters:
        return changed(parameters, given)
    with contextlib.chdir(project_root()):
        default = parameters["profile"].default
        profile = load_profile(given.get("profile", default))
        values = given
        if profile.name != default:
            brought = profile_values(parameters, profile, given)
            brought = check_values(parameters, brought, f"a notebook under '{profile.name}'")
            values = {**brought, **given}
        # importing torch to look for data that is known to be there would double a short run
        asked = set(given) - {"profile"}
        experiments = check_experiments(parameters, values, profile, makes=makes, data=bool(asked))
        if makes.what != "nothing":
            experts = makes.what == "experts"
            done = experts_trained if experts else finished
            waiting = [e for e in experiments if not done(e, profile)]
            note = published_budget(waiting, profile, experts)
            if note is not None:
                click.echo(f"trustdd: {note}", err=True)
    return changed(parameters, values)
