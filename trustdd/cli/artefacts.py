"""Commands on stored artefacts: make a figure, a table or numbers again, check what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustdd.cli.selecting import selected, selection_options, style_here, style_option
from trustdd.settings.errors import BadInput, Explained

if TYPE_CHECKING:
    from trustdd.report.catalogue import Catalogue

profile_option = click.option(
    "--profile", default="quick", show_default=True, help="A profile's name, or its .yaml file."
)
stamp_option = click.option(
    "--stamp", type=click.Path(dir_okay=False, path_type=Path), hidden=True,
    help="Write the hashes of what was made to this file (for the workflow).",
)  # fmt: skip
available_option = click.option(
    "--available", is_flag=True, hidden=True,
    help="Leave out what cannot be made from the runs that are there (for the workflow).",
)  # fmt: skip
width_option = click.option("--width", help="Of the figure: column (3.25 in), page, or inches.")
runs_option = click.option(
    "--runs", multiple=True, metavar="RUNS",
    help="Runs in place of the entry's own: a group of the profile, a grid such as "
    "'{ipc: 2, outliers: [none, poe], seed: [0, 1]}', or a run's key. May be repeated.",
)  # fmt: skip


@click.command(
    epilog="""\b
Examples:
  trustdd figure fig02 --profile quick --width column
  trustdd figure fig02 --score energy --ood textures,photos --seeds 0-4 --outliers none,poe
  trustdd figure all --style ieee-column
""",
    short_help="Make figures again from stored runs, in all formats.",
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@profile_option
@selection_options
@style_option
@width_option
@runs_option
@stamp_option
@available_option
def figure(ids: tuple[str, ...], **options: Any) -> None:
    """Make the figures ID... (or `all`) again from stored runs: SVG, PDF, PNG, data, record.

    Nothing is trained; what is not there is named, with the command that makes it. What is selected
    or looks different is a variant of its own, in results/PROFILE/variants.
    """
    from trustdd.report.figures import FIGURES

    _make(FIGURES, ids, **options)


@click.command(
    epilog="""\b
Examples:
  trustdd table tab03 --profile quick
  trustdd table tab03 --metric fpr95_in,aupr_out --score energy
""",
    short_help="Make tables again from stored runs, in all formats.",
)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@profile_option
@selection_options
@style_option
@runs_option
@stamp_option
@available_option
def table(ids: tuple[str, ...], **options: Any) -> None:
    """Make the tables ID... (or `all`) again from stored runs: LaTeX, HTML, Markdown, CSV, record.

    Nothing is trained; what is not there is named, with the command that makes it. What is selected
    or looks different is a variant of its own, in results/PROFILE/variants.
    """
    from trustdd.report.tables import TABLES

    _make(TABLES, ids, **options)


def _make(
    catalogue: Catalogue[Any],
    ids: tuple[str, ...],
    *,
    profile: str,
    style: str | None,
    runs: tuple[str, ...],
    stamp: Path | None,
    available: bool,
    width: str | None = None,
    **choices: Any,
) -> None:
    from trustdd.report.request import runs_of_words
    from trustdd.report.results import MissingArtefacts
    from trustdd.settings.errors import MissingData
    from trustdd.store.files import sha256, write_json
    from trustdd.store.profiles import load_profile

    chosen = load_profile(profile)
    wanted = [catalogue.find(i).id for i in ids if i != "all"]
    held = [i for i, e in catalogue.entries.items() if set(e.groups) <= set(chosen.groups)]
    # the workflow makes the book, whatever style file lies where it runs
    look = style_here(style, book=stamp is not None)
    _warn_of_colours(look)
    given = runs_of_words(chosen, runs) if runs else None
    made: dict[str, str] = {}
    for entry_id in dict.fromkeys([*wanted, *(held if "all" in ids else ())]):
        try:
            shown = catalogue.show(
                entry_id, given, chosen, width=width, style=look, strict=entry_id in wanted,
                **selected(dict(choices)),
            )  # fmt: skip
        except (MissingArtefacts, MissingData) as error:
            if entry_id in wanted and not available:
                raise
            # `all` is all that can be made
            click.echo(f"left out {entry_id}: {error}", err=True)
            continue
        for note in shown.notes:
            click.echo(f"{entry_id}: {note}", err=True)
        for path in shown.files.values():
            made[str(path)] = sha256(path)
            if stamp is None:
                click.echo(path)
    if stamp is not None:
        write_json(stamp, made)


def _warn_of_colours(look: str) -> None:
    from trustdd.report.style import BOOK, check_palette
    from trustdd.report.style_file import read_style

    asked, _ = read_style(look)
    if asked.palette != BOOK.palette:
        for warning in check_palette(asked):
            click.echo(f"style {asked.name}: {warning}", err=True)


@click.command(
    epilog="\b\nExample:\n  trustdd numbers --profile quick",
    short_help="Compute the numbers that the book's prose quotes again.",
)
@profile_option
@stamp_option
@available_option
def numbers(profile: str, stamp: Path | None, available: bool) -> None:
    """Compute the numbers that the book's prose quotes again from stored runs."""
    from trustdd.report.numbers import write_numbers
    from trustdd.report.results import MissingArtefacts
    from trustdd.store.files import sha256, write_json

    made: dict[str, str] = {}
    try:
        path = write_numbers(profile)
        made[str(path)] = sha256(path)
        if stamp is None:
            click.echo(path)
    except MissingArtefacts as error:
        if not available:
            raise
        click.echo(f"left out numbers: {error}", err=True)
    if stamp is not None:
        write_json(stamp, made)


