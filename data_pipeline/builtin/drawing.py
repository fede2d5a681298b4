"""Random phrases and clauses of the built-in corpus.

The classes in the lexicon and the small tables in this file decide which words go together. The caller gives a
function that returns random numbers in [0, 1).
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TypeVar

from data_pipeline.builtin.clauses import (
    DEFINITE,
    HE,
    SHE,
    THEY,
    WE,
    YOU,
    Adverb,
    Clause,
    I,
    Modal,
    Nominal,
    NounPhrase,
    PrepPhrase,
    Pronoun,
)
from data_pipeline.builtin.lexicon import ADJECTIVES, NOUNS, VERBS, Adjective, Noun, Verb

Random = Callable[[], float]
T = TypeVar("T")


def _adverbs(table: str) -> tuple[Adverb, ...]:
    return tuple(Adverb(*(part.strip() for part in pair.split("="))) for pair in table.split(","))


_WEEKDAYS = """on Monday = am Montag, on Tuesday = am Dienstag, on Wednesday = am Mittwoch, on Thursday = am Donnerstag,
    on Friday = am Freitag, on Saturday = am Samstag, on Sunday = am Sonntag"""
_TIMES = {
    "past": _adverbs(
        """yesterday = gestern, last week = letzte Woche, last year = letztes Jahr, last summer = letzten Sommer,
        this morning = heute Morgen, in the evening = am Abend, in the afternoon = am Nachmittag,
        two days ago = vor zwei Tagen, a week ago = vor einer Woche, a month ago = vor einem Monat, """
        + _WEEKDAYS
    ),
    "present": _adverbs(
        """today = heute, now = jetzt, every day = jeden Tag, every morning = jeden Morgen, every evening = jeden Abend,
        every week = jede Woche, in summer = im Sommer, in winter = im Winter"""
    ),
    "perfect": _adverbs("today = heute, this week = diese Woche, this year = dieses Jahr, this summer = diesen Sommer"),
    "future": _adverbs(
        "today = heute, tomorrow = morgen, tonight = heute Abend, soon = bald, next week = nächste Woche, " + _WEEKDAYS
    ),
}
OFTEN = _adverbs("often = oft, always = immer, sometimes = manchmal, rarely = selten")
ALREADY = _adverbs("already = schon, just = gerade")
VERY = _adverbs("very = sehr, quite = ziemlich, really = wirklich")
TOO = Adverb("too", "zu")
_MEASURES = "size price temperature weight length width height volume speed difficulty taste light"
TOO_GROUPS = frozenset(_MEASURES.split())  # groups of adjectives that allow "too"
ABSOLUTE = frozenset(["color", "fill", "state", "shape"])  # groups of adjectives without degrees
MANNER = {
    "run": _adverbs("fast = schnell, slowly = langsam"),
    "swim": _adverbs("fast = schnell, slowly = langsam"),
    "drive": _adverbs("fast = schnell, slowly = langsam, carefully = vorsichtig"),
    "work": _adverbs("carefully = sorgfältig, quietly = leise"),
    "sleep": _adverbs("well = gut, badly = schlecht"),
    "dance": _adverbs("well = gut, badly = schlecht"),
    "laugh": _adverbs("loudly = laut, quietly = leise"),
    "cry": _adverbs("loudly = laut, quietly = leise"),
    "wait": _adverbs("patiently = geduldig"),
}


def _modal(english: str, present: str, past: str = "") -> Modal:
    """Make a modal verb from English base, third person and past, and the German forms for ich, du, er and wir."""
    base, third, english_past = (form.strip() for form in english.split(","))
    return Modal(base, third, english_past, base.endswith(" to"), _four(present), _four(past or present))


def _four(forms: str) -> tuple[str, str, str, str]:
    ich, du, er, wir = forms.split()
    return ich, du, er, wir


CAN = _modal("can, can, could", "kann kannst kann können", "konnte konntest konnte konnten")
MUST = _modal("must, must, must", "muss musst muss müssen")
SHOULD = _modal("should, should, should", "sollte solltest sollte sollten")
MAY = _modal("may, may, may", "darf darfst darf dürfen")
WANT = _modal("want to, wants to, wanted to", "will willst will wollen", "wollte wolltest wollte wollten")
HAVE_TO = _modal("have to, has to, had to", "muss musst muss müssen", "musste musstest musste mussten")
# each with its tense; the first N_NEGATABLE allow negation and questions
MODALS = ((CAN, "present"), (CAN, "past"), (WANT, "present"), (WANT, "past"), (SHOULD, "present"), (HAVE_TO, "present"),
           (HAVE_TO, "past"), (MUST, "present"), (MAY, "present"))  # fmt: skip
N_NEGATABLE = 6

_SINGULAR = ("the",) * 7 + ("a",) * 5 + ("my", "your", "his", "her", "our", "their", "this")
_PLURALS = ("the",) * 6 + ("", "", "two", "three", "many", "my", "your", "his", "her", "our", "their", "these")
_MASS = ("the",) * 3 + ("",) * 4 + ("this", "my")
FOR = frozenset(["buy", "order", "bake", "cook", "write", "sing", "paint", "draw", "open", "find"])  # somebody
WITH = frozenset(["eat", "drink", "visit", "dance", "swim", "return", "arrive", "clean"])  # somebody
OWNERS = ("my", "your", "his", "her", "our", "their")

EVENTS = tuple(v for v in VERBS.values() if v.frame not in ("pred", "that"))
THAT_VERBS = tuple(v for v in VERBS.values() if v.frame == "that")
BE, COME = VERBS["be"], VERBS["come"]
_SENSES = {
    "taste": "good bad delicious sweet sour spicy fresh",
    "smell": "good bad delicious fresh",
    "look": "good delicious fresh tired happy sad sick healthy angry nervous hungry elegant old young new expensive",
}
SENSE_WORDS = {verb: frozenset(words.split()) for verb, words in _SENSES.items()}


def choose(r: Random, items: Sequence[T]) -> T:
    """Return one of the items, all with equal probability."""
    return items[int(r() * len(items))]


@cache
def nouns_in(classes: frozenset[str]) -> tuple[Noun, ...]:
    """Return the nouns that belong to at least one of the classes."""
    return tuple(noun for noun in NOUNS.values() if noun.classes & classes)


@cache
def adjectives_of(noun: Noun) -> tuple[Adjective, ...]:
    """Return the adjectives that can describe the noun."""
    return tuple(adjective for adjective in ADJECTIVES.values() if adjective.classes & noun.classes)


@cache
def verbs_named(words: str) -> tuple[Verb, ...]:
    """Return the verbs with these keys, which are separated by spaces."""
    return tuple(VERBS[word] for word in words.split())


@cache
def verbs_framed(frames: str) -> tuple[Verb, ...]:
    """Return the verbs with these frames. "prep" means any prepositional object."""
    return tuple(v for v in EVENTS if ("prep" if v.preposition else v.frame) in frames.split())


@cache
def any_of(words: str) -> frozenset[str]:
    """Return the set of the words, which are separated by spaces."""
    return frozenset(words.split())


@cache
def _determiners(noun: Noun, many: bool, known: bool) -> tuple[str, ...]:
    words: tuple[str, ...] = _PLURALS if many else _SINGULAR if noun.english[1] else _MASS
    if known:
        words = tuple(word for word in words if word in DEFINITE)
    if "public" in noun.classes:
        words = tuple(word for word in words if word not in OWNERS)
    return tuple(word for word in words if word) if "person" in noun.classes else words


def noun_phrase(
    r: Random, noun: Noun, known: bool = False, plural: float = 0.25, described: float = 0.35
) -> NounPhrase:
    """Return a random phrase of the noun.

    Args:
        known: choose a definite determiner.
        plural: probability of the plural.
        described: probability of an adjective.
    """
    many = bool(noun.english[1]) and r() < plural
    adjectives = adjectives_of(noun)
    adjective = choose(r, adjectives) if adjectives and r() < described else None
    return NounPhrase(choose(r, _determiners(noun, many, known)), noun, adjective, many)


def draw_subject(r: Random, classes: frozenset[str], tense: str, known: bool = False) -> Nominal:
    """Return a noun phrase or, for people, sometimes a pronoun. "you" is never in the past: du kauftest is bookish."""
    if ("person" in classes or "adult" in classes) and r() < 0.3:
        return choose(r, (I, HE, SHE, WE, THEY) if tense == "past" else (I, HE, SHE, WE, THEY, YOU))
    return noun_phrase(r, choose(r, nouns_in(classes)), known)


def another(r: Random, classes: frozenset[str], taken: Iterable[Noun]) -> Noun:
    """Return a noun of the classes that is not in `taken`, the nouns of the clause so far."""
    for _ in range(20):
        noun = choose(r, nouns_in(classes))
        if noun not in taken:
            return noun
    raise AssertionError(f"the classes {sorted(classes)} have too few nouns")


def nouns_of(*nominals: Nominal | None) -> tuple[Noun, ...]:
    """Return the nouns of the noun phrases among the nominals."""
    return tuple(nominal.noun for nominal in nominals if isinstance(nominal, NounPhrase))


def _draw_object(r: Random, verb: Verb, subject: Nominal, known: bool) -> Nominal:
    if "person" in verb.objects and r() < 0.2:
        first = isinstance(subject, Pronoun) and subject not in (HE, SHE, THEY)
        return choose(r, (HE, SHE, THEY) if first else (I, YOU, HE, SHE, WE, THEY))
    return noun_phrase(r, another(r, verb.objects, nouns_of(subject)), known or verb.preposition != "", described=0.4)


def _preposition(r: Random, verb: Verb, noun: Noun) -> str:
    """Return the English preposition between a verb of place or direction and this noun."""
    kinds = noun.classes
    if verb.key == "fly":
        return "over"
    if verb.frame == "dir":
        if verb.key == "drive" and "building" in kinds:
            return "to"
        return "out of" if verb is COME and r() < 0.6 else "into"
    if verb.frame == "put" and "storage" in kinds and "top" not in kinds:
        return "into"
    if "storage" in kinds and "top" not in kinds:
        return "in"
    if kinds & {"seat", "top", "surface"}:
        beside = verb.key in ("stand", "put (upright)") and "furniture" in kinds and r() < 0.4
        return choose(r, ("under", "next to")) if beside and "carpet" not in kinds else "on"
    if "building" in kinds and verb.key in ("wait", "work", "dance") and r() < 0.35:
        return choose(r, ("in front of", "behind", "next to"))
    return "in"


def _draw_place(r: Random, verb: Verb, taken: Iterable[Noun]) -> PrepPhrase:
    classes = any_of("storage surface top") if verb.frame == "put" and "flat" in verb.objects else verb.objects
    if verb.key == "put (upright)":
        classes = any_of("top")
    if verb.key == "go" and r() < 0.15:
        return PrepPhrase("to", noun_phrase(r, another(r, any_of("adult"), taken), known=True, plural=0.05))
    noun = another(r, classes, taken)
    phrase = noun_phrase(r, noun, known=True, plural=0.05, described=0.3)
    return PrepPhrase(_preposition(r, verb, noun), phrase, motion=verb.frame == "put")


def fill(r: Random, verb: Verb, subject: Nominal, tense: str, known: bool = False) -> Clause:
    """Return a clause of this subject and verb, with random objects and places that the verb needs."""
    frame = verb.frame
    if frame == "dat+acc":
        indirect = noun_phrase(r, another(r, any_of("person"), nouns_of(subject)), known, described=0.25)
        thing = noun_phrase(r, another(r, verb.objects, ()), known, described=0.3)
        return Clause(subject, verb, tense, thing, indirect)
    if frame == "put":
        thing = noun_phrase(r, choose(r, nouns_in(verb.objects)), known, described=0.3)
        return Clause(subject, verb, tense, thing, place=_draw_place(r, verb, (thing.noun,)))
    if frame in ("loc", "dir"):
        return Clause(subject, verb, tense, place=_draw_place(r, verb, nouns_of(subject)))
    if frame == "none":
        return Clause(subject, verb, tense)
    return Clause(subject, verb, tense, _draw_object(r, verb, subject, known))


def event(r: Random, verbs: Sequence[Verb], tense: str, known: bool = False, with_do: bool = False) -> Clause:
    """Return a clause with a random verb.

    Args:
        with_do: English will use "do", which shows the tense of verbs such as put and read.
    """
    verb = choose(r, verbs)
    if tense == "present" and not with_do and verb.base == verb.past:
        tense = "past"
    if verb.static and tense == "perfect":
        tense = "past"
    return fill(r, verb, draw_subject(r, verb.classes, tense, known), tense, known)


@cache
def dynamic_verbs() -> tuple[Verb, ...]:
    """Return the verbs of events that are not states."""
    return tuple(verb for verb in EVENTS if not verb.static)


@cache
def willing_verbs() -> tuple[Verb, ...]:
    """Return the verbs for modals: voluntary actions of people and animals."""
    alive = {"person", "adult", "animal", "pet"}
    involuntary = {"lose", "disappear", "receive", "break", "miss"}
    return tuple(verb for verb in dynamic_verbs() if verb.classes <= alive and verb.key not in involuntary)


def draw_tense(r: Random) -> str:
    """Return past with probability 0.55, otherwise present."""
    return "past" if r() < 0.55 else "present"


def with_time(r: Random, clause: Clause, often: float = 0.4) -> Clause:
    """Return the clause with a time at its start or end, with probability `often`."""
    times = _TIMES["future" if clause.modal and clause.tense == "present" else clause.tense]
    if r() < often and clause.verb.key not in ("have", "belong to", "suit", "fit", "trust", "like", "love"):
        return clause._replace(time=choose(r, times), front="time" if r() < 0.4 else "")
    return clause
