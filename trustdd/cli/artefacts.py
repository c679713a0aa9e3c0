"""Commands on stored artefacts: make a run, a figure or a table, and check what is stored."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from trustdd.catalogue import Catalogue
    from trustdd.profiles import Profile
    from trustdd.store import Run

profile_option = click.option(
    "--profile", default="quick", show_default=True, help="A profile's name, or its .yaml file."
)
stamp_option = click.option(
    "--stamp", type=click.Path(dir_okay=False, path_type=Path), hidden=True,
    help="Write the hashes of what was made to this file (for the workflow).",
)  # fmt: skip
width_option = click.option("--width", help="Of the figure: column (3.25 in), page, or inches.")


@click.command(
    epilog="Example: trustdd figure fig02 --profile quick --width column",
    short_help="Make figures again from stored runs, in all formats.",
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@profile_option
@width_option
@stamp_option
def figure(ids: tuple[str, ...], profile: str, width: str | None, stamp: Path | None) -> None:
    """Make the figures ID... (or `all`) again from stored runs: SVG, PDF, PNG, data, record.

    Nothing is trained; what is not there is named, with the command that makes it.
    """
    from trustdd.figures import FIGURES

    _make(FIGURES, ids, profile, stamp, width)


@click.command(
    epilog="Example: trustdd table tab03 --profile quick",
    short_help="Make tables again from stored runs, in all formats.",
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@profile_option
@stamp_option
def table(ids: tuple[str, ...], profile: str, stamp: Path | None) -> None:
    """Make the tables ID... (or `all`) again from stored runs: LaTeX, HTML, Markdown, CSV, record.

    Nothing is trained; what is not there is named, with the command that makes it.
    """
    from trustdd.tables import TABLES

    _make(TABLES, ids, profile, stamp, None)


def _make(
    catalogue: Catalogue[Any],
    ids: tuple[str, ...],
    profile_name: str,
    stamp: Path | None,
    width: str | None,
) -> None:
    from trustdd.profiles import load_profile
    from trustdd.store import sha256, write_json

    profile = load_profile(profile_name)
    wanted = [i for i in ids if i != "all"]
    if "all" in ids:
        wanted = [i for i, e in catalogue.entries.items() if set(e.groups) <= set(profile.groups)]
    for entry_id in wanted:
        catalogue.find(entry_id)
    made: dict[str, str] = {}
    for entry_id in wanted:
        shown = catalogue.show(entry_id, profile=profile, width=width)
        for path in shown.files.values():
            made[str(path)] = sha256(path)
            if stamp is None:
                click.echo(path)
    if stamp is not None:
        write_json(stamp, made)


@click.command(
    epilog="Example: trustdd verify --profile quick",
    short_help="Check every stored artefact against its record.",
)
@click.option("--profile", help="Only this profile's results.")
def verify(profile: str | None) -> int:
    """Hash every stored file again and compare with what was recorded when it was made.

    Exit status 1 where one is damaged or missing; each is named.
    """
    from trustdd.store import results_root

    root = results_root()
    names = [profile] if profile else sorted(p.name for p in root.glob("*") if p.is_dir())
    if profile and not (root / profile).is_dir():
        from trustdd.profiles import load_profile

        name = load_profile(profile).name
        raise RuntimeError(f"{root / name}: nothing is stored; make book PROFILE={name}")
    checked = 0
    complaints: list[str] = []
    for name in names:
        for folder in sorted((root / name).glob("runs/*/")):
            count, found = _verify_run(folder)
            checked, complaints = checked + count, complaints + found
        for record in sorted((root / name).glob("**/*.json")):
            if "runs" not in record.relative_to(root).parts:
                count, found = _verify_record(record)
                checked, complaints = checked + count, complaints + found
    for complaint in complaints:
        click.echo(complaint, err=True)
    click.echo(f"{checked} files checked, {len(complaints)} damaged or missing")
    return 1 if complaints else 0


def _verify_run(folder: Path) -> tuple[int, list[str]]:
    from trustdd.store import Run

    if not any(folder.iterdir()) or (
        not (folder / "manifest.json").is_file() and not (folder / "experiment.json").is_file()
    ):
        return 0, []  # a run that has not finished a stage yet
    try:
        run = Run.open(folder)
        return sum(len(e["files"]) for e in run.manifest().values()), run.verify()
    except ValueError as error:
        return 1, [f"{folder}: {error}"]


def _verify_record(path: Path) -> tuple[int, list[str]]:
    """Check the files that a figure's or table's record names."""
    from trustdd.store import sha256

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, str] = record.get("files", {}) if isinstance(record, dict) else {}
    except ValueError as error:
        return 1, [f"{path}: not readable as JSON ({error})"]
    complaints = []
    for name, expected in files.items():
        file = path.with_name(name)
        if not file.is_file():
            complaints.append(f"{file}: missing (recorded in {path.name})")
        elif sha256(file) != expected:
            complaints.append(f"{file}: changed since it was made")
    return len(files), complaints


@click.command(
    epilog="Example: trustdd complete -p dataset=digits -p 'outliers=[none, poe]' -p ipc=5",
    short_help="Distil, train and detect for one experiment or a grid.",
)
@click.option(
    "-p", "--parameter", "assignments", multiple=True, metavar="FIELD=VALUE",
    help="Set a field of the experiment; a list of values makes a grid. May be repeated.",
)  # fmt: skip
@profile_option
def complete(assignments: tuple[str, ...], profile: str) -> None:
    """Distil, train a student and detect OOD inputs; what is done already is not done again.

    Fields that are not given are the profile's. Interrupted, it goes on where it stopped.
    """
    from trustdd.inliers import check_inliers
    from trustdd.notebooks import check_values, experiment_parameters, parse_assignments
    from trustdd.ood import check_ood
    from trustdd.profiles import load_profile
    from trustdd.stages import STAGES, bring_up_to_date
    from trustdd.store import Run

    chosen = load_profile(profile)
    fields = experiment_parameters()
    given: dict[str, Any] = {}
    for name, value in parse_assignments(assignments, fields).items():
        several = isinstance(value, list) and (name not in fields or fields[name].kind != "list")
        for single in value if several else [value]:
            check_values(fields, {name: single}, "an experiment")
        given[name] = value
    experiments = chosen.grid(**given) if given else (chosen.experiment(),)
    for experiment in experiments:
        check_inliers(experiment)
        check_ood(experiment)
    for experiment in experiments:
        run = Run.of(experiment, chosen.name)
        for stage_name in STAGES:
            bring_up_to_date(run, stage_name)
        click.echo(run.directory)


@click.command(
    epilog="Example: trustdd stage distill digits-dsa-poe-ipc2-seed0-1a2b3c4d --profile quick",
    short_help="Do one stage of a profile's runs (what the workflow calls).",
)
@click.argument("stages", metavar="STAGE[,STAGE]")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@profile_option
@click.option("--keep", is_flag=True, help="Take stored artefacts as they are, whatever made them.")
@click.option("--progress/--no-progress", default=True, help="Show bars.")
@stamp_option
def stage(
    stages: str, keys: tuple[str, ...], profile: str, keep: bool, progress: bool, stamp: Path | None
) -> None:
    """Do STAGE (distill, evaluate, or both) of a profile's experiments, named by their KEYs.

    A stage that is stored and was made by the package's present source is not done again.
    """
    from trustdd.profiles import load_profile
    from trustdd.stages import bring_up_to_date, check_stage
    from trustdd.store import write_json

    names = [check_stage(name) for name in stages.split(",")]
    runs = _runs(load_profile(profile), keys)
    for run in runs:
        for name in names:
            bring_up_to_date(run, name, keep=keep, progress=progress)
    if stamp is not None:
        # of several stages the first is the job's own; the others are done ahead of theirs
        write_json(stamp, {r.experiment.key: r.manifest()[names[0]]["files"] for r in runs})


def _runs(profile: Profile, keys: tuple[str, ...]) -> list[Run]:
    from trustdd.store import Run

    known = {e.key: e for e in profile.experiments()}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"run '{key}' is not in profile '{profile.name}'{hint}")
    return [Run.of(known[key], profile.name) for key in keys]