@click.command(
    name="page-data",
    epilog="\b\nExample:\n  trustdd page-data --profile quick",
    short_help="Write what the scripts of the book's pages read.",
)
@profile_option
@stamp_option
def page_data(profile: str, stamp: Path | None) -> None:
    """Write what the scripts of the book's pages read: students, images, confidences.

    What cannot be made of the runs and the data that are there is left out, and said.
    """
    from trustdd.report.page_data import write_page_data
    from trustdd.store.files import sha256, write_json

    written, left_out = write_page_data(profile)
    for name, reason in left_out.items():
        click.echo(f"left out {name}: {reason}", err=True)
    for path in written.values() if stamp is None else ():
        click.echo(path)
    if stamp is not None:
        write_json(stamp, {str(path): sha256(path) for path in written.values()})


@click.command(
    epilog="\b\nExample:\n  trustdd bundle --profile quick -o revision.zip",
    short_help="Pack every figure, table and number into one zip with a manifest.",
)
@profile_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="The zip; results/PROFILE/trustdd-PROFILE.zip by default.",
)  # fmt: skip
def bundle(profile: str, output: Path | None) -> None:
    """Pack what a profile's figures, tables and numbers were exported to, for a paper's revision.

    Nothing is made again; `make bundle` does that first. Two bundles of equal results are equal.
    """
    from trustdd.report.bundle import write_bundle

    if output is not None and output.suffix != ".zip":
        raise BadInput(f"output '{output}'; expected a name that ends in .zip")
    click.echo(write_bundle(profile, output))


@click.command(
    epilog="\b\nExample:\n  trustdd publish --profile cifar10",
    short_help="Reduce a profile's finished runs to what is kept in the repository.",
)
@profile_option
def publish(profile: str) -> None:
    """Reduce a profile's finished runs to what is kept in the repository.

    Reports, curves, manifests, distilled sets and what the catalogue needs stay; students and
    images of data sets are removed, their hashes recorded. Then commit results/PROFILE.
    """
    from trustdd.report.publishing import publish as reduce_to_published

    done = reduce_to_published(profile)
    click.echo(
        f"{len(done.runs)} runs published, {len(done.missing)} not finished; "
        f"{done.size / 2**20:.1f} MiB; kept as made: {', '.join(done.entries) or 'nothing'}"
    )


@click.command(
    epilog="\b\nExample:\n  trustdd verify --profile quick",
    short_help="Check every stored artefact against its record.",
)
@click.option("--profile", help="Only this profile's results.")
def verify(profile: str | None) -> int:
    """Hash every stored file again and compare with what was recorded when it was made.

    Exit status 1 where one is damaged, missing, or in no record; each is named, with what makes it
    again.
    """
    from trustdd.store.files import results_root
    from trustdd.store.verification import verify as verify_folder

    root = results_root()
    names = [profile] if profile else sorted(p.name for p in root.glob("*") if p.is_dir())
    if profile and not (root / profile).is_dir():
        from trustdd.store.profiles import load_profile

        name = load_profile(profile).name
        raise Explained(f"{root / name}: nothing is stored; make book PROFILE={name}")
    found = [verify_folder(root / name) for name in names]
    complaints = [line for each in found for line in each.complaints]
    for complaint in complaints:
        click.echo(complaint, err=True)
    unfinished = sum(each.unfinished for each in found)
    click.echo(
        f"{sum(each.checked for each in found)} files checked, {len(complaints)} damaged, missing "
        "or in no record"
        + (f"; {unfinished} of stages that are not finished" if unfinished else "")
    )
    return 1 if complaints else 0
