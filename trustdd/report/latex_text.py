r"""Plain text as LaTeX that every engine compiles, whatever the text holds.

ASCII is escaped; typographic signs become LaTeX's own. Accented Latin letters stay as they are,
since LaTeX reads UTF-8. What pdfTeX's fonts lack is boxed there, by its code points, and printed as
it is where the engine reads Unicode and its font has it (XeTeX, LuaTeX). Signs of no text font are
spelled by name.
"""

from __future__ import annotations

import itertools
import unicodedata

_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "−": "$-$", "–": "--", "—": "---", "×": r"$\times$", "·": r"$\cdot$",
    "λ": r"$\lambda$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "≥": r"$\geq$",
    "≤": r"$\leq$", "≈": r"$\approx$", "Δ": r"$\Delta$", "’": "'", "“": "``", "”": "''",
    "…": r"\ldots{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "\u202f": r"\,", "\u00a0": "~", "²": r"$^2$", "′": "$'$", '"': "''",
}  # fmt: skip
#: categories of what words are made of: letters, marks, digits
_WORDS = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl"))
#: accents that LaTeX puts on any letter, in every font encoding
_ACCENTS = frozenset(map(chr, (0x300, 0x301, 0x302, 0x303, 0x304, 0x306, 0x307, 0x308, 0x30A, 0x30B,
                               0x30C, 0x327)))  # fmt: skip
#: further Latin letters that every font encoding has
_LETTERS = frozenset("ßæœøåłıÆŒØÅŁ")


def escape(text: str) -> str:
    """Escape plain text for LaTeX.

    White space becomes a space; control characters and signs that show nothing, such as those that
    join emoji, are left out.
    """
    composed = unicodedata.normalize("NFC", text)
    escaped = "".join(
        _boxed("".join(run)) if boxed else "".join(map(_printed, run))
        for boxed, run in itertools.groupby(composed, _is_boxed)
    )
    # behind the end of a row these would be read as part of it
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def _printed(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if " " <= character <= "~" or _is_latin(character):
        return character
    if character.isspace():
        return " "
    if _shows_nothing(character):
        return ""
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return f"[{name.lower() if name[:2] != 'U+' else name}]"


def _is_boxed(character: str) -> bool:
    """Tell whether a character is part of a word that pdfTeX has no letters for."""
    if character in _COMMANDS or character.isascii() or _is_latin(character):
        return False
    return unicodedata.category(character) in _WORDS and not _shows_nothing(character)


def _is_latin(character: str) -> bool:
    base, *marks = list(unicodedata.normalize("NFD", character))
    accented = "A" <= base.upper() <= "Z" and len(marks) == 1 and marks[0] in _ACCENTS
    return character in _LETTERS or ("\u00c0" <= character <= "\u017f" and accented)


def _shows_nothing(character: str) -> bool:
    selects_variation = "\ufe00" <= character <= "\ufe0f"
    return selects_variation or unicodedata.category(character) in ("Cc", "Cf", "Cs")


def _boxed(word: str) -> str:
    """A word as it is where the engine reads Unicode and its font has the word's first letter."""
    codes = " ".join(f"U+{ord(character):04X}" for character in word)
    there = rf'\ifdefined\Umathcode\iffontchar\font"{ord(word[0]):X} 1\else0\fi\else0\fi'
    return rf"\ifnum{there}=1 {word}\else\fbox{{\scriptsize {codes}}}\fi{{}}"
