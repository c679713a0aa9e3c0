"""Where the staged results of the profile lie, and what the profile is called."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from sphinx.application import Sphinx


@dataclass(frozen=True)
class ShownProfile:
    """The profile whose results the book shows.

    Attributes:
        name: as on the command line.
        title: as shown on pages.
        description: one line on what was shrunk.
        folder: ``results/NAME`` below the book's source, or what would be it.
    """

    name: str
    title: str
    description: str
    folder: Path


def shown_profile(app: Sphinx) -> ShownProfile:
    """Find the one profile whose results are staged below the book's source.

    ``profile.json`` beside ``_config.yml`` names it; without that file the only folder of
    ``results/`` does, and the profile's YAML gives title and description.
    """
    source = Path(app.srcdir)
    note = source / "profile.json"
    if note.is_file():
        facts = json.loads(note.read_text(encoding="utf-8"))
        name = facts["name"]
        return ShownProfile(
            name, facts.get("title") or name, facts.get("description") or "", _folder(source, name)
        )
    found = sorted(p.name for p in (source / "results").glob("*") if p.is_dir())
    if len(found) != 1:
        return ShownProfile("none", "none", "no results are staged", source / "results")
    from trustdd.store.profiles import load_profile

    name = found[0]
    try:
        profile = load_profile(name)
    except ValueError:
        return ShownProfile(name, name, "", _folder(source, name))
    return ShownProfile(name, profile.title, profile.description, _folder(source, name))


def _folder(source: Path, name: str) -> Path:
    return source / "results" / name


def locate(app: Sphinx, recorded: str) -> Path | None:
    """Find a catalogue record that an executed notebook names by the path it was written to.

    The staged copy comes first, since the notebook may have run elsewhere.
    """
    profile = shown_profile(app)
    parts = Path(recorded).parts
    for kind in ("figures", "tables", "variants"):
        if kind in parts:
            staged = profile.folder.joinpath(*parts[parts.index(kind) :])
            if staged.is_file():
                return staged
    for path in (Path(app.srcdir) / recorded, Path(recorded)):
        if path.is_file():
            return path
    return None
