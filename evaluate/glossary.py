"""A glossary: terms of the source language, and the text that their translations must contain.

Terms are found as whole words. A source term without capital letters is found in any case; other terms only as they are
written. Where several terms begin at one word, the longest counts. A target term is written as the glossary has it;
only its first letter may become a capital at the start of a sentence. Words are not inflected.

Many translations have their terms anyway, and stay as they are. Otherwise the model reads the missing target terms
instead of their source terms: it copies most of them, to their places in the sentence. The search enforces them
(`evaluate.decoding.terms`).
"""

import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from common.errors import InputError
from common.input_bytes import input_name
from common.text import name_lines, unify
from common.text_input import read_all_lines
from common.writing_systems import UNSPACED, split_words
from data_pipeline.tokenizers import TranslationTokenizer
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, SPACE_MARK, UNK_ID
from evaluate.decoding.terms import Phrase, Term, WordEnds

Units = tuple[str, ...]
"""Words and single punctuation marks."""
_OPENING = f"{SPACE_MARK}\"'/"
"""Signs after which a word can begin without a space, besides brackets, quotation marks and dashes."""
_FORM = "Give one term per line: source term, tab, target term."


@dataclass(frozen=True)
class Glossary:
    """Pairs of a source term and a target term."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def open(cls, given: "Glossary | str | Path | Iterable[tuple[str, str]]") -> "Glossary":
        """Return a glossary, the one of a file, or one of pairs of terms. Raises as `read` and `from_rows`."""
        if isinstance(given, Glossary):
            return given
        if isinstance(given, str | Path):
            return cls.read(Path(given))
        return cls.from_rows(((f"pair {n}", row) for n, row in enumerate(given, 1)), "the glossary")

    @classmethod
    def read(cls, file: Path) -> "Glossary":
        """Read a file with two columns, source and target term, separated by a tab. Empty lines are ignored.

        Raises FileNotFoundError if there is no such file, and as `from_rows`.
        """
        return cls.from_lines(read_all_lines(file), input_name(file))

    @classmethod
    def from_lines(cls, lines: Iterable[str], name: str) -> "Glossary":
        """Return the glossary of lines with two columns. Empty lines are ignored. Raises as `from_rows`."""
        rows = ((f"line {n}", line.split("\t")) for n, line in enumerate(lines, 1) if line.strip())
        return cls.from_rows(rows, name)

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, object]], name: str) -> "Glossary":
        """Return the glossary of rows, each with its place for messages.

        Raises InputError if there are no rows, if a row has not two terms, or if two rows contradict each other.
        """
        found: dict[str, tuple[str, str]] = {}
        for place, row in rows:
            source, target = _read_row(row, f"{place} of {name}")
            before, earlier = found.setdefault(source, (target, place))
            if before != target:
                raise InputError(
                    f"{place} of {name} translates {source!r} as {target!r}, but {earlier} as {before!r}. Remove one."
                )
        if not found:
            raise InputError(f"{name} has no terms. {_FORM}")
        return cls(tuple((source, target) for source, (target, _) in found.items()))

    def find(self, text: str) -> list[str]:
        """Return the target terms of the source terms in a text, each once."""
        return list(dict.fromkeys(target for _, _, target in self._matches(unify(text))))

    def replace(self, text: str, targets: Collection[str]) -> str:
        """Return the text with these target terms instead of their source terms; the same text if it has none."""
        unified, parts, end = unify(text), [], 0
        for start, stop, target in self._matches(unified) if targets else ():
            if target not in targets:
                continue
            parts += [unified[end:start], target]
            end = stop
        return "".join([*parts, unified[end:]]) if parts else text

    def lost(self, text: str, translation: str) -> list[str]:
        """Return the target terms that a translation of a text lacks."""
        return [target for target in self.find(text) if not has_term(translation, target)]

    def has_word(self, word: str) -> bool:
        """Return True if a source term contains a word, in any case."""
        return word.lower() in self._words

    def _matches(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and target term of each source term in a text, which is unified."""
        if not self.pairs:
            return
        units = split_units(text)
        lower = [unit.lower() for unit in units]
        places, end = [], 0
        for unit in units:
            start = text.index(unit, end)
            end = start + len(unit)
            places.append((start, end))
        at = 0
        while at < len(units):
            length, target = self._longest(units, lower, at)
            if target is not None:
                yield places[at][0], places[at + length - 1][1], target
            at += length

    def _longest(self, units: list[str], lower: list[str], at: int) -> tuple[int, str | None]:
        """Return the number of units of the longest term that begins here, and its target; 1 and None without one."""
        for term, any_case, target in self._index.get(lower[at], ()):
            if tuple((lower if any_case else units)[at : at + len(term)]) == term:
                return len(term), target
        return 1, None

    @cached_property
    def _index(self) -> dict[str, list[tuple[Units, bool, str]]]:
        """Terms by their first unit in small letters: the longest first, then those that need their case."""
        index: dict[str, list[tuple[Units, bool, str]]] = {}
        for source, target in self.pairs:
            units = tuple(split_units(source))
            index.setdefault(units[0].lower(), []).append((units, source == source.lower(), target))
        return {first: sorted(terms, key=lambda term: (-len(term[0]), term[1])) for first, terms in index.items()}

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(unit.lower() for source, _ in self.pairs for unit in split_units(source))


