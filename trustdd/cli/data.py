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
    from trustdd import named_data

    for name in download:
        place = named_data.download(name, data_root)
        click.echo(f"{name}: in {place}")
    if download:
        return
    click.echo(f"  {'digits':<14} here     in scikit-learn (embedded)")
    for facts in named_data.NAMED.values():
        place = _place(facts.name, data_root)
        if place:
            click.echo(f"  {facts.name:<14} here     {place}")
        else:
            click.echo(f"  {facts.name:<14} missing  {facts.how_to_get(data_root)}")
    for name in _own_folders(data_root):
        click.echo(f"  {name:<14} here     {data_root / name} (an image folder)")


def _place(name: str, data_root: Path) -> str:
    """Where a named dataset lies, or the empty string."""
    from trustdd import named_data

    if not data_root.is_dir():
        return ""
    facts = named_data.NAMED[name]
    try:
        if "InD" in facts.roles:
            found = [named_data.labelled_split(name, data_root, s) for s in ("train", "test")]
        else:
            found = [named_data.unlabelled_images(name, data_root, "test", "OOD set")]
    except named_data.MissingDataError:
        return ""
    except ValueError as error:
        return f"incomplete: {error}"
    return ", ".join(dict.fromkeys(str(f.directory) for f in found))


def _own_folders(data_root: Path) -> list[str]:
    """Folders of images that are none of the named datasets."""
    from trustdd import named_data
    from trustdd.folders import has_images

    if not data_root.is_dir():
        return []
    places = [place for d in named_data.NAMED.values() for place in (*d.folders, *d.places)]
    known = {Path(place).parts[0] for place in places if Path(place).parts}
    return sorted(
        p.name
        for p in data_root.iterdir()
        if p.is_dir() and p.name not in known and not p.name.startswith(".") and has_images(p)
    )
