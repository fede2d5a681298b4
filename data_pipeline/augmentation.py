"""Changed copies of sentence pairs, so that a model accepts capitals, typos and missing full stops (`data.augment_*`).

Upper case, title case and a missing full stop change both sides of a pair; typos change only the source. URLs,
placeholders and markup stay as they are, and so does a script without capitals, such as Chinese or Arabic.
"""

import re
from collections.abc import Callable, Iterator

from data_pipeline.config import DataConfig

TYPO_SHARE = 0.15
"""Share of the words with a typo, in a sentence with typos. It has at least one."""
DOTTED_I = ("tr", "az", "crh")
"""Languages whose capital of "i" is "\u0130"."""
_WORD = re.compile(r"</?\w[^<>]*>|\{[^{}]*\}|\S+")
_FIXED = re.compile(r"[{}<>%$@#_\\=]|://|www\.|\w\.\w\w|&\w+;")
_LETTERS = re.compile(r"\b[^\W\d_]{4,}\b")
_FIRST_LETTER = re.compile("(?<![\\w\u0300-\u036f\u00ad\u200c\u200d])(?<!\\w['\u2019])[^\\W\\d_]")
_STOP = re.compile(r"\s*[.!?\u2026\u3002\uff01\uff1f\u0964\u061f]+$")


class Augmentation:
    """Changes random sentence pairs with the rates of `data.augment_*`."""

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._languages = config.source_lang, config.target_lang

    def change(self, source: str, target: str, random: Iterator[float]) -> tuple[str, str]:
        """Return the pair, perhaps changed. `random` gives numbers from 0 to below 1."""
        config, (case, typos, no_stop) = self._config, (next(random) for _ in range(3))
        if typos < config.augment_typos:
            source = add_typos(source, random)
        if no_stop < config.augment_no_stop:
            source, target = drop_stops(source, target)
        if case < config.augment_upper:
            return self._both(upper_case, source, target)
        if case < config.augment_upper + config.augment_title:
            return self._both(title_case, source, target)
        return source, target

    def _both(self, change: Callable[[str, str], str], source: str, target: str) -> tuple[str, str]:
        return change(source, self._languages[0]), change(target, self._languages[1])


def upper_case(text: str, language: str) -> str:
    """Return the text in capitals."""
    return _change_words(text, lambda word: "".join(_capital(letter, language) for letter in word))


def title_case(text: str, language: str) -> str:
    """Return the text with a capital at the start of each word. Other letters stay, as in "USA"."""
    return _change_words(text, lambda word: _FIRST_LETTER.sub(lambda letter: _title(letter[0], language), word))


def drop_stops(source: str, target: str) -> tuple[str, str]:
    """Return the pair without full stops, question and exclamation marks at the end, if both sides have some."""
    shorter = _STOP.sub("", source), _STOP.sub("", target)
    changed = all(shorter) and shorter[0] != source and shorter[1] != target
    return shorter if changed else (source, target)


def add_typos(text: str, random: Iterator[float]) -> str:
    """Return the text with a letter of some words swapped, dropped, doubled or replaced.

    Only words of at least 4 letters, all with case, have typos. Numbers have none.
    """
    words = list(_words_of_letters(text))
    if not words:
        return text
    chosen = [word for word in words if next(random) < TYPO_SHARE] or [words[int(next(random) * len(words))]]
    letters = "".join(text[start:end] for start, end in words)
    for start, end in reversed(chosen):
        text = text[:start] + _typo(text[start:end], letters, random) + text[end:]
    return text


def _typo(word: str, letters: str, random: Iterator[float]) -> str:
    i, kind = int(next(random) * (len(word) - 1)), int(next(random) * 4)
    a, b = word[i], word[i + 1]
    other = letters[int(next(random) * len(letters))]
    return word[:i] + (b + a, b, a + a + b, other + b)[kind] + word[i + 2 :]


def _words_of_letters(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of the words that can have typos."""
    for word in _WORD.finditer(text):
        if not _FIXED.search(word[0]):
            for found in _LETTERS.finditer(text, *word.span()):
                if all(c.lower() != c.upper() for c in found[0]):
                    yield found.span()


def _change_words(text: str, change: Callable[[str], str]) -> str:
    return _WORD.sub(lambda word: word[0] if _FIXED.search(word[0]) else change(word[0]), text)


def _capital(letter: str, language: str) -> str:
    """Return the capital. Georgian letters have one for Unicode, but `title` does not change them."""
    title = _title(letter, language)
    return title.upper() if title != letter else letter


def _title(letter: str, language: str) -> str:
    return "\u0130" if letter == "i" and re.split("[-_]", language.lower())[0] in DOTTED_I else letter.title()
