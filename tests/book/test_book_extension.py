"""The book's Sphinx extension, on a book of a few lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nbformat
import pytest
from small_book import RECORD, SVG, Book
from trustdd_book.rooms import chosen, modules_of, write_out_rooms
from trustdd_book.tables import parse_markdown_table


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def test_a_number_is_read_from_the_results_and_read_anew(book: Book) -> None:
    book.write("index.md", "# Page\n\nIt is {result}`main.poe.auroc | .1%`.\n")
    assert book.build() == ""
    assert ">97.1%<" in book.html()
    # a page is written again when the results change, though its own source did not
    book.write("results/quick/numbers.json", json.dumps({"main.poe.auroc": 0.5}))
    assert book.build() == ""
    assert ">50.0%<" in book.html()


def test_a_number_in_a_table_is_formatted_behind_a_comma(book: Book) -> None:
    book.write(
        "index.md", "# Page\n\n| a | b |\n|---|---|\n| {result}`main.poe.auroc, .1%` | x |\n"
    )
    assert book.build() == ""
    assert ">97.1%<" in book.html()


@pytest.mark.parametrize("role", ["result", "numref", "cite:p", "term"])
def test_a_role_that_a_table_cuts_in_two_is_a_warning(book: Book, role: str) -> None:
    book.write("index.md", f"# Page\n\n| a | b |\n|---|---|\n| {{{role}}}`one | two` | x |\n")
    assert f"{{{role}}}`one is shown as it was typed" in book.build()


def test_a_role_in_code_is_no_role(book: Book) -> None:
    book.write("index.md", "# Page\n\n`` {result}`x` ``\n\n```text\n{result}`x | y`\n```\n")
    assert book.build() == ""


def test_a_missing_number_is_a_warning_that_offers_the_nearest(book: Book) -> None:
    book.write("index.md", "# Page\n\nIt is {result}`main.po.auroc`.\n")
    said = book.build()
    assert "result 'main.po.auroc'" in said
    assert "nearest: main.poe.auroc" in said


def test_a_figure_has_the_number_of_its_id_wherever_it_stands(book: Book) -> None:
    book.write(
        "index.md",
        "# Page\n\n{numref}`fig12` and {numref}`tab03`.\n\n"
        "```{catalogue} tab03\n```\n\n```{catalogue} fig12\n```\n",
    )
    assert book.build() == ""
    html = book.html()
    assert re.search(r'<a [^>]*href="#fig12"><span[^>]*>Figure 12</span>', html)
    assert '<span class="caption-number">Figure 12 </span>' in html
    assert '<span class="caption-number">Table 3 </span>' in html
    assert 'alt="A line that rises with IPC."' in html
    # the finding stands in the picture: heard, not shown twice
    assert html.count("More help.") == 1
    assert "Means over seeds." in html


def test_a_figure_is_there_for_light_and_dark_and_for_a_phone(book: Book) -> None:
    paper = '<g id="figure_1"><g id="patch_1"><path d="M 0 0" style="fill: #ffffff"/></g></g>'
    wide = SVG.replace("/>", f'>{paper}<path d="M 1 1" style="fill: #111827"/></svg>')
    book.write("results/quick/figures/fig12.svg", wide)
    book.write("results/quick/figures/fig12-narrow.svg", wide.replace("486pt", "234pt"))
    book.write("index.md", "# Page\n\n```{catalogue} fig12\n```\n")
    assert book.build() == ""
    found = re.findall(
        r'<picture class="in-(\w+)"><source media="\(max-width: 620px\)" srcset="([^"]+)" '
        r'width="367" height="157"><img class="catalogue-image" src="([^"]+)" width="763" '
        r'height="157"',
        book.html(),
    )
    assert [theme for theme, *_ in found] == ["light", "dark"]
    for theme, *sources in found:
        for source in sources:
            drawn = (book.out / source).read_text()
            assert "#ffffff" not in drawn
            assert ("#111827" in drawn) == (theme == "light")


def test_a_figure_without_a_drawing_for_a_phone_is_moved_about(book: Book) -> None:
    book.write("index.md", "# Page\n\n```{catalogue} fig12\n```\n")
    assert book.build() == ""
    assert 'class="catalogue-image only-wide"' in book.html()
    assert "<source" not in book.html()


def test_provenance_is_folded_under_a_figure_with_what_can_be_taken(book: Book) -> None:
    book.write("index.md", "# Page\n\n```{catalogue} fig12\n```\n")
    book.build()
    details = re.search(r"<details>.*?</details>", book.html(), re.DOTALL)
    assert details
    for fact in ("Profile quick", "seeds 0, 1, 2", "0123456789ab", "2024-02-29", "90 s"):
        assert fact in details[0]
    words = re.sub(r"<[^>]+>", "", details[0])
    assert "Make it again: trustdd figure fig12 --profile quick" in words
    links = re.findall(r'href="([^"]+)"', details[0])
    assert sorted(Path(link).suffix for link in links) == [".csv", ".json", ".svg"]
    assert all((book.out / link).is_file() for link in links)


def test_an_echo_is_unnumbered_and_points_home(book: Book) -> None:
    echo = "```{catalogue} fig12\n:echo:\n```"
    toctree = "```{toctree}\nnotebooks/03_detection\n```"
    book.write("index.md", f"# Page\n\n{echo}\n\n{toctree}\n")
    book.write("notebooks/03_detection.md", "# Home\n\n```{catalogue} fig12\n```\n")
    assert book.build() == ""
    assert "caption-number" not in book.html()
    assert 'href="notebooks/03_detection.html#fig12"' in book.html()


def test_an_entry_that_was_not_made_is_a_warning(book: Book) -> None:
    book.write("index.md", "# Page\n\n```{catalogue} fig13\n```\n")
    assert "catalogue entry 'fig13' is not in" in book.build()


def test_a_figure_without_alt_text_is_a_warning(book: Book) -> None:
    book.write("results/quick/figures/fig12.json", json.dumps({**RECORD, "alt": " "}))
    book.write("index.md", "# Page\n\n```{catalogue} fig12\n```\n")
    assert "'fig12' has no alt text" in book.build()


def notebook(cells: list[Any]) -> str:
    built = nbformat.v4.new_notebook(cells=cells)
    built.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    built.metadata["language_info"] = {"name": "python"}
    return nbformat.writes(built)


def code(source: str, *tags: str, **bundle: Any) -> Any:
    outputs = [nbformat.v4.new_output("display_data", data=bundle)] if bundle else []
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}, outputs=outputs)


def test_a_notebook_shows_the_entry_that_it_made_itself(book: Book) -> None:
    variant = {
        **RECORD, "variant": True, "finding": "Another finding", "caption": "Other seeds.",
        "path": "results/quick/variants/0123abcd/fig12.json",
    }  # fmt: skip
    book.write("results/quick/variants/0123abcd/fig12.json", json.dumps(variant))
    book.write("results/quick/variants/0123abcd/fig12.svg", SVG)
    shown = {"application/vnd.trustdd.entry+json": variant, "image/png": "AAAA"}
    title = nbformat.v4.new_markdown_cell("# Page\n\nSee {numref}`fig12`.")
    book.write("notebooks/03_detection.ipynb", notebook([title, code("show()", **shown)]))
    # a notebook whose own page this is not shows it without the number
    book.write("other.ipynb", notebook([title, code("show()", **shown)]))
    book.write("index.md", "# Book\n\n```{toctree}\nnotebooks/03_detection\nother\n```\n")
    assert book.build() == ""
    html = book.html("other")
    assert "caption-number" not in html
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html))
    assert "Figure 12, from other runs. Another finding. Other seeds." in words
    assert 'href="notebooks/03_detection.html#fig12"' in html
    html = book.html("notebooks/03_detection")
    assert '<span class="caption-number">Figure 12 </span>' in html
    assert "Other seeds." in html
    assert "Profile quick (other parameters)" in html
    assert "data:image/png" not in html


def test_a_notebook_shows_pictures_and_frames_that_are_no_entries(book: Book) -> None:
    picture = {"kind": "picture", "svg": SVG, "alt": "A dot.", "caption": "A *dot*."}
    frame = {"kind": "frame", "columns": ["set", "AUROC"], "rows": [["`a`", "1.0"]], "caption": ""}
    mime = "application/vnd.trustdd.entry+json"
    title = nbformat.v4.new_markdown_cell("# Page")
    cells = [title, code("a()", **{mime: picture}), code("b()", **{mime: frame})]
    book.write("index.ipynb", notebook(cells))
    assert book.build() == ""
    html = book.html()
    assert re.search(r'<img[^>]*alt="A dot\."', html)
    assert "A <em>dot</em>." in html
    assert re.search(r"<td[^>]*><p>1\.0</p></td>", html)
    assert "caption-number" not in html


def test_the_box_names_the_command_and_the_values_of_this_run(book: Book) -> None:
    cells = [
        nbformat.v4.new_markdown_cell("# Page"),
        code('profile = "quick"  # whose results\nipc = 2  # images per class\n', "parameters"),
        code("# Parameters\nipc = 5\n", "injected-parameters"),
        nbformat.v4.new_markdown_cell("```{run-this-page}\nipc=10 compared_with=[]\n```"),
    ]
    # what a notebook says of itself is nothing to the pages
    cells[1].metadata |= {"takes": {"ipc": [2, 5]}, "makes": [{}, {"ipc": "2x"}]}
    book.write("notebooks/03_detection.ipynb", notebook(cells))
    book.write("index.md", "# Book\n\n```{toctree}\nnotebooks/03_detection\n```\n")
    assert book.build() == ""
    html = book.html("notebooks/03_detection")
    words = re.sub(r"<[^>]+>", "", html)
    assert "trustdd run notebooks/03_detection.md --profile quick" in words
    assert "-p ipc=10 -p" in words
    rows = re.findall(r"<tr.*?</tr>", html, re.DOTALL)
    row = next(re.sub(r"<[^>]+>", " ", r).split() for r in rows if "images per class" in r)
    assert row == ["ipc", "5", "images", "per", "class"]
    # papermill's cell itself is not shown
    assert "# Parameters" not in words


def test_a_pipe_table_keeps_bars_that_are_escaped() -> None:
    header, rows, right = parse_markdown_table("| a | b |\n| --- | ---: |\n| x \\| y | 1 |\n")
    assert header == ["a", "b"]
    assert rows == [["x \\| y", "1"]]
    assert right == [False, True]
    with pytest.raises(ValueError, match="no Markdown table"):
        parse_markdown_table("no table")


def test_a_table_spans_its_sections_and_groups_its_heads(book: Book) -> None:
    book.write("index.md", "# Page\n\n```{catalogue} tab03\n```\n")
    assert book.build() == ""
    html = book.html()
    assert re.search(r'<th[^>]*colspan="2"[^>]*><p>AUROC</p></th>', html)
    assert re.search(r'<t[dh][^>]*colspan="3"[^>]*><p><em>digits, IPC 2</em></p>', html)
    assert "text_ures" in html
    assert re.search(r"<strong>98\.1</strong> ± 0\.3", html)
    # a head without a group stands beside both rows of heads
    assert re.search(r'<th[^>]*rowspan="2"[^>]*><p>OOD set</p></th>', html)
    assert not re.search(r"<th [^>]*>\s*</th>", html)


def test_a_head_that_is_left_empty_is_heard(book: Book) -> None:
    book.write("index.md", "# Page\n\n| | one | |\n|---|---|---|\n| a | 1 | 2 |\n")
    assert book.build() == ""
    heads = re.findall(r"<th [^>]*>(.*?)</th>", book.html(), re.DOTALL)
    hidden = '<p><span class="heard-only">{}</span></p>'
    assert heads == [hidden.format("row"), "<p>one</p>", hidden.format("column 3")]


def test_every_module_of_the_package_is_on_one_page_of_the_reference() -> None:
    pages = Path(__file__).resolve().parents[2] / "book"
    shown: list[str] = []
    for page in sorted(pages.glob("api_*.md")):
        text = [page.read_text(encoding="utf-8")]
        write_out_rooms(Mock(), page.stem, text)
        assert "{room}" not in text[0], page
        shown += re.findall(r"automodule:: trustdd\.(\S+)", text[0])
    rooms = ["settings", "store", "networks", "data", "students", "distillation", "pipeline",
             "report", "notebooks"]  # fmt: skip
    assert sorted(shown) == sorted(f"{room}.{name}" for room in rooms for name in modules_of(room))


def test_modules_are_chosen_by_name_and_by_folder() -> None:
    names = ["a", "b", "native", "native.one"]
    assert chosen(names, first=["b"], but=["native"]) == ["b", "a"]
    assert chosen(names, only=["native"]) == ["native", "native.one"]
    with pytest.raises(ValueError, match="module 'c'; expected one of a, b, native"):
        chosen(names, but=["c"])
    with pytest.raises(ValueError, match="room 'attic'; expected one of cli, data"):
        modules_of("attic")
