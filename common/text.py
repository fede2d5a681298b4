"""Text as people write it: letters, lines, control characters, and one Unicode form of a text."""

import re
import unicodedata
from collections.abc import Iterable

_INVISIBLE_LETTERS = "\u115f\u1160\u3164\uffa0"
"""Fillers of the Korean script. Unicode counts them as letters, but nothing is shown for them."""
_ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff]")
"""Spaces that most people cannot tell from a plain one: no-break, thin, ideographic and zero-width spaces."""
_SURROGATE = re.compile("[\ud800-\udfff]")
UNICODE_RULE = "Unicode NFC, and plain spaces for no-break and zero-width ones"
"""What `unify` does, for messages."""


def compose(text: str) -> str:
    """Return the text in Unicode NFC.

    A lone surrogate becomes U+FFFD: UTF-8 files cannot contain it, but JSON and command lines can.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", replace_surrogates(text))


def unify(text: str) -> str:
    """Return the text in the form in which texts are trained on, translated and compared (`UNICODE_RULE`).

    Two texts that look equal are then equal, whatever program wrote them.
    """
    return text if text.isascii() else _ODD_SPACE.sub(" ", compose(text))


def replace_surrogates(text: str) -> str:
    """Return the text with U+FFFD instead of each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text)


def changed_lines(lines: Iterable[str], first_line: int = 1) -> list[int]:
    """Return the numbers of the lines that `unify` changes."""
    return [number for number, line in enumerate(lines, first_line) if unify(line) != line]


def changed_note(numbers: list[int]) -> str | None:
    """Return a note about the lines with these numbers, which `unify` changes; None if there are none."""
    if not numbers:
        return None
    verb = "were" if len(numbers) > 1 else "was"
    return f"{name_lines(numbers)} {verb} changed for the model: {UNICODE_RULE}"


def unknown_note(numbers: list[int]) -> str | None:
    """Return a note about the lines with these numbers, whose characters a model does not know; None if none."""
    if not numbers:
        return None
    verb = "have" if len(numbers) > 1 else "has"
    return (
        f"{name_lines(numbers)} {verb} characters that the model's vocabulary does not have. "
        "They can be missing in the translation."
    )


def has_letter(text: str) -> bool:
    """Return True if the text has a letter of any script. Digits, punctuation, symbols and emoji are no letters."""
    return any(character.isalpha() and character not in _INVISIBLE_LETTERS for character in text)


def one_line(text: str) -> str:
    """Return the text with a space instead of each line break."""
    return text.replace("\r", " ").replace("\n", " ")


def name_lines(numbers: list[int]) -> str:
    """Return "line 3", or "lines 3, 7" with at most ten numbers."""
    named = ", ".join(map(str, numbers[:10])) + ", …" * (len(numbers) > 10)
    return f"{'lines' if len(numbers) > 1 else 'line'} {named}"


def show_controls(text: str, keep: str = "") -> str:
    """Return text with control characters, which a terminal would obey, as `\\x1b`; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(repr(one)[1:-1] if unicodedata.category(one) == "Cc" and one not in keep else one for one in text)


def is_blank(line: str) -> bool:
    """Return True if a line has only white space, control characters and invisible characters."""
    return all(unicodedata.category(character)[0] in "ZC" for character in line)


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters as it is. Of a longer one, return the beginning and say so."""
    return text if len(text) <= most else f"{text[:most]} […] ({len(text):,} characters)"
