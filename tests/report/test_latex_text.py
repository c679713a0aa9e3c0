"""Any text becomes LaTeX that compiles: letters pass, what no font has is boxed or spelled."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from trustdd.report import latex
from trustdd.report.latex_text import escape
from trustdd.report.markup import Code, Column, Measured, Section

#: a character of every category, of many scripts
SAMPLE = "".join(
    chr(code) for code in (*range(0x250), *range(0x370, 0x3FF, 5), *range(0x400, 0x1FFFF, 97))
)
NAMES = (
    "café", "naïve façade", "Łódź", "Ærøskøbing", "кошка", "猫 cat", "हिन्दी", "العربية", "ąđŋ",
    "cat 🐱‍👤", "½ ∑ € £ §", "$x_1$ & \\frac{1}{2} %#~^", "\\input{/etc/passwd}", "{", "}", "<b>",
    "[x]", "*", "two\nlines\tand a tab", "nul\0", "a\u0301 and e\u0328",
)  # fmt: skip


def test_letters_pass_and_marks_are_escaped() -> None:
    assert escape("café Łódź ß") == "café Łódź ß"
    assert escape("cafe\u0301") == "café", "composed"
    assert escape("50% & a_b") == r"50\% \& a\_b"
    assert escape("a\nb\tc\u2003d") == "a b c d"
    assert escape("a\0\u200d\ufe0fb") == "ab"


def test_signs_are_spelled_and_other_letters_boxed() -> None:
    assert escape("a 🐱") == "a [cat face]"
    assert escape("🐱") == "{[}cat face]", "behind \\\\ it would be an argument"
    assert escape("*x") == "{*}x"
    assert escape("a\ue000") == "a[U+E000]"
    boxed = escape("猫 кошка")
    assert r"\fbox{\scriptsize U+732B}" in boxed
    assert r"\fbox{\scriptsize U+043A U+043E U+0448 U+043A U+0430}" in boxed, "a word is one box"
    assert "=1 кошка\\else" in boxed, "as it is where engine and font know it"


def test_every_character_has_a_way() -> None:
    for character in SAMPLE:
        text = escape(character)
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        shown = not character.isspace() and unicodedata.category(character)[0] != "C"
        if shown and not "\ufe00" <= character <= "\ufe0f":
            assert text, f"U+{ord(character):04X}"


def document() -> str:
    columns = (Column("set"), Column(NAMES[4], "猫 🐱", True), Column("é"))
    rows: list = [Section(" ".join(NAMES))]
    rows += [(name, Measured(0.5, 0.01, rank=1, clear=True), Code(name)) for name in NAMES]
    return latex.table(columns, rows, " ".join(NAMES), "tab:x")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pdflatex", "xelatex", "lualatex"])
def test_names_and_every_character_compile(engine: str, tmp_path: Path) -> None:
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    text = document().replace(r"\end{table}", r"\end{table}" + "\n\n" + escape(SAMPLE), 1)
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [engine, "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path, capture_output=True,
    )  # fmt: skip
    if engine != "pdflatex" and b"I can't find file" in done.stdout + done.stderr:
        pytest.skip(f"{engine} is not installed as a whole")
    said = [line for line in done.stdout.decode("utf-8", "replace").splitlines() if "!" in line[:1]]
    assert done.returncode == 0, said
    assert (tmp_path / "table.pdf").stat().st_size > 5000


def test_a_figure_shows_dollars_as_they_are() -> None:
    from matplotlib.figure import Figure

    from trustdd.report import style

    with style.applied():
        figure = Figure()
        text = figure.text(0, 0, "$x_1$ costs $2 or \\frac{1}")
        assert not text.get_parse_math()
        assert text.get_window_extent().width > 0
