"""Phrases, clauses and sentences of the built-in corpus, and their English and German text.

`render(Sentence(...))` returns the English sentence and its German translation. German has the standard word order:
the finite verb is second (first in yes-no questions, last in subordinate clauses). Between the verb brackets come
subject, pronoun, time, dative, frequency, object, nicht, manner, place and predicate.
"""

from typing import NamedTuple

from data_pipeline.builtin.lexicon import (
    ACCUSATIVE,
    DATIVE,
    FIRST,
    NOMINATIVE,
    PLURAL,
    PLURAL_SLOT,
    SECOND,
    THIRD,
    VERBS,
    Adjective,
    Noun,
    Verb,
)


class Pronoun(NamedTuple):
    """A personal pronoun in both languages."""

    english: tuple[str, str]
    """Forms as subject and as object."""
    german: tuple[str, str, str]
    """Forms in nominative, accusative and dative."""
    agreement: int


I = Pronoun(("I", "me"), ("ich", "mich", "mir"), FIRST)  # noqa: E741
YOU = Pronoun(("you", "you"), ("du", "dich", "dir"), SECOND)  # always du: English cannot tell du from Sie
HE = Pronoun(("he", "him"), ("er", "ihn", "ihm"), THIRD)
SHE = Pronoun(("she", "her"), ("sie", "sie", "ihr"), THIRD)
WE = Pronoun(("we", "us"), ("wir", "uns", "uns"), PLURAL)
THEY = Pronoun(("they", "them"), ("sie", "sie", "ihnen"), PLURAL)
IT = tuple(
    Pronoun(("it", "it"), german, THIRD)
    for german in [("er", "ihn", "ihm"), ("sie", "sie", "ihr"), ("es", "es", "ihm")]
)  # by the gender of what it stands for
WHO = Pronoun(("who", "whom"), ("wer", "wen", "wem"), THIRD)
WHAT = Pronoun(("what", "what"), ("was", "was", ""), THIRD)
THIS = Pronoun(("this", "this"), ("das", "das", ""), THIRD)  # "This is my coat."
THESE = Pronoun(("these", "these"), ("das", "das", ""), PLURAL)


class NounPhrase(NamedTuple):
    """Determiner, adjective and noun. The clause decides the case."""

    determiner: str
    """English determiner, a key of DETERMINERS. An empty text is no determiner."""
    noun: Noun
    adjective: Adjective | None = None
    plural: bool = False


Nominal = NounPhrase | Pronoun


class PrepPhrase(NamedTuple):
    """A preposition and its noun phrase."""

    preposition: str
    """English preposition, a key of PREPOSITIONS."""
    phrase: NounPhrase
    motion: bool = False
    """True if a two-way preposition names a direction (accusative), False if a place (dative)."""


class Adverb(NamedTuple):
    """A word or phrase that never changes, in both languages."""

    english: str
    german: str


WHY, WHEN, WHERE = Adverb("why", "warum"), Adverb("when", "wann"), Adverb("where", "wo")
WHERE_TO = Adverb("where", "wohin")


class Modal(NamedTuple):
    """A modal verb. Its infinitive is the verb of the clause."""

    base: str
    third: str
    past: str
    """English present, third person and past."""
    needs_do: bool
    """True if negation and question need "do" ("wants to")."""
    present_de: tuple[str, str, str, str]
    past_de: tuple[str, str, str, str]


class Clause(NamedTuple):
    """Content of a clause, independent of the language."""

    subject: Nominal
    verb: Verb
    tense: str = "present"
    """`present`, `past` (German Präteritum) or `perfect`."""
    object: Nominal | None = None
    indirect: NounPhrase | None = None
    """Dative object of a verb with two objects."""
    predicate: Adjective | NounPhrase | None = None
    degree: Adverb | None = None
    """Adverb before an adjective as predicate, such as "very"."""
    place: PrepPhrase | Adverb | None = None
    time: Adverb | None = None
    often: Adverb | None = None
    """Frequency, or "already"."""
    manner: Adverb | None = None
    modal: Modal | None = None
    negated: bool = False
    question: bool = False
    front: str = ""
    """Constituent that comes before the subject: `time`, `object` or `place` (in questions a question word)."""


class Sentence(NamedTuple):
    """One clause, or two clauses and the word that links them."""

    first: Clause
    link: str = ""
    """Key of LINKS, or "." (two sentences), or an empty text (one clause)."""
    second: Clause | None = None


def _articles(*columns: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(column.split()) for column in columns)


