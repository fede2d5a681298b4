"""The built-in English-German corpus: sentences of a small grammar with their correct translations, made on the fly.

A pair is a deterministic function of (split, seed, index); an English sentence has exactly one German translation.

Splits:

train, valid, test   the checksum of the English sentence decides, so they share no sentence, whatever the seed
unseen               sentences with a reserved pair of noun and verb (the noun is subject or object of the verb); about
                     5% of all such pairs are reserved and occur in no other split, though every noun and verb does
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

Split = Literal["train", "valid", "test", "unseen"]
GRAMMAR_VERSION = 1
"""Raise it if the same split and seed would give other pairs. The fingerprint of the data contains it."""
_BLOCK = 500  # pairs that share one random generator: where a range starts, at most so many are drawn in vain


@cache
def is_reserved(noun: Noun, verb: Verb) -> bool:
    """True for the pairs that only the split unseen has."""
    return zlib.crc32(f"{noun.english[0]} {verb.key}".encode()) % 20 == 3


def _has_reserved(sentence: Sentence) -> bool:
    for clause in (sentence.first, sentence.second):
        if isinstance(clause, Clause):
            for nominal in (clause.subject, clause.object, clause.indirect, clause.predicate):
                if isinstance(nominal, NounPhrase) and is_reserved(nominal.noun, clause.verb):
                    return True
    return False


def _split_of(text: str) -> Split:
    share = zlib.crc32(text.encode()) % 20
    return "valid" if share == 0 else "test" if share == 1 else "train"


def _candidates(split: Split, r: random.Random) -> Iterator[tuple[str, Sentence]]:
    """Endless sentences of the split of 4 to 14 English words, with their English."""
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


def generate(split: Split, n: int, seed: int, start: int = 0) -> Iterator[tuple[str, str]]:
    """Yields the pairs start … start + n - 1 of a split as (English, German).

    In train a pair may come again; ranges can be made by several processes. The other splits have no duplicates, for
    which they are always drawn from the beginning.

    Raises ValueError for an unknown split or a negative number.
    """
    if split not in get_args(Split):
        raise InputError(f"The built-in grammar has no split {split!r}; choose one of {', '.join(get_args(Split))}.")
    if n < 0 or start < 0:
        raise InputError(f"The built-in grammar was asked for n={n} pairs from start={start}; neither can be negative.")
    return _train(seed, start, n) if split == "train" else _distinct(split, seed, start, n)


def _distinct(split: Split, seed: int, start: int, n: int) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    candidates = _candidates(split, random.Random(f"{seed} {split}"))
    while len(seen) < start + n:
        text, sentence = next(candidates)
        if text not in seen:
            seen.add(text)
            if len(seen) > start:
                yield text, german(sentence)
