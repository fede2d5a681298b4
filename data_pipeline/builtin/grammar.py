"""The built-in English-German corpus: sentences of a small grammar with correct translations, generated when needed.

Split, seed and index decide a pair. An English sentence has exactly one German translation.

Splits:

train, valid, test   the checksum of the English sentence decides the split, so with any seed they share no sentence
unseen               sentences with a reserved pair of noun and verb (the noun is subject or object of the verb). About
                     5% of all such pairs are reserved. They occur in no other split, but each noun and verb does.
"""

import random
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Literal, get_args

from common.errors import InputError
from data_pipeline.builtin.clauses import Clause, NounPhrase, Sentence, english, german
from data_pipeline.builtin.families import draw
from data_pipeline.builtin.lexicon import Noun, Verb

GrammarSplit = Literal["train", "valid", "test", "unseen"]
GRAMMAR_VERSION = 1
"""Raise this number if the same split and seed give other pairs. The fingerprint of the data contains it."""
_BLOCK = 500  # pairs that share one random generator; a range may have to draw as many before its first


@cache
def is_reserved(noun: Noun, verb: Verb) -> bool:
    """Return True for the pairs that occur only in the split unseen."""
    return zlib.crc32(f"{noun.english[0]} {verb.key}".encode()) % 20 == 3


def _has_reserved(sentence: Sentence) -> bool:
    for clause in (sentence.first, sentence.second):
        if isinstance(clause, Clause):
            for nominal in (clause.subject, clause.object, clause.indirect, clause.predicate):
                if isinstance(nominal, NounPhrase) and is_reserved(nominal.noun, clause.verb):
                    return True
    return False


def _split_of(text: str) -> GrammarSplit:
    share = zlib.crc32(text.encode()) % 20
    return "valid" if share == 0 else "test" if share == 1 else "train"


def _candidates(split: GrammarSplit, r: random.Random) -> Iterator[tuple[str, Sentence]]:
    """Yield sentences of the split with 4 to 14 English words, and their English text, without end."""
    while True:
        sentence = draw(r.random)
        if _has_reserved(sentence) != (split == "unseen"):
            continue
        text = english(sentence)
        if not 4 <= text.count(" ") + 1 <= 14:
            continue
        if split == "unseen" or _split_of(text) == split:
            yield text, sentence


def _train(seed: int, start: int, n: int) -> Iterator[tuple[str, str]]:
    for block in range(start // _BLOCK, -(-(start + n) // _BLOCK)):
        candidates = _candidates("train", random.Random(f"{seed} train {block}"))
        for index in range(block * _BLOCK, min((block + 1) * _BLOCK, start + n)):
            text, sentence = next(candidates)
            if index >= start:
                yield text, german(sentence)


def generate(split: GrammarSplit, n: int, seed: int, start: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the pairs start to start + n - 1 of a split as (English, German).

    In train, a pair may occur several times, and several processes can generate different ranges. The other splits
    have no duplicates. Therefore they are always drawn from the first pair on.

    Raises InputError for an unknown split and a negative `n` or `start`.
    """
    if split not in get_args(GrammarSplit):
        raise InputError(
            f"the built-in grammar has no split {split!r}. Choose one of {', '.join(get_args(GrammarSplit))}."
        )
    if n < 0 or start < 0:
        raise InputError(f"the built-in grammar needs n and start of at least 0, not n={n} and start={start}")
    return _train(seed, start, n) if split == "train" else _distinct(split, seed, start, n)


def _distinct(split: GrammarSplit, seed: int, start: int, n: int) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    candidates = _candidates(split, random.Random(f"{seed} {split}"))
    while len(seen) < start + n:
        text, sentence = next(candidates)
        if text not in seen:
            seen.add(text)
            if len(seen) > start:
                yield text, german(sentence)
