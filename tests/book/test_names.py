"""Names and texts that are HTML, Markdown or TeX are shown on the book's pages as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from small_book import RECORD, Book

from trustdd.report import markup
from trustdd.report.markdown_text import code, escape

bs4 = pytest.importorskip("bs4")
jinja2 = pytest.importorskip("jinja2")
markdown_it = pytest.importorskip("markdown_it")

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "<script>hit()</script>", "<img src=x onerror=hit()>", "</td></table><b>bold</b>",
    "**bold** and _slanted_", "`code` | cell", "{numref}`fig12`", "{{profile}}", "$x_1$ & $$y$$",
    "[link](javascript:hit())", "&lt;b&gt; &copy; AT&T", "a\\b \\frac{1}{2}", "~~gone~~ <!x>",
    "café, naïve, Łódź", "кошка 猫 हिन्दी", "cat 🐱‍👤 ½", "two\nlines\tand a tab", "![image](x.png)",
)  # fmt: skip


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_as_it_is(name: str) -> None:
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for text in (escape(name), code(name)):
        html = bs4.BeautifulSoup(parser.render(f"x {text} y"), "html.parser")
        assert {tag.name for tag in html.find_all()} <= {"p", "code"}
        assert flat(html.text) == flat(f"x {name} y")
    columns = (markup.Column("set"), markup.Column(name))
    rows = [(name, markup.Code(name)), markup.Section(name)]
    html = bs4.BeautifulSoup(parser.render(markup.markdown(columns, rows)), "html.parser")
    assert {tag.name for tag in html.find_all()} <= {
        "table", "thead", "tbody", "tr", "th", "td", "code", "em",
    }  # fmt: skip
    cells = [flat(cell.text) for cell in html.find_all(["th", "td"])]
    assert cells == [*map(flat, ("set", name, name, name, name)), ""]
    fragment = bs4.BeautifulSoup(markup.html_table(columns, rows, name, "tab03"), "html.parser")
    assert not fragment.find_all(["script", "img", "b"])
    assert flat(fragment.caption.text) == flat(name)


def test_pages_show_names_and_texts_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = " ".join(NAMES)
    project = tmp_path / "project"
    (project / "profiles").mkdir(parents=True)
    (project / "notebooks").mkdir()
    (project / "profiles" / "quick.yaml").write_text(
        json.dumps({"title": "T", "description": everything, "groups": {}}, ensure_ascii=False)
    )
    monkeypatch.chdir(project)
    book = Book(tmp_path)
    note = {"name": "quick", "title": everything, "description": everything}
    book.write("profile.json", json.dumps(note))
    for kind, entry in (("figure", "fig12"), ("table", "tab03")):
        record = {**RECORD, "kind": kind, "id": entry, "finding": everything, "alt": everything,
                  "caption": f"{everything}. {everything}", "command": everything}  # fmt: skip
        book.write(f"results/quick/{kind}s/{entry}.json", json.dumps(record))
    columns = (markup.Column("set"), markup.Column(everything, everything))
    table = markup.markdown(columns, [(name, markup.Code(name)) for name in NAMES])
    book.write("results/quick/tables/tab03.md", table)
    shows = {
        "application/vnd.trustdd.entry+json": {
            "kind": "frame", "columns": ["set"], "rows": [[code(name)] for name in NAMES],
            "caption": escape(everything),
        }
    }  # fmt: skip
    notebook = {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "id": "a", "source": "# Shown"},
            {"cell_type": "code", "metadata": {}, "id": "b", "source": "1", "execution_count": 1,
             "outputs": [{"output_type": "display_data", "metadata": {}, "data": shows}]},
        ],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "p"},
                     "language_info": {"name": "python", "pygments_lexer": "ipython3"}},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    book.write("shown.ipynb", json.dumps(notebook))
    # a picture's bytes play no part
    book.write("results/quick/figures/fig12.png", "")
    book.write(
        "index.md",
        "# Title\n\n```{toctree}\nshown\n```\n\n```{profile-list}\n```\n\n"
        "```{profile-note} quick\n```\n\n```{catalogue} fig12\n```\n\n```{catalogue} tab03\n```\n\n"
        "```{findings} fig12 tab03\n```\n\n```{gallery}\n```\n",
    )
    assert book.build() == ""
    for page, times in (("index", 8), ("shown", 1)):
        html = bs4.BeautifulSoup(book.html(page), "html.parser")
        body = html.find(attrs={"role": "main"})
        assert body is not None
        assert not body.find_all("script")
        assert not [tag for tag in body.find_all() if any(a.startswith("on") for a in tag.attrs)]
        assert not [a for a in body.find_all("a") if "javascript" in a.get("href", "")]
        for name in NAMES:
            assert flat(body.text).count(flat(name)) >= times, (page, name)


def test_the_banner_shows_a_description_as_it_is() -> None:
    template = jinja2.Environment().from_string(
        (ROOT / "book" / "_templates" / "profile-banner.html").read_text()
    )
    everything = " ".join(NAMES) + "\" onclick='hit()'"
    shown = {"name": everything, "description": everything, "title": everything}
    html = bs4.BeautifulSoup(
        template.render(shown_profile=shown, pathto=lambda page: page), "html.parser"
    )
    assert {tag.name for tag in html.find_all()} == {"div", "a", "span"}
    assert html.a["title"] == everything
    assert set(html.a.attrs) == {"href", "title"}
    assert everything in html.text


def test_a_frame_keeps_names() -> None:
    frame = markup.as_frame((markup.Column("set"),), [(name,) for name in NAMES])
    assert list(frame["set"]) == list(NAMES)
    assert isinstance(frame, pd.DataFrame)
