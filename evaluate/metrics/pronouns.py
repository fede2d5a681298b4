"""Pronoun agreement on the built-in corpus: does "it" get the gender of the German noun that it refers to?"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from common.errors import InputError
from data_pipeline.builtin.clauses import DETERMINERS, IT, LINKS, PREPOSITIONS
from data_pipeline.builtin.lexicon import ACCUSATIVE, ADJECTIVES, NOMINATIVE, NOUNS, VERBS, Noun

_FUNCTION_WORDS = """i me you he him she her we us they them it am is are was were do does did has have can cannot could
    not too very quite really fast slowly where . ?"""
_GENDERED = ("er", "ihn", "ihm", "sie", "es")
_OTHERS = {"he": "er", "she": "sie", "they": "sie", "them": "sie"}
_BEFORE_SUBJECT = frozenset(["and", "but", "because", "although", ".", "?"])


def pronoun_agreement(sources: list[str], hypotheses: list[str]) -> tuple[int, int]:
    """Count how often a translation gives "it" the gender of the noun that "it" refers to.

    The noun is the first thing or animal before "it". Only sources of the built-in corpus in which "it" refers to a
    noun are counted. ("They" has one form for all genders, so it shows nothing.) A hypothesis is correct if it has the
    German form in its case, and no form of another gender except those that he, she, they, … need.

    Returns:
        The number of correct pronouns, and the number of counted pronouns.

    Raises:
        InputError: the lists differ in length.
    """
    if len(sources) != len(hypotheses):
        raise InputError(f"There are {len(sources)} sources but {len(hypotheses)} hypotheses; give one for each.")
    correct = total = 0
    for source, hypothesis in zip(sources, hypotheses, strict=True):
        expected = _expected(source)
        if expected is None:
            continue
        form, counts = expected
        found = Counter(word for word in split_words(hypothesis) if word in _GENDERED)
        total += 1
        correct += found[form] >= counts[form] and all(found[word] <= counts[word] for word in found if word != form)
    return correct, total


@dataclass(frozen=True)
class Referent:
    """What "it" refers to in a sentence of the built-in corpus."""

    it: int
    """Place of "it" among the words, from 0. Full stops and question marks are words."""
    noun: int
    """Place of the noun."""
    form: str
    """German pronoun that "it" needs."""


def find_referent(source: str) -> Referent | None:
    """Return what "it" refers to; None if the sentence has not exactly one "it", or no noun before it."""
    words = split_words(source)
    if words.count("it") != 1 or not _vocabulary().issuperset(words):
        return None
    it = words.index("it")
    noun = next((place for place, word in enumerate(words[:it]) if word in _singular_nouns()), None)
    if noun is None:
        return None
    case = NOMINATIVE if words[it - 1] in _BEFORE_SUBJECT else ACCUSATIVE
    return Referent(it, noun, IT[_singular_nouns()[words[noun]].gender].german[case])


def _expected(source: str) -> tuple[str, Counter[str]] | None:
    """Return the German form that "it" needs and the counts of all gendered pronouns; None if no noun decides."""
    found = find_referent(source)
    if found is None:
        return None
    words = split_words(source)
    counts = Counter(_OTHERS[word] for word in words if word in _OTHERS)
    counts.update([found.form, *("ihm" for word in words if word == "him")])
    return found.form, counts


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; a full stop or a question mark is a word."""
    return re.findall(r"\w+|[.?]", text.lower())


@cache
def _singular_nouns() -> dict[str, Noun]:
    """Things and animals by their English singular."""
    return {noun.english[0]: noun for noun in NOUNS.values() if "person" not in noun.classes}


@cache
def _vocabulary() -> frozenset[str]:
    """Lower-case English words of the sentences with "it"."""
    words = {form for noun in NOUNS.values() for form in noun.english}
    words |= {form for verb in VERBS.values() for form in (verb.base, verb.third, verb.past, verb.participle)}
    words |= {verb.particle for verb in VERBS.values()} | set(ADJECTIVES)
    phrases = [*DETERMINERS, "an", *PREPOSITIONS, *LINKS, _FUNCTION_WORDS]
    return frozenset(words | {word for phrase in phrases for word in phrase.lower().split()})