# [case][masculine, feminine, neuter, plural]; "-" is no ending
_DER = _articles("der die das die", "den die das die", "dem der dem den")
_DIES = _articles("er e es e", "en e es e", "em er em en")
_EIN = _articles("- e - e", "en e - e", "em er em en")
_NONE = _articles("- - - -", "- - - -", "- - - -")
_ENDINGS = {
    "weak": _articles("e e e en", "en e e en", "en en en en"),
    "mixed": _articles("er e es en", "en e es en", "en en en en"),
    "strong": _articles("er e es e", "en e es e", "em er em en"),
}
_DETERMINER_STEMS = {
    "the": ("", _DER, "weak"),
    "this": ("dies", _DIES, "weak"),
    "these": ("dies", _DIES, "weak"),
    "which": ("welch", _DIES, "weak"),
    "a": ("ein", _EIN, "mixed"),
    "no": ("kein", _EIN, "mixed"),
    "my": ("mein", _EIN, "mixed"),
    "your": ("dein", _EIN, "mixed"),
    "his": ("sein", _EIN, "mixed"),
    "her": ("ihr", _EIN, "mixed"),
    "our": ("unser", _EIN, "mixed"),
    "their": ("ihr", _EIN, "mixed"),
    "many": ("viel", _DIES, "strong"),
    "two": ("zwei", _NONE, "strong"),
    "three": ("drei", _NONE, "strong"),
    "": ("", _NONE, "strong"),
}
# determiner -> [case][slot] -> (article with a space after it or "", adjective ending)
DETERMINERS = {
    name: tuple(
        tuple(
            (f"{stem}{article.strip('-')} ".lstrip(), _ENDINGS[kind][case][slot])
            for slot, article in enumerate(articles[case])
        )
        for case in (NOMINATIVE, ACCUSATIVE, DATIVE)
    )
    for name, (stem, articles, kind) in _DETERMINER_STEMS.items()
}
DEFINITE = frozenset(["the", "this", "these", "my", "your", "his", "her", "our", "their"])

TWO_WAY = -1
PREPOSITIONS = {
    "in": ("in", DATIVE),
    "into": ("in", ACCUSATIVE),
    "on": ("auf", TWO_WAY),
    "under": ("unter", TWO_WAY),
    "behind": ("hinter", TWO_WAY),
    "in front of": ("vor", TWO_WAY),
    "next to": ("neben", TWO_WAY),
    "over": ("über", ACCUSATIVE),
    "out of": ("aus", DATIVE),
    "to": ("zu", DATIVE),
    "from": ("von", DATIVE),
    "with": ("mit", DATIVE),
    "for": ("für", ACCUSATIVE),
    "without": ("ohne", ACCUSATIVE),
}
CONTRACTIONS = {"in dem": "im", "in das": "ins", "zu dem": "zum", "zu der": "zur", "von dem": "vom"}

_HABEN, _SEIN, _BE = VERBS["have"].present_de, VERBS["be"].present_de, VERBS["be"]
_PARTICLES = frozenset(["on", "off", "up"])  # "turn it on", but "look for it"

# English link -> (German link, verb-final). With a capital letter the sentence begins with it, and its first clause is
# the subordinate one.
LINKS = {
    "and": (" und ", False),
    "but": (", aber ", False),
    "because": (", weil ", True),
    "although": (", obwohl ", True),
    "while": (", während ", True),
    "before": (", bevor ", True),
    "that": (", dass ", True),
    "If": ("wenn ", True),
    "When": ("als ", True),
    "Although": ("obwohl ", True),
}


def it_for(phrase: NounPhrase) -> Pronoun:
    """Return the pronoun for a thing. In German it has the gender of the noun."""
    return THEY if phrase.plural else IT[phrase.noun.gender]


def agreement(subject: Nominal) -> int:
    """Return the index of the form of the finite verb that agrees with the subject."""
    if isinstance(subject, NounPhrase):
        return PLURAL if subject.plural else THIRD
    return subject.agreement


def english_nominal(nominal: Nominal, as_object: bool = True) -> str:
    """Return the English words of a noun phrase or pronoun."""
    if isinstance(nominal, Pronoun):
        return nominal.english[as_object]
    determiner, noun, adjective, plural = nominal
    words = noun.english[plural]
    if adjective:
        words = f"{adjective.english} {words}"
    if determiner == "a" and words[0] in "aeiou":  # correct for all words of the lexicon
        determiner = "an"
    return f"{determiner} {words}" if determiner else words


