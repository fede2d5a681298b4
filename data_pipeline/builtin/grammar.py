"""The built-in English-German corpus: sentences of a small grammar with their correct translations, made on the fly.

A pair is a deterministic function of (split, seed, index); an English sentence has exactly one German translation.

Splits:

train, valid, test   the checksum of the English sentence decides, so they share no sentence, whatever the seed
unseen               sentences with a reserved pair of noun and verb (the noun is subject or object of the verb); about
                     5% of all such pairs are reserved and occur in no other split, though every noun and verb does
"""

import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Literal, get_args

from common.errors import InputError
from data_pipeline.builtin.clauses import (
    DETERMINERS,
    IT,
    LINKS,
    PREPOSITIONS,
    Clause,
    NounPhrase,
    Sentence,
    english,
    german,
)
from data_pipeline.builtin.families import draw
from data_pipeline.builtin.lexicon import ACCUSATIVE, ADJECTIVES, NOMINATIVE, NOUNS, VERBS, Noun, Verb

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


@cache
def _singular_nouns() -> dict[str, Noun]:
    return {noun.english[0]: noun for noun in NOUNS.values() if "person" not in noun.classes}


_FUNCTION_WORDS = """i me you he him she her we us they them it am is are was were do does did has have can cannot could
    not too very quite really fast slowly where . ?"""


@cache
def _vocabulary() -> frozenset[str]:
    """Lower-case English words of the sentences with "it"."""
    words = {form for noun in NOUNS.values() for form in noun.english}
    words |= {form for verb in VERBS.values() for form in (verb.base, verb.third, verb.past, verb.participle)}
    words |= {verb.particle for verb in VERBS.values()} | set(ADJECTIVES)
    phrases = [*DETERMINERS, "an", *PREPOSITIONS, *LINKS, _FUNCTION_WORDS]
    return frozenset(words | {word for phrase in phrases for word in phrase.lower().split()})


_GENDERED = ("er", "ihn", "ihm", "sie", "es")
_OTHERS = {"he": "er", "she": "sie", "they": "sie", "them": "sie"}
_BEFORE_SUBJECT = frozenset(["and", "but", "because", "although", ".", "?"])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[.?]", text.lower())


def _expected(source: str) -> tuple[str, Counter[str]] | None:
    """The German form that "it" must get, and all gendered pronouns of the translation; None if no noun decides."""
    words = _words(source)
    if words.count("it") != 1 or not _vocabulary().issuperset(words):
        return None
    at = words.index("it")
    noun = next((_singular_nouns()[word] for word in words[:at] if word in _singular_nouns()), None)
    if noun is None:
        return None
    case = NOMINATIVE if words[at - 1] in _BEFORE_SUBJECT else ACCUSATIVE
    form = IT[noun.gender].german[case]
    counts = Counter(_OTHERS[word] for word in words if word in _OTHERS)
    counts.update([form, *("ihm" for word in words if word == "him")])
    return form, counts


def pronoun_agreement(sources: list[str], hypotheses: list[str]) -> tuple[int, int]:
    """How often a translation gives "it" the gender of the noun it stands for: (right, all).

    Counted are the sources of this grammar in which "it" stands for a noun ("they" has one form for all genders and
    says nothing). The noun is the first thing or animal before "it". Right: the hypothesis has the German form, in its
    case, and no form of another gender beyond those that he, she, they … call for.

    Raises ValueError if the lists differ in length.
    """
    if len(sources) != len(hypotheses):
        raise InputError(f"There are {len(sources)} sources but {len(hypotheses)} hypotheses; give one for each.")
    right = total = 0
    for source, hypothesis in zip(sources, hypotheses, strict=True):
        expected = _expected(source)
        if expected is None:
            continue
        form, counts = expected
        found = Counter(word for word in _words(hypothesis) if word in _GENDERED)
        total += 1
        right += found[form] >= counts[form] and all(found[word] <= counts[word] for word in found if word != form)
    return right, total
