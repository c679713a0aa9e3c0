"""``trustdd data``: which datasets are here, and how to get the others."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  trustdd data --data-root data
  trustdd data --download cifar10 --data-root data
""",
    short_help="Say which datasets are here, and how to get the others.",
)
@click.option(
    "--data-root", type=click.Path(file_okay=False, path_type=Path), default=Path("data"),
    show_default=True, help="The folder that holds datasets.",
)  # fmt: skip
@click.option("--download", metavar="NAME", multiple=True, help="Download this one. Repeatable.")
def data(data_root: Path, download: tuple[str, ...]) -> None:
    """Say which datasets are here, where, and how to get the missing ones.

    digits and its OOD sets are part of the installed libraries and always here. Any folder
    DATA_ROOT/NAME/<split>/<class>/<image> is a dataset, too.
    """
    from trustdd.data.downloads import download as fetch
    from trustdd.data.report import data_report

    for name in download:
        click.echo(f"{name}: under {fetch(name, data_root)}")
    if download:
        return
    for row in data_report(data_root).itertuples():
        if row.present:
            state = f"here     {row.where}, {row.images:,} images"
        elif row.where:
            state = f"damaged  {row.how_to_get}"
        else:
            state = f"missing  {row.how_to_get}"
        click.echo(f"  {row.dataset:<18} {row.role:<15} {state}")