def german_nominal(nominal: Nominal, case: int) -> str:
    """Return the German words of a noun phrase or pronoun in a case (0 nominative, 1 accusative, 2 dative)."""
    if isinstance(nominal, Pronoun):
        return nominal.german[case]
    determiner, noun, adjective, plural = nominal
    article, ending = DETERMINERS[determiner][case][PLURAL_SLOT if plural else noun.gender]
    if adjective:
        return f"{article}{adjective.stem}{ending} {noun.german[plural][case]}"
    return article + noun.german[plural][case]


def _prepositional(preposition: str, nominal: Nominal, case: int) -> str:
    words = german_nominal(nominal, case)
    if isinstance(nominal, NounPhrase) and nominal.determiner == "the":
        article, rest = words.split(" ", 1)
        pair = f"{preposition} {article}"
        return f"{CONTRACTIONS.get(pair, pair)} {rest}"
    return f"{preposition} {words}"


def _german_place(place: PrepPhrase | Adverb) -> str:
    if isinstance(place, Adverb):
        return place.german
    preposition, case = PREPOSITIONS[place.preposition]
    if case == TWO_WAY:
        case = ACCUSATIVE if place.motion else DATIVE
    return _prepositional(preposition, place.phrase, case)


def _english_place(place: PrepPhrase | Adverb) -> str:
    if isinstance(place, Adverb):
        return place.english
    return f"{place.preposition} {english_nominal(place.phrase)}"


def _english_verb(c: Clause, who: int, inverted: bool) -> tuple[str, str]:
    """Return the auxiliary, or an empty text, and the rest of the verb group."""
    verb, modal = c.verb, c.modal
    with_do = inverted or c.negated
    did = "did" if c.tense == "past" else "does" if who == THIRD else "do"
    if modal:
        if not modal.needs_do:
            return (modal.past if c.tense == "past" else modal.base), verb.base
        if with_do:
            return did, f"{modal.base} {verb.base}"
        finite = modal.past if c.tense == "past" else modal.third if who == THIRD else modal.base
        return "", f"{finite} {verb.base}"
    if c.tense == "perfect":
        return ("has" if who == THIRD else "have"), verb.participle
    if verb is _BE:
        if c.tense == "past":
            return ("was" if who in (FIRST, THIRD) else "were"), ""
        return ("am", "are", "is", "are")[who], ""
    if with_do:
        return did, verb.base
    return "", (verb.past if c.tense == "past" else verb.third if who == THIRD else verb.base)


def english_clause(c: Clause) -> str:
    """Return the English clause without capital letter and full stop."""
    asks_subject = c.subject is WHO
    inverted = c.question and not asks_subject
    who = PLURAL if isinstance(c.predicate, NounPhrase) and c.predicate.plural else agreement(c.subject)
    auxiliary, main = _english_verb(c, who, inverted)
    subject = english_nominal(c.subject, as_object=False)
    words = [auxiliary, subject] if inverted else [subject, auxiliary]
    if c.negated:
        if words[-1] == "can":
            words[-1] = "cannot"
        else:
            words.append("not")
    if c.often:
        words.append(c.often.english)
    words.append(main)
    obj = english_nominal(c.object) if c.object and c.front != "object" else ""
    if isinstance(c.object, Pronoun) and c.verb.particle in _PARTICLES:
        words += [obj, c.verb.particle]
    else:
        words.append(c.verb.particle)
        if c.indirect:
            words.append(english_nominal(c.indirect))
        words.append(obj)
    if isinstance(c.predicate, NounPhrase):
        words.append(english_nominal(c.predicate))
    elif c.predicate:
        words += [c.degree.english if c.degree else "", c.predicate.english]
    if c.manner:
        words.append(c.manner.english)
    if c.place and c.front != "place":
        words.append(_english_place(c.place))
    if c.time and c.front != "time":
        words.append(c.time.english)
    if c.front:
        words.insert(0, _english_front(c))
    return " ".join([word for word in words if word])


def _english_front(c: Clause) -> str:
    if c.front == "time" and c.time:
        return c.time.english
    if c.front == "place" and c.place:
        return _english_place(c.place)
    assert c.object is not None
    return english_nominal(c.object)


def _german_verb(c: Clause, who: int) -> tuple[str, str]:
    """Return the finite verb and the word that closes the verb bracket."""
    verb, modal = c.verb, c.modal
    if modal:
        return (modal.past_de if c.tense == "past" else modal.present_de)[who], verb.infinitive
    if c.tense == "perfect":
        return (_SEIN if verb.with_sein else _HABEN)[who], verb.participle_de
    return (verb.past_de if c.tense == "past" else verb.present_de)[who], verb.prefix


