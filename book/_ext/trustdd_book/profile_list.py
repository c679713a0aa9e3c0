"""``{profile-list}``: the profiles there are; ``{profile-note} NAME``: what one of them shrinks."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from trustdd_book.tables import build_table


class ProfileList(SphinxDirective):
    """A table of every profile: its name, what it shrinks, how many experiments it holds."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from trustdd.report.markdown_text import code, escape
        from trustdd.store.profiles import list_profiles, load_profile

        rows = []
        for name in list_profiles():
            profile = load_profile(name)
            self.env.note_dependency(str(profile.path))
            count = len(profile.experiments())
            rows.append([code(name), escape(profile.description), str(count)])
        return [build_table(["profile", "what it covers", "experiments"], rows, self._inline)]

    def _inline(self, text: str) -> list[nodes.Node]:
        parsed, _messages = self.state.inline_text(text, self.lineno)
        return parsed


class ProfileNote(SphinxDirective):
    """A profile's description, in a frame."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the sentence."""
        from trustdd.store.profiles import load_profile

        profile = load_profile(self.arguments[0].strip())
        self.env.note_dependency(str(profile.path))
        name = nodes.strong("", f"Profile {profile.name}: ")
        words = nodes.paragraph("", "", name, nodes.Text(f"{profile.description}."))
        return [nodes.container("", words, classes=["finding"])]


def setup(app: Sphinx) -> None:
    """Register the directives."""
    app.add_directive("profile-list", ProfileList)
    app.add_directive("profile-note", ProfileNote)
