"""The words of the built-in corpus and all their forms, read from lexicon.tsv.

Columns of the table ("-" is an empty cell, several values in a cell are separated by spaces):

kind           noun, verb or adj
english        the lemma. A verb may carry a particle ("look for") and, in parentheses, a sense ("put (flat)") that is
               not part of the sentence
english_forms  noun: plural · verb: third person, past, participle
german         noun: nominative singular · verb: infinitive, a separable prefix cut off by "|" · adj: predicative form
german_forms   noun: plural, and the singular of the other cases if it differs (weak nouns) ·
               verb: [ich] du er [wir] preterite participle (six, five or four forms; without them ich is the
               infinitive without -n, and wir is the infinitive) · adj: the stem that takes the endings
grammar        noun: gender m, f or n · verb: auxiliary of the perfect, frame, and "static" if perfect and modals
               sound odd · adj: group; two adjectives of one group never describe the same thing
classes        noun: kinds of things it belongs to ("public" nouns have no possessive) · verb: classes of its subjects ·
               adj: classes of nouns that it can describe
objects        verb: classes of its objects (or places) · adj: good or bad, if that is clear
               (a noun may also stand for itself where a class is expected)

Frames of verbs: acc, dat, dat+acc, PREPOSITION+acc|dat (prepositional object), none, loc (where), dir (where to),
put (object and where to), pred (adjective), that (clause).
"""

import csv
from dataclasses import dataclass
from pathlib import Path

NOMINATIVE, ACCUSATIVE, DATIVE = 0, 1, 2
CASES = {"acc": ACCUSATIVE, "dat": DATIVE}
GENDERS = "mfn"
PLURAL_SLOT = 3  # articles and endings have four slots: masculine, feminine, neuter, plural
FIRST, SECOND, THIRD, PLURAL = 0, 1, 2, 3  # person and number of a finite verb: ich, du, er, wir


@dataclass(frozen=True, eq=False, slots=True)
class Noun:
    """A noun with all its forms."""

    english: tuple[str, str]
    """Singular and plural; the plural of a mass noun is empty."""
    german: tuple[tuple[str, str, str], tuple[str, str, str]]
    """Forms by number, then by case."""
    gender: int
    """0 masculine, 1 feminine, 2 neuter."""
    classes: frozenset[str]
    """Kinds of things it belongs to, and its own English name."""


@dataclass(frozen=True, eq=False, slots=True)
class Verb:
    """A verb with all its forms, and the classes of its subjects and objects."""

    key: str
    """The cell `english`, which is unique."""
    base: str
    third: str
    past: str
    participle: str
    """The four English forms."""
    particle: str
    """English word after the verb, for example "up" or "for", or an empty text."""
    infinitive: str
    prefix: str
    """Separable prefix, or an empty text."""
    present_de: tuple[str, str, str, str]
    past_de: tuple[str, str, str, str]
    """Forms for ich, du, er and wir, without the prefix."""
    participle_de: str
    with_sein: bool
    """True if the perfect is formed with sein, False if with haben."""
    frame: str
    preposition: str
    """German preposition of a prepositional object, or an empty text."""
    case: int
    """Case of the direct or prepositional object."""
    static: bool
    classes: frozenset[str]
    objects: frozenset[str]


@dataclass(frozen=True, eq=False, slots=True)
class Adjective:
    """An adjective, its German stem, and the classes of nouns that it can describe."""

    english: str
    german: str
    stem: str
    group: str
    classes: frozenset[str]
    value: str
    """`good` or `bad` for "old but beautiful", or an empty text."""


def _noun(row: dict[str, str]) -> Noun:
    singular, (plural, *oblique) = row["german"], row["german_forms"].split()
    other = oblique[0] if oblique else singular
    dative = plural if plural.endswith(("n", "s")) else plural + "n"
    return Noun(
        english=(row["english"], row["english_forms"].strip("-")),
        german=((singular, other, other), (plural, plural, dative)),
        gender=GENDERS.index(row["grammar"]),
        classes=frozenset([*row["classes"].split(), row["english"]]),
    )


def _past_de(past: str) -> tuple[str, str, str, str]:
    """Return all forms of the preterite from that of ich: kaufte, kauftest, kauften; fand, fandest, fanden."""
    second = "est" if past.endswith(("s", "ß", "z", "t", "d")) else "st"
    return past, past + second, past, past + ("n" if past.endswith("e") else "en")


def _verb(row: dict[str, str]) -> Verb:
    prefix, _, infinitive = row["german"].rpartition("|")
    forms = row["german_forms"].split()
    first = infinitive[:-1] if infinitive.endswith("en") else infinitive[:-1] + "e"  # kaufe, füttere
    if len(forms) == 4:
        forms.insert(0, first)
    if len(forms) == 5:
        forms.insert(3, infinitive)
    ich, du, er, wir, past, participle = forms
    auxiliary, frame, *static = row["grammar"].split()
    preposition, plus, case = frame.rpartition("+")
    third, english_past, english_participle = row["english_forms"].split()
    base, _, particle = row["english"].partition(" (")[0].partition(" ")
    return Verb(
        key=row["english"], base=base, third=third, past=english_past, participle=english_participle,
        particle=particle, infinitive=prefix + infinitive, prefix=prefix, present_de=(ich, du, er, wir),
        past_de=_past_de(past), participle_de=participle, with_sein=auxiliary == "sein", frame=frame,
        preposition=preposition if plus and preposition != "dat" else "", case=CASES.get(case, ACCUSATIVE),
        static=bool(static), classes=frozenset(row["classes"].split()), objects=frozenset(row["objects"].split()),
    )  # fmt: skip


def _adjective(row: dict[str, str]) -> Adjective:
    classes = frozenset(row["classes"].split())
    value = row["objects"].strip("-")
    return Adjective(row["english"], row["german"], row["german_forms"], row["grammar"], classes, value)


def _read() -> tuple[dict[str, Noun], dict[str, Verb], dict[str, Adjective]]:
    nouns: dict[str, Noun] = {}
    verbs: dict[str, Verb] = {}
    adjectives: dict[str, Adjective] = {}
    with Path(__file__).with_name("lexicon.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["kind"] == "noun":
                nouns[row["english"]] = _noun(row)
            elif row["kind"] == "verb":
                verbs[row["english"]] = _verb(row)
            else:
                adjectives[row["english"]] = _adjective(row)
    return nouns, verbs, adjectives


NOUNS, VERBS, ADJECTIVES = _read()
