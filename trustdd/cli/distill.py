"""``trustdd distill --around SET``: outliers beside a set whose images stay as they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from trustdd.cli.sets import PATH, data_root_option, parameter_option
from trustdd.settings.errors import BadInput


@click.command(
    epilog="""\b
Examples:
  trustdd distill --around set.safetensors -p outliers=poe
  trustdd distill --around set.safetensors -p outliers=oe -p 'seed=[0, 1, 2]' -o with.safetensors
""",
    short_help="Distil outliers around a set whose images stay as they are.",
)
@click.option("--around", metavar="SET", type=PATH, required=True, help="The set.")
@data_root_option
@parameter_option
@click.option(
    "-o", "--output", type=PATH,
    help="The set with its outliers; beside the set, named after them, by default.",
)  # fmt: skip
@click.option(
    "--evaluate/--no-evaluate", "evaluates", default=True,
    help="Test students of the set without outliers, with these, and with random ones.",
)  # fmt: skip
@click.option("--progress/--no-progress", default=True, help="Show bars.")
def distill(
    around: Path,
    data_root: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    evaluates: bool,
    progress: bool,
) -> None:
    """Distil outliers around a set of any method; its images never move, bit for bit.

    What is not set by -p is the set's own, or the published default. With several seeds, each makes
    outliers of its own, and the differences that are printed are paired by seed.
    """
    if not around.is_file():
        raise BadInput(f"--around {around}: no such file; expected a set of ours, see import")
    experiments = _experiments(around, data_root, assignments)
    first = experiments[0]
    target = output or around.with_name(f"{around.stem}-{first.outliers}.safetensors")
    if target.suffix != ".safetensors":
        raise BadInput(f"output '{target}'; expected a name that ends in .safetensors")
    if target.resolve() == around.resolve():
        raise BadInput(f"output '{target}' is the set itself; expected another name")
    from trustdd.data.distilled_set import load_distilled
    from trustdd.data.given import read_given
    from trustdd.data.inliers import check_inliers
    from trustdd.data.ood import check_ood
    from trustdd.pipeline.completion import bring_up_to_date
    from trustdd.pipeline.machine import check_machine
    from trustdd.pipeline.set_evaluation import STORE
    from trustdd.store.run import Run

    for experiment in experiments:
        check_machine(experiment)
        check_inliers(experiment)
        check_ood(experiment)
        read_given(experiment)
    for experiment in experiments:
        run = Run.of(experiment, STORE)
        bring_up_to_date(run, "distill", progress=progress)
        seed = f"-seed{experiment.seed}" if len(experiments) > 1 else ""
        path = target.with_stem(target.stem + seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.path("distilled.safetensors"), path)
        count = load_distilled(path).outliers
        click.echo(f"{path}: {0 if count is None else len(count)} outliers beside {around.name}")
    if evaluates:
        _compare(around, experiments, progress)


def _experiments(around: Path, data_root: str | None, assignments: tuple[str, ...]) -> list[Any]:
    """The experiments that are asked for, one a seed."""
    from trustdd.notebooks.parameters import experiment_parameters
    from trustdd.notebooks.values import check_values, parse_assignments
    from trustdd.settings.experiment import Experiment

    fields = experiment_parameters()
    given = parse_assignments(assignments, fields)
    seeds = given.pop("seed", 0)
    seeds = seeds if isinstance(seeds, list) else [seeds]
    if not seeds or len(set(map(str, seeds))) != len(seeds):
        raise BadInput(f"seed {seeds}; expected one, or several different ones")
    values = check_values(fields, given, "an experiment")
    wrong = sorted({"selection", "given", "given_sha256", "outlier_selection"} & set(values))
    if wrong:
        raise BadInput(f"{', '.join(wrong)} around a set; expected other settings")
    if values.get("outliers", "none") == "none":
        raise BadInput("outliers are to be distilled; expected -p outliers=poe or -p outliers=oe")
    place = {} if data_root is None else {"data_root": data_root}
    return [
        Experiment.from_dict(
            {
                **values, **place, **check_values(fields, {"seed": seed}, "an experiment"),
                "selection": "given", "given": str(around),
            }
        )
        for seed in seeds
    ]  # fmt: skip


def _compare(around: Path, experiments: list[Any], progress: bool) -> None:
    """Print what students of the set reach without outliers, with these, and with random ones."""
    from trustdd.data.distilled_set import load_distilled
    from trustdd.pipeline.arms import OWN, WITH_OWN, WITH_RANDOM
    from trustdd.pipeline.completion import complete
    from trustdd.pipeline.set_evaluation import STORE, MeasuredSet
    from trustdd.report.tables.sets import gains_table, summary_table

    kinds: dict[str, dict[str, Any]] = {
        OWN: {"outliers": "none"}, WITH_OWN: {}, WITH_RANDOM: {"outlier_selection": "random"},
    }  # fmt: skip
    arms = {
        name: tuple(complete(e.but(**changes), STORE, progress) for e in experiments)
        for name, changes in kinds.items()
    }
    strategy = experiments[0].augmentation
    found = MeasuredSet(load_distilled(around), around, arms, None, (strategy, strategy))
    for made in (summary_table(found), gains_table(found)):
        click.echo(f"\n{made.finding}")
        click.echo(made.frame.to_string(index=False))
