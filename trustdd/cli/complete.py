"""Commands that make runs: one experiment or a grid, or a stage of a profile's runs."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustdd.cli.artefacts import profile_option, stamp_option
from trustdd.settings.errors import BadInput

if TYPE_CHECKING:
    from trustdd.store.profiles import Profile
    from trustdd.store.run import Run


@click.command(
    epilog="\b\nExample:\n  trustdd complete -p dataset=digits -p 'outliers=[none, poe]' -p ipc=5",
    short_help="Distil, train and detect for one experiment or a grid.",
)
@click.option(
    "-p", "--parameter", "assignments", multiple=True, metavar="FIELD=VALUE",
    help="Set a field of the experiment; a list of values makes a grid. May be repeated.",
)  # fmt: skip
@click.option("--all", "whole", is_flag=True, help="Every experiment of the profile's groups.")
@profile_option
def complete(assignments: tuple[str, ...], whole: bool, profile: str) -> None:
    """Distil, train a student and detect OOD inputs; what is done already is not done again.

    Fields that are not given are the profile's. Interrupted, it goes on where it stopped.
    """
    from trustdd.data.inliers import check_inliers
    from trustdd.data.ood import check_ood
    from trustdd.notebooks.parameters import experiment_parameters
    from trustdd.notebooks.values import check_values, parse_assignments
    from trustdd.pipeline.completion import bring_up_to_date
    from trustdd.pipeline.machine import check_machine
    from trustdd.store.profiles import load_profile
    from trustdd.store.run import Run
    from trustdd.store.stages import MAIN_STAGES

    chosen = load_profile(profile)
    if whole and assignments:
        raise BadInput(f"--all and -p {assignments[0]}; expected one of them")
    fields = experiment_parameters()
    given: dict[str, Any] = {}
    for name, value in parse_assignments(assignments, fields).items():
        several = isinstance(value, list) and (name not in fields or fields[name].kind != "list")
        checked = [
            check_values(fields, {name: single}, "an experiment")[name]
            for single in (value if several else [value])
        ]
        given[name] = checked if several else checked[0]
    experiments = chosen.grid(**given) if given else (chosen.experiment(),)
    if whole:
        experiments = chosen.experiments()
    for experiment in experiments:
        check_machine(experiment)
        check_inliers(experiment)
        check_ood(experiment)
    for experiment in experiments:
        run = Run.of(experiment, chosen.name)
        for stage_name in MAIN_STAGES:
            bring_up_to_date(run, stage_name)
        click.echo(run.directory)


@click.command(
    epilog="\b\nExample:\n  trustdd stage distill digits-dsa-poe-ipc2-seed0-1a2b3c4d",
    short_help="Do one stage of a profile's runs (what the workflow calls).",
)
@click.argument("stages", metavar="STAGE[,STAGE]")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@profile_option
@click.option("--progress/--no-progress", default=True, help="Show bars.")
@stamp_option
def stage(
    stages: str, keys: tuple[str, ...], profile: str, progress: bool, stamp: Path | None
) -> None:
    """Do STAGE of a profile's experiments, named by their KEYs.

    Stages are distill, evaluate, course, transfer and detectors, or several of them joined by
    commas. A stage that is stored and was made by the package's present source is not done again.
    """
    from trustdd.pipeline.completion import bring_up_to_date
    from trustdd.store.files import write_json
    from trustdd.store.profiles import load_profile
    from trustdd.store.stages import check_stage

    names = [check_stage(name) for name in stages.split(",")]
    # a stage of its own group is done as that group evaluates
    of_stages = [_runs(load_profile(profile), keys, name) for name in names]
    for of_run in zip(*of_stages, strict=True):
        for name, run in zip(names, of_run, strict=True):
            bring_up_to_date(run, name, progress=progress)
    if stamp is not None:
        # of several stages the first is the job's own; the others are done ahead of theirs
        write_json(stamp, {r.experiment.key: _hashes(r, names[0]) for r in of_stages[0]})


def _hashes(run: Run, stage: str) -> dict[str, str]:
    """Every file that a stage wrote, by its place in the run, and its hash."""
    return {
        f"{place}/{name}": digest
        for place, entry in run.records().items()
        if place.split("-")[0] == stage
        for name, digest in entry["files"].items()
    }


@click.command(
    epilog="\b\nExample:\n  trustdd experts digits-mtt-poe-ipc2-seed0-1a2b3c4d --profile quick",
    short_help="Train the expert trajectories that runs share.",
)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@profile_option
@click.option("--progress/--no-progress", default=True, help="Show a bar.")
@stamp_option
def experts(keys: tuple[str, ...], profile: str, progress: bool, stamp: Path | None) -> None:
    """Train the experts that a profile's runs, named by their KEYs, will be distilled by.

    Distilling trains those that are missing; where several processes distil by the same experts,
    this spares all but one of them the wait. Runs that are finished ask for none, unless
    experts are damaged.
    """
    from trustdd.pipeline.shared_experts import train_for
    from trustdd.store.expert_store import read_manifest
    from trustdd.store.files import write_json
    from trustdd.store.profiles import load_profile

    folder = train_for(_runs(load_profile(profile), keys), progress=progress)
    if folder is not None:
        click.echo(folder)
    if stamp is not None:
        files = read_manifest(folder)["files"] if folder is not None else {}
        write_json(
            stamp, {str(Path(folder or "") / name): digest for name, digest in files.items()}
        )


def _runs(profile: Profile, keys: tuple[str, ...], stage: str = "") -> list[Run]:
    from trustdd.store.run import Run

    known = {e.key: e for e in profile.experiments(stage)}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.3)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise BadInput(f"run '{key}' is not in profile '{profile.name}'{hint}")
    return [Run.of(known[key], profile.name) for key in keys]
