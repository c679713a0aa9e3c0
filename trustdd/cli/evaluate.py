"""``trustdd evaluate``: accuracy and detection of any distilled set, beside random images'."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from trustdd.cli.sets import PATH, data_root_option, experiment_settings, parameter_option
from trustdd.settings.errors import BadInput


@click.command(
    epilog="""\b
Examples:
  trustdd evaluate set.safetensors -p students=5
  trustdd evaluate set.safetensors --data-root data -p outliers=oe -p 'ood=[textures, photos]'
""",
    short_help="Measure accuracy and detection of a distilled set.",
)
@click.argument("file", metavar="SET", type=PATH)
@data_root_option
@parameter_option
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path),
    help="The folder of tables and figures; beside the set by default.",
)  # fmt: skip
@click.option(
    "--scores/--no-scores", default=True,
    help="DD-Ranking's scores, which train on the whole training set and twice as many students.",
)  # fmt: skip
@click.option(
    "--real-epochs", type=click.IntRange(1), default=30, show_default=True,
    help="Epochs on the whole training set.",
)  # fmt: skip
@click.option("--progress/--no-progress", default=True, help="Show bars.")
def evaluate(
    file: Path,
    data_root: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    scores: bool,
    real_epochs: int,
    progress: bool,
) -> None:
    """Train students on SET and on as many random images, test them, and write the report.

    One protocol for all: labels, augmentation, learning rate and epochs are the set's own, unless
    -p says otherwise; -p students=N makes N replicates; -p outliers=oe, poe or none says which
    outliers are drawn at random beside it. Students are kept: asked again, they are read.
    """
    settings = experiment_settings(assignments)
    students = settings.pop("students", 1)
    outliers = settings.pop("outliers", None)
    if data_root is not None:
        settings["data_root"] = data_root
    if not file.is_file():
        raise BadInput(f"{file}: no such file; expected a set that trustdd import or distill wrote")
    from trustdd.data.inliers import load_inliers
    from trustdd.pipeline.set_evaluation import Protocol, measure
    from trustdd.report.set_report import write_report

    protocol = Protocol(
        settings=settings, students=students, outliers=outliers, scores=scores,
        real_epochs=real_epochs,
    )  # fmt: skip
    found = measure(file, protocol, progress)
    names = load_inliers(next(iter(found.arms.values()))[0].experiment).classes
    folder = output or file.with_name(f"{file.stem}_report")
    command = shlex.join(["trustdd", *sys.argv[1:]])
    written = write_report(found, names, folder, command)
    for name in ("summary", "gains", "classes"):
        made = written["tables"][name]
        click.echo(f"\n{made.finding}")
        click.echo(made.frame.to_string(index=False))
    click.echo(f"\n{len(written['files'])} files in {folder}")
