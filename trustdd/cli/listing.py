"""``trustdd list``: what there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from trustdd.settings.errors import BadInput


@click.command(
    "list",
    epilog="\b\nExample:\n  trustdd list notebooks",
    short_help="List notebooks with their parameters, figures, tables, profiles.",
)
@click.argument("kind", default="all", metavar="[notebooks|figures|tables|profiles]")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
def list_command(kind: str, as_json: bool) -> None:
    """List notebooks with their parameters, figures, tables and profiles."""
    if kind != "all" and kind not in LISTS:
        raise BadInput(f"'{kind}'; expected one of {', '.join(LISTS)}, or nothing for all")
    found = {name: LISTS[name]() for name in LISTS if kind in ("all", name)}
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for name, entries in found.items():
        if kind == "all":
            click.secho(name, bold=True)
        for entry in entries:
            _print(entry)
        if kind == "all":
            click.echo()


def _print(entry: dict[str, Any]) -> None:
    click.echo(f"  {entry['name']:<24} {entry['title']}")
    for parameter in entry.get("parameters", ()):
        shown = f"{parameter['name']} = {parameter['default']!r}"
        text = f"{shown:<32} {parameter['type']}"
        text += f"; {parameter['help']}" if parameter["help"] else ""
        click.echo(f"      {text}")


def _notebooks() -> list[dict[str, Any]]:
    from trustdd.notebooks.parameters import read_parameters
    from trustdd.notebooks.source import list_notebooks, notebook_title, read_notebook

    found = []
    for path in list_notebooks():
        notebook = read_notebook(path)
        parameters = [
            {"name": p.name, "type": p.describe(), "default": p.default, "help": p.help}
            for p in read_parameters(notebook).values()
        ]
        title = notebook_title(notebook)
        found.append({"name": path.stem, "title": title, "parameters": parameters})
    return found


def _figures() -> list[dict[str, Any]]:
    from trustdd.report.figures import FIGURES

    return _entries(FIGURES.entries)


def _tables() -> list[dict[str, Any]]:
    from trustdd.report.tables import TABLES

    return _entries(TABLES.entries)


def _entries(entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": e.id, "title": e.title, "groups": list(e.groups), "page": e.page}
        for e in entries.values()
    ]


def _profiles() -> list[dict[str, Any]]:
    from trustdd.store.profiles import list_profiles, load_profile

    found = []
    for name in list_profiles():
        profile = load_profile(name)
        count = len(profile.experiments())
        title = f"{profile.title} ({count} experiments): {profile.description}"
        found.append({"name": name, "title": title, "groups": list(profile.groups)})
    return found


LISTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "notebooks": _notebooks,
    "figures": _figures,
    "tables": _tables,
    "profiles": _profiles,
}
