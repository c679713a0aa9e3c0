"""The book as one document: its order, its links, and what is left out on paper."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

import print_book  # noqa: E402

PAGE = """<html><head><title>{name}</title>
<link rel="stylesheet" href="{up}_static/book.css"></head>
<body><nav>left out</nav><article class="bd-article"><h1 id="top">{name}</h1>{body}</article></body>
</html>"""


@pytest.fixture
def html(tmp_path: Path) -> Path:
    pages = {
        "book/index": '<p><a href="../notebooks/one.html#fig01">there</a> <a href="#top">up</a>'
        ' <a href="https://example.org/x.html">out</a></p><button>copy</button>',
        "notebooks/one": '<figure id="fig01"><img src="../_images/fig01.svg"></figure>'
        '<a href="../book/other.html">no page of the contents</a>'
        "<details><summary>code</summary>x</details>",
    }
    for name, body in pages.items():
        path = tmp_path / f"{name}.html"
        path.parent.mkdir(exist_ok=True)
        path.write_text(PAGE.format(name=name, up="../", body=body))
    return tmp_path


def test_pages_come_in_the_order_of_the_sidebar() -> None:
    toc = {
        "root": "book/index",
        "parts": [
            {"chapters": [{"file": "a"}, {"file": "b", "sections": [{"file": "b1"}]}]},
            {"chapters": [{"file": "c"}]},
        ],
    }
    assert list(print_book.pages_in_order(toc)) == ["book/index", "a", "b", "b1", "c"]


def test_links_lead_inside_the_document(html: Path) -> None:
    text = print_book.one_document(html, ["book/index", "notebooks/one"])
    document = BeautifulSoup(text, "html.parser")
    links = {a.get_text(): a["href"] for a in document.select("a")}
    assert links["there"] == "#notebooks-one--fig01"
    assert links["up"] == "#book-index--top"
    assert links["out"] == "https://example.org/x.html"
    assert links["no page of the contents"] == "book/other.html"
    anchors = {element["id"] for element in document.select("[id]")}
    assert {"notebooks-one--fig01", "book-index--top", "notebooks-one--top"} <= anchors
    assert document.select_one("img")["src"] == "_images/fig01.svg"
    assert document.select_one("link")["href"] == "_static/book.css"
    assert not document.select("nav, button")
    assert document.select_one("details").has_attr("open")


def test_a_book_that_is_not_built_is_said(
    html: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toc = tmp_path / "_toc.yml"
    toc.write_text("root: book/index\nparts:\n- chapters:\n  - file: notebooks/two\n")
    words = ["print_book", "--html", str(html), "--toc", str(toc), "--out", str(tmp_path / "b.pdf")]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr(print_book.shutil, "which", lambda name: "/usr/bin/true")
    assert print_book.main() == 2
    assert "notebooks/two not built; run `make book`" in capsys.readouterr().err
    monkeypatch.setattr(print_book.shutil, "which", lambda name: None)
    assert print_book.main() == 2
    assert "no browser; expected one of chromium" in capsys.readouterr().err