NO_GLOSSARY = Glossary()


def _read_row(row: object, place: str) -> tuple[str, str]:
    if not isinstance(row, list | tuple) or len(row) != 2 or not all(isinstance(cell, str) for cell in row):
        number = len(row) if isinstance(row, list | tuple) else 0
        found = f"has {number} column{'s' * (number != 1)}" if number and number != 2 else f"is {row!r:.40}"
        raise InputError(f"{place} {found}; it must have 2 columns of text. {_FORM}")
    source, target = (" ".join(unify(cell).split()) for cell in row)
    if not (source and target):
        raise InputError(f"{place} has an empty term. {_FORM}")
    return source, target


def split_units(text: str) -> list[str]:
    """Return the words and the single punctuation marks of a text; in a script without spaces, each character."""
    return list(_units(unify(text)))


def _units(text: str) -> Iterator[str]:
    for word in split_words(text):
        if _is_in_word(word[0]) or UNSPACED.match(word):
            yield word
        else:
            yield from word


def has_term(translation: str, target: str) -> bool:
    """Return True if a translation contains a target term as whole words."""
    units, wanted = split_units(translation), split_units(target)
    forms = [wanted]
    if target[0].islower():
        forms.append([wanted[0][0].upper() + wanted[0][1:], *wanted[1:]])
    return any(units[at : at + len(wanted)] in forms for at in range(len(units) - len(wanted) + 1))


def make_term(tokenizer: TranslationTokenizer, target: str) -> Term:
    """Return the tokens of a target term. Raises InputError if the vocabulary cannot write it."""
    target = tokenizer.normalize(target)
    tokens = _encode(tokenizer, target)
    if UNK_ID in tokens or tokenizer.decode([list(tokens)]) != [target]:
        raise InputError(f"the vocabulary of the model cannot write the glossary's term {target!r}. Remove the term.")
    inside = _encode_inside(tokenizer, target)
    if UNSPACED.match(target[0]) and inside:
        phrases = [Phrase(inside), Phrase(tokens, "start")]
    else:
        phrases = [Phrase(tokens), *([Phrase(inside, "outside")] if inside else [])]
    if target[0].islower():
        phrases.append(Phrase(_encode(tokenizer, target[0].upper() + target[1:]), "start"))
    return Term(tuple(phrases), _is_in_word(target[-1]))


def _encode(tokenizer: TranslationTokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode_target([text])[0][:-1])


def _encode_inside(tokenizer: TranslationTokenizer, text: str) -> tuple[int, ...]:
    """Return the tokens of a text that follows another one without a space; () if they are not known."""
    before, both = _encode(tokenizer, "("), _encode(tokenizer, f"({text}")
    return both[len(before) :] if both[: len(before)] == before else ()


def find_word_ends(tokenizer: TranslationTokenizer) -> WordEnds:
    """Return where words begin and end in the tokens of a vocabulary. A part of a character is inside a word."""
    begins, ends = [], []
    for piece in tokenizer.pieces:
        is_byte = len(piece) == 6 and piece.startswith("<0x")
        text = chr(int(piece[3:5], 16)) if is_byte else piece
        part = is_byte and not text.isascii()
        begins.append(not (part or _is_in_word(text[:1])))
        ends.append(
            not part and (text[-1:] in _OPENING or unicodedata.category(text[-1:] or ".") in ("Ps", "Pi", "Pf", "Pd"))
        )
    for token in (PAD_ID, UNK_ID, BOS_ID, EOS_ID):
        begins[token], ends[token] = True, False
    return WordEnds(torch.tensor(begins), torch.tensor(ends))


def _is_in_word(character: str) -> bool:
    """Return True for a character that words consist of, in a script with spaces between words."""
    if not character or character == SPACE_MARK or UNSPACED.match(character):
        return False
    return character.isalnum() or unicodedata.category(character).startswith("M")


def terms_note(lines: list[int]) -> str | None:
    """Return a note about these lines, whose translation lacks terms; None if there are none."""
    if not lines:
        return None
    verb = "lack" if len(lines) > 1 else "lacks"
    return f"the translation of {name_lines(lines)} {verb} terms of the glossary: a term was divided or replaced"