def _german_object(c: Clause) -> str:
    assert c.object is not None
    nominal = c.object
    if c.negated and isinstance(nominal, NounPhrase) and nominal.determiner in ("a", ""):
        nominal = nominal._replace(determiner="no")
    if c.verb.preposition:
        return _prepositional(c.verb.preposition, nominal, c.verb.case)
    return german_nominal(nominal, c.verb.case)


def _german_middle(c: Clause) -> list[str]:
    """Return the words between the verb brackets, without the subject."""
    words: list[str] = []
    verb, nominal = c.verb, c.object
    obj = _german_object(c) if nominal and c.front != "object" else ""
    plain = obj and not verb.preposition
    known = isinstance(nominal, Pronoun) or (nominal is not None and nominal.determiner in DEFINITE)
    often_late = c.often is not None and c.often.english == "already" and known and plain
    if plain and isinstance(nominal, Pronoun):
        words.append(obj)
        plain = ""
    if c.time and c.front != "time":
        words.append(c.time.german)
    if c.indirect:
        words.append(german_nominal(c.indirect, DATIVE))
    if c.often and not often_late:
        words.append(c.often.german)
    if plain:
        words.append(obj)
    if c.often and often_late:
        words.append(c.often.german)
    if c.negated and not (isinstance(nominal, NounPhrase) and nominal.determiner in ("a", "")):
        words.append("nicht")
    if c.manner:
        words.append(c.manner.german)
    if verb.preposition:
        words.append(obj)
    if c.place and c.front != "place":
        words.append(_german_place(c.place))
    if isinstance(c.predicate, NounPhrase):
        words.append(german_nominal(c.predicate, NOMINATIVE))
    elif c.predicate:
        words += [c.degree.german if c.degree else "", c.predicate.german]
    return words


def _german_front(c: Clause) -> str:
    if c.front == "time" and c.time:
        return c.time.german
    if c.front == "place" and c.place:
        return _german_place(c.place)
    return _german_object(c)


def german_clause(c: Clause, final: bool = False, after_clause: bool = False) -> str:
    """Return the German clause without capital letter and full stop.

    Args:
        final: the clause is subordinate.
        after_clause: a subordinate clause comes first.
    """
    who = PLURAL if isinstance(c.predicate, NounPhrase) and c.predicate.plural else agreement(c.subject)
    finite, bracket = _german_verb(c, who)
    subject = german_nominal(c.subject, NOMINATIVE)
    words = _german_middle(c)
    if final:
        separable = bracket and bracket == c.verb.prefix  # kam … an, but: dass er ankam
        words = [subject, *words, bracket + finite] if separable else [subject, *words, bracket, finite]
    elif c.front:
        words = [_german_front(c), finite, subject, *words, bracket]
    elif after_clause or (c.question and c.subject is not WHO):
        words = [finite, subject, *words, bracket]
    else:
        words = [subject, finite, *words, bracket]
    return " ".join([word for word in words if word])


def _close(text: str, question: bool) -> str:
    return text[0].upper() + text[1:] + ("?" if question else ".")


def english(sentence: Sentence) -> str:
    """Return the English sentence with capital letter and final mark."""
    first, link, second = sentence
    text = english_clause(first)
    if second is None:
        return _close(text, first.question)
    other = english_clause(second)
    if link == ".":
        return f"{_close(text, first.question)} {_close(other, second.question)}"
    if link[0].isupper():
        return _close(f"{link} {text}, {other}", second.question)
    return _close(f"{text}, but {other}" if link == "but" else f"{text} {link} {other}", first.question)


def german(sentence: Sentence) -> str:
    """Return the German sentence with capital letter and final mark."""
    first, link, second = sentence
    if second is None:
        return _close(german_clause(first), first.question)
    if link == ".":
        return f"{_close(german_clause(first), first.question)} {_close(german_clause(second), second.question)}"
    word, final = LINKS[link]
    if link[0].isupper():
        text = f"{word}{german_clause(first, final=True)}, {german_clause(second, after_clause=True)}"
        return _close(text, second.question)
    return _close(german_clause(first) + word + german_clause(second, final=final), first.question)


def render(sentence: Sentence | Clause) -> tuple[str, str]:
    """Return English and German of a sentence, or of one clause as a sentence."""
    whole = sentence if isinstance(sentence, Sentence) else Sentence(sentence)
    return english(whole), german(whole)
