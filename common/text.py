"""Text as people write it: letters and lines."""

_INVISIBLE_LETTERS = "\u115f\u1160\u3164\uffa0"
"""Fillers of the Korean script. Unicode counts them as letters, but nothing is shown for them."""


def has_letter(text: str) -> bool:
    """Return True if the text has a letter of any script. Digits, punctuation, symbols and emoji are no letters."""
    return any(character.isalpha() and character not in _INVISIBLE_LETTERS for character in text)


def one_line(text: str) -> str:
    """Return the text with a space instead of each line break."""
    return text.replace("\r", " ").replace("\n", " ")
