"""The sentence families of the built-in corpus. Each function returns one random sentence of its family.

A family gets a function that returns random numbers in [0, 1). `clauses` makes English and German of the sentence.
The docstrings are examples.
"""

from collections.abc import Callable, Iterable
from functools import cache

from data_pipeline.builtin.clauses import (
    DEFINITE,
    HE,
    SHE,
    THESE,
    THEY,
    THIS,
    WE,
    WHAT,
    WHEN,
    WHERE,
    WHERE_TO,
    WHO,
    WHY,
    YOU,
    Adverb,
    Clause,
    I,
    Nominal,
    NounPhrase,
    PrepPhrase,
    Pronoun,
    Sentence,
    it_for,
)
from data_pipeline.builtin.drawing import (
    ABSOLUTE,
    ALREADY,
    BE,
    CAN,
    COME,
    EVENTS,
    FOR,
    MANNER,
    MODALS,
    MUST,
    N_NEGATABLE,
    OFTEN,
    OWNERS,
    SENSE_WORDS,
    SHOULD,
    THAT_VERBS,
    TOO,
    TOO_GROUPS,
    VERY,
    WANT,
    WITH,
    Random,
    adjectives_of,
    another,
    any_of,
    choose,
    draw_subject,
    draw_tense,
    dynamic_verbs,
    event,
    fill,
    noun_phrase,
    nouns_in,
    nouns_of,
    verbs_framed,
    verbs_named,
    willing_verbs,
    with_time,
)
from data_pipeline.builtin.lexicon import ADJECTIVES, NOUNS, VERBS, Adjective, Noun, Verb


def statement(r: Random) -> Sentence:
    """The woman buys an old lamp. Yesterday he slept well."""
    clause = event(r, verbs_framed("acc" if r() < 0.75 else "none loc"), draw_tense(r))
    verb = clause.verb
    if verb.key in MANNER and r() < 0.5:
        clause = clause._replace(manner=choose(r, MANNER[verb.key]))
    elif (verb.key in FOR and r() < 0.25) or (verb.key in WITH and r() < 0.25):
        person = another(r, any_of("person"), nouns_of(clause.subject, clause.object))
        phrase = noun_phrase(r, person, known=True, described=0.2)
        clause = clause._replace(place=PrepPhrase("for" if verb.key in FOR else "with", phrase))
    if clause.tense == "present" and not verb.static and r() < 0.25:
        return Sentence(clause._replace(often=choose(r, OFTEN)))
    return Sentence(with_time(r, clause))


def perfect(r: Random) -> Sentence:
    """The woman has already bought the lamp. The train has arrived."""
    clause = event(r, dynamic_verbs(), "perfect")
    if r() < 0.25:
        return Sentence(clause._replace(often=choose(r, ALREADY)))
    return Sentence(with_time(r, clause, 0.2))


def _modal_clause(r: Random, known: bool, modals: int) -> Clause:
    modal, tense = MODALS[int(r() * modals)]
    return event(r, willing_verbs(), tense, known, with_do=True)._replace(modal=modal)


def modal(r: Random) -> Sentence:
    """The child wants to read the book. You must call the doctor tomorrow."""
    return Sentence(with_time(r, _modal_clause(r, False, len(MODALS)), 0.3))


def _negate(r: Random, clause: Clause) -> Clause:
    """Negate a clause of definite phrases. With an indefinite direct object, German uses kein."""
    thing = clause.object
    if isinstance(thing, NounPhrase) and clause.verb.frame in ("acc", "dat+acc") and r() < 0.4:
        thing = thing._replace(determiner="" if thing.plural or not thing.noun.english[1] else "a")
        clause = clause._replace(object=thing)
    return clause._replace(negated=True)


def negation(r: Random) -> Sentence:
    """The man does not buy the car. She did not eat an apple. We cannot find the key."""
    kind = r()
    if kind < 0.3:
        clause = _modal_clause(r, True, N_NEGATABLE)
    else:
        clause = event(r, EVENTS, "perfect" if kind < 0.5 else draw_tense(r), known=True, with_do=True)
    return Sentence(_negate(r, clause))


def yes_no(r: Random) -> Sentence:
    """Did the woman buy the lamp? Have you seen the dog?"""
    kind = r()
    if kind < 0.25:
        clause = _modal_clause(r, False, N_NEGATABLE)
    else:
        clause = event(r, EVENTS, "perfect" if kind < 0.55 else draw_tense(r), with_do=True)
    if clause.verb.frame == "acc" and r() < 0.2:
        clause = with_time(r, clause)._replace(front="")
    return Sentence(clause._replace(question=True))


@cache
def _asking(about: str) -> tuple[Verb, ...]:
    if about == "what":  # only things
        return tuple(v for v in verbs_framed("acc dat+acc put") if not v.objects & {"person", "animal", "pet", "prey"})
    if about == "whom":
        return tuple(v for v in verbs_framed("acc dat") if "person" in v.objects and v.key not in ("fit", "suit"))
    return tuple(v for v in verbs_framed("loc dir") if v is not COME)


def _ask_subject(r: Random, tense: str) -> Clause:
    verb = choose(r, verbs_framed("acc dat+acc dat prep dir"))
    if not verb.classes & {"person", "adult"}:  # "who" does not ask for things that belong, fit or fly
        verb = VERBS["buy"]
    if (verb.static and tense == "perfect") or (verb.base == verb.past and tense == "present"):
        tense = "past"
    return fill(r, verb, WHO, tense)


def wh(r: Random) -> Sentence:
    """Who bought the lamp? What did you buy? Which book does he read? Why did she go into the house?"""
    kind = choose(r, ("who", "what", "whom", "which", "why", "why", "when", "where"))
    tense = "perfect" if r() < 0.25 else draw_tense(r)
    if kind == "who":
        clause = _ask_subject(r, tense)
    elif kind in ("what", "whom"):
        clause = event(r, _asking(kind), tense, with_do=True)
        clause = clause._replace(object=WHAT if kind == "what" else WHO, front="object")
    elif kind == "where":
        clause = event(r, _asking(kind), tense, with_do=True)
        clause = clause._replace(place=WHERE if clause.verb.frame == "loc" else WHERE_TO, front="place")
    elif kind == "which":
        clause = event(r, _asking("what"), tense, with_do=True)
        assert isinstance(clause.object, NounPhrase)
        clause = clause._replace(object=clause.object._replace(determiner="which"), front="object")
    else:
        clause = event(r, dynamic_verbs(), "past" if kind == "when" else tense, with_do=True)
        clause = clause._replace(time=WHEN if kind == "when" else WHY, front="time")
    return Sentence(clause._replace(question=True))


def _degree(r: Random, adjective: Adjective) -> Adverb | None:
    if adjective.group in ABSOLUTE or adjective.english == "delicious" or r() < 0.4:
        return None
    if adjective.group in TOO_GROUPS and r() < 0.4:
        return TOO
    return choose(r, VERY)


def _predicate(r: Random, phrase: NounPhrase, avoid: Iterable[str] = ()) -> Adjective | None:
    """Return an adjective for the phrase, of another group than its own adjective and the groups in `avoid`."""
    groups = {*avoid, phrase.adjective.group if phrase.adjective else ""}
    fitting = [a for a in adjectives_of(phrase.noun) if a.group not in groups]
    return choose(r, fitting) if fitting else None


_DESCRIBED = tuple(noun for noun in NOUNS.values() if len({a.group for a in adjectives_of(noun)}) > 1)
_MOODS = tuple(a for a in ADJECTIVES.values() if "person" in a.classes)


def draw_description(r: Random, tense: str, subject: Nominal | None = None) -> Clause:
    """Return a clause with be, taste, smell or look, and an adjective."""
    if subject is None and r() < 0.1:
        subject = draw_subject(r, any_of("person"), tense, known=True)
    phrase = subject or noun_phrase(r, choose(r, _DESCRIBED), known=True)
    adjective = choose(r, _MOODS) if isinstance(phrase, Pronoun) else _predicate(r, phrase)
    if adjective is None:
        raise AssertionError("every noun of _DESCRIBED has adjectives of two groups")
    verb = BE
    if isinstance(phrase, NounPhrase) and r() < 0.4:
        senses = [VERBS[key] for key, words in SENSE_WORDS.items()
                  if adjective.english in words and VERBS[key].classes & phrase.noun.classes]  # fmt: skip
        verb = choose(r, senses) if senses else BE
    degree = _degree(r, adjective)
    return Clause(phrase, verb, tense, predicate=adjective, degree=None if degree is TOO and verb is not BE else degree)


def description(r: Random) -> Sentence:
    """The old house is very beautiful. The soup tasted good. She was not tired."""
    clause = draw_description(r, draw_tense(r))
    known = isinstance(clause.subject, Pronoun) or clause.subject.determiner in DEFINITE
    if known and r() < 0.2:
        return Sentence(clause._replace(negated=True, degree=None))
    return Sentence(clause._replace(question=True) if known and r() < 0.15 else clause)


def person_pronoun(nominal: Nominal) -> Pronoun | None:
    """Return he, she or they for a person. None for things, and for neuter nouns of people such as Kind and Mädchen."""
    if isinstance(nominal, Pronoun):
        return nominal
    if "person" not in nominal.noun.classes:
        return None
    if nominal.plural:
        return THEY
    return {0: HE, 1: SHE}.get(nominal.noun.gender)


# verb -> moods after because, moods after although; the last entry is for all other verbs
_MOOD_WORDS = {
    "cry": ("sad tired angry nervous sick", "happy strong brave rich"),
    "laugh": ("happy", "sad tired sick nervous poor"),
    "sleep": ("tired sick lazy", "nervous hungry curious"),
    "fall asleep": ("tired sick lazy", "nervous hungry curious"),
    "eat": ("hungry", "sick sad tired nervous"),
    "": ("happy curious nervous", "tired sick sad nervous angry lazy"),
}


def _plain(nominal: Nominal) -> Nominal:
    """Return the phrase without its adjective, to avoid "the tired man sleeps because he is tired"."""
    return nominal._replace(adjective=None) if isinstance(nominal, NounPhrase) else nominal


def _mood(r: Random, link: str, verb: Verb, person: Pronoun, tense: str) -> Clause:
    """Return a clause such as "he was tired": a reason, or after although the opposite."""
    words = _MOOD_WORDS.get(verb.key, _MOOD_WORDS[""])[link.lower() == "although"]
    adjective = ADJECTIVES[choose(r, words.split())]
    return Clause(person, BE, tense, predicate=adjective, degree=_degree(r, adjective))


def that_clause(r: Random) -> Sentence:
    """I know that the woman bought the lamp. He said that the soup was hot."""
    verb = choose(r, THAT_VERBS)
    tense = draw_tense(r)
    main = Clause(draw_subject(r, verb.classes, tense, known=True), verb, tense)
    inner = "past" if tense == "past" else "perfect" if r() < 0.4 else "present"
    if verb.key != "hope" and r() < 0.35:
        return Sentence(main, "that", draw_description(r, "past" if tense == "past" else "present"))
    second = event(r, EVENTS, inner, known=True)
    return Sentence(main, "that", second)


def reason(r: Random) -> Sentence:
    """The man slept because he was tired. She ate the soup while we worked in the garden."""
    first = event(r, willing_verbs(), draw_tense(r))
    link = choose(r, ("because", "because", "although", "while"))
    person = person_pronoun(first.subject)
    if link == "while" or person is None:
        return Sentence(
            first, "while", event(r, verbs_named("work sleep wait dance laugh cry write eat drink"), first.tense)
        )
    plain = first._replace(subject=_plain(first.subject))
    return Sentence(plain, link, _mood(r, link, first.verb, person, first.tense))


def condition(r: Random) -> Sentence:
    """If the woman is sick, the doctor must visit her. When the train arrived, she opened the window."""
    link = choose(r, ("If", "When", "Although"))
    if link == "When":
        first = event(r, verbs_framed("none dir"), "past", known=True)
        return Sentence(first, link, event(r, dynamic_verbs(), "past", known=True))
    if link == "If" and r() < 0.5:
        return _care(r)
    tense = "present" if link == "If" else draw_tense(r)
    subject = _plain(draw_subject(r, any_of("adult"), tense, known=True))
    person = person_pronoun(subject)
    assert person is not None  # no adult noun is neuter
    verb = choose(r, willing_verbs())
    modal = None
    if link == "If" or verb.base == verb.past:
        modal, tense = choose(r, MODALS[:1] if link == "If" else MODALS[:4])
    main = fill(r, verb, person, tense, known=True)._replace(modal=modal)
    first = _mood(r, "although" if link == "Although" else "if", verb, person, tense)._replace(subject=subject)
    return Sentence(first, link, main)


def _care(r: Random) -> Sentence:
    """If the woman is sick, the doctor must help her."""
    who = noun_phrase(r, choose(r, nouns_in(any_of("adult"))), known=True, described=0)
    adjective = ADJECTIVES[choose(r, ("sick", "sad", "nervous", "angry", "happy", "tired"))]
    first = Clause(who, BE, predicate=adjective, degree=_degree(r, adjective))
    verb = choose(r, _caring())
    helper = draw_subject(r, any_of("adult"), "present", known=True)
    if helper in (HE, SHE, THEY, YOU, who):  # he, she or they would mean the person
        helper = I
    modal = choose(r, (CAN, MUST, SHOULD, WANT, None))
    return Sentence(first, "If", Clause(helper, verb, object=person_pronoun(who), modal=modal))


@cache
def _caring() -> tuple[Verb, ...]:
    keys = "help, call, visit, ask, hug, praise, invite, look for, thank, listen to, wait for"
    return tuple(VERBS[key] for key in keys.split(", "))


def place(r: Random) -> Sentence:
    """The key lies under the bed (where: dative). She put the vase on the table (where to: accusative)."""
    frames = "loc" if r() < 0.4 else "dir put"
    tense = "perfect" if frames != "loc" and r() < 0.2 else draw_tense(r)
    return Sentence(with_time(r, event(r, verbs_framed(frames), tense), 0.25))


def giving(r: Random) -> Sentence:
    """The teacher gave the girl a book."""
    return Sentence(with_time(r, event(r, verbs_framed("dat+acc"), "perfect" if r() < 0.2 else draw_tense(r)), 0.3))


def dative(r: Random) -> Sentence:
    """The boy helped his grandmother. The car belongs to my uncle."""
    return Sentence(with_time(r, event(r, verbs_framed("dat"), draw_tense(r)), 0.3))


def prepositional(r: Random) -> Sentence:
    """The woman waited for the bus. We talked about the film."""
    return Sentence(with_time(r, event(r, verbs_framed("prep"), "perfect" if r() < 0.2 else draw_tense(r)), 0.3))


def pronoun_result(r: Random) -> Sentence:
    """The pizza came out of the oven and it tasted good."""
    if r() < 0.65:
        noun = choose(r, nouns_in(any_of("baked dish potato")))
        sources = "oven kitchen bakery" if "baked" in noun.classes else "kitchen"
        verb = VERBS[choose(r, ("taste", "smell", "look"))]
    else:
        noun, sources, verb = choose(r, nouns_in(any_of("animal"))), "house garden forest park garage", VERBS["look"]
    said = [a for a in adjectives_of(noun) if a.english in SENSE_WORDS[verb.key] and a.group != "age"]
    adjective = choose(r, said)
    phrase = noun_phrase(r, noun, known=True)
    if phrase.adjective and phrase.adjective.group == adjective.group:
        phrase = phrase._replace(adjective=None)
    source = noun_phrase(r, choose(r, nouns_in(any_of(sources))), known=True, plural=0.03, described=0.25)
    first = Clause(phrase, COME, "past", place=PrepPhrase("out of", source))
    second = Clause(it_for(phrase), verb, "past", predicate=adjective, degree=_degree(r, adjective))
    return Sentence(first, "and", second)


def pronoun_contrast(r: Random) -> Sentence:
    """The car is old, but it drives fast. The coat was beautiful, but it did not fit me."""
    tense = draw_tense(r)
    noun = choose(r, _things())
    first = draw_description(r, tense, noun_phrase(r, noun, known=True, described=0.3))._replace(verb=BE)
    assert isinstance(first.subject, NounPhrase)
    assert isinstance(first.predicate, Adjective)
    it = it_for(first.subject)
    value = "bad" if first.degree is TOO else first.predicate.value
    if "driving" in noun.classes and r() < 0.5 and value and first.predicate.group != "speed":
        second = Clause(it, VERBS["drive"], tense, manner=MANNER["drive"][value == "good"])  # old, but fast
    elif "garment" in noun.classes and r() < 0.4 and value == "good":
        second = Clause(it, VERBS["fit"], tense, choose(r, (I, HE, SHE, WE)), negated=True)
    else:
        groups = [first.predicate.group, first.subject.adjective.group if first.subject.adjective else ""]
        fitting = [a for a in adjectives_of(noun) if value and a.value not in ("", value) and a.group not in groups]
        if not fitting:  # a color, or no other adjective fits
            return pronoun_contrast(r)
        adjective = choose(r, fitting)
        degree = _degree(r, adjective)
        second = Clause(it, BE, tense, predicate=adjective, degree=None if degree is TOO else degree)
    return Sentence(first, "but", second)


@cache
def _things() -> tuple[Noun, ...]:
    kinds = any_of(
        "thing clothes attire vehicle furniture appliance readable food home building animal fiction event idea"
    )
    return tuple(noun for noun in nouns_in(kinds) if noun in _DESCRIBED)


_PLEASING = "beautiful cheap good fresh new elegant practical comfortable interesting pretty delicious modern small"
_REASONS = {
    "buy, order": _PLEASING,
    "try on": "beautiful elegant new pretty cheap warm",
    "sell": "old ugly big small expensive slow loud broken heavy",
    "eat, drink, try": "good delicious fresh sweet cold warm",
    "like, love": "beautiful good delicious fresh sweet small young pretty",
    "read, translate": "interesting important short good",
    "wash, clean": "dirty",
    "repair": "broken old",
    "look at, paint, draw, photograph": "beautiful famous old tall big",
    "visit": "beautiful famous big",
    "rent": "cheap big beautiful new small modern",
    "understand": "short easy",
    "explain": "important difficult",
    "forget": "boring",
}


@cache
def _reason_pairs() -> tuple[tuple[Verb, Noun, tuple[Adjective, ...]], ...]:
    """Return triples of a verb, a thing, and the adjectives that are a reason for the action."""
    found = []
    for keys, words in _REASONS.items():
        for verb in (VERBS[key] for key in keys.split(", ")):
            for noun in nouns_in(verb.objects):
                fitting = tuple(a for a in adjectives_of(noun) if a.english in words.split())
                if fitting and "person" not in noun.classes:
                    found.append((verb, noun, fitting))
    return tuple(found)


def pronoun_reason(r: Random) -> Sentence:
    """I bought the lamp because it was cheap."""
    verb, noun, adjectives = choose(r, _reason_pairs())
    tense = "past" if verb.base == verb.past else draw_tense(r)
    adjective = choose(r, adjectives)
    thing = noun_phrase(r, noun, known=r() < 0.8)
    twice = thing.adjective is not None and thing.adjective.group == adjective.group
    if twice or thing.determiner in ("", "many", "two", "three"):
        thing = thing._replace(determiner="these" if thing.plural else "the", adjective=None)
    subject = draw_subject(r, verb.classes, tense, known=True)
    degree = None if adjective.english in ("dirty", "broken") else _degree(r, adjective)
    if degree is TOO and verb.key != "sell":
        degree = None
    second = Clause(it_for(thing), BE, tense, predicate=adjective, degree=degree)
    return Sentence(Clause(subject, verb, tense, thing), "because", second)


# (action, next action that does not happen, classes of things)
_BUT_NOT = (
    ("buy", "wear", "clothes"), ("buy", "use", "tool device"), ("buy", "read", "book newspaper magazine novel"),
    ("cook", "eat", "cooked"), ("bake", "eat", "baked"), ("order", "eat", "dish"), ("order", "drink", "drink"),
    ("open", "close", "closing"), ("receive", "read", "mail"), ("find", "take", "ring umbrella apple pear"),
    ("try on", "buy", "clothes"), ("read", "understand", "document poem novel book"), ("look at", "buy", "art"),
    ("wash", "wear", "garment"),
)  # fmt: skip


def _found_out(r: Random) -> Sentence:
    """The man looked for the key, but he could not find it."""
    subject = draw_subject(r, any_of("adult"), "past", known=True)
    pronoun = person_pronoun(subject)
    assert pronoun is not None  # no adult noun is neuter
    if r() < 0.3:
        thing = noun_phrase(r, choose(r, nouns_in(any_of("thing clothes attire readable pet"))), known=True)
        second = Clause(pronoun, VERBS["find"], "past", it_for(thing), modal=CAN, negated=True)
        return Sentence(Clause(subject, VERBS["look for"], "past", thing), "but", second)
    verb, other, kinds = choose(r, _BUT_NOT)
    thing = noun_phrase(r, choose(r, nouns_in(any_of(kinds))), known=r() < 0.6)
    if thing.determiner in ("", "many"):
        thing = thing._replace(determiner="two" if thing.plural else "the")
    second = Clause(pronoun, VERBS[other], "past", it_for(thing), negated=True)
    return Sentence(Clause(subject, VERBS[verb], "past", thing), "but", second)


def _where_is(r: Random, thing: NounPhrase) -> Sentence:
    """Where is the key? I cannot find it."""
    asked = Clause(thing, BE, place=WHERE, front="place", question=True)
    kind = r()
    if kind < 0.4:
        second = Clause(choose(r, (I, HE, SHE, WE, THEY)), VERBS["find"], object=it_for(thing), modal=CAN, negated=True)
    elif kind < 0.7:
        asked_one = choose(r, (YOU, HE, SHE, THEY))
        verb = VERBS[choose(r, ("find", "see", "hide", "take"))]
        second = Clause(asked_one, verb, "perfect", it_for(thing), question=True)
    else:
        who = draw_subject(r, any_of("person"), "present", known=True)
        second = Clause(who, VERBS[choose(r, ("need", "look for"))], object=it_for(thing))
    return Sentence(asked, ".", second)


def pronoun_object(r: Random) -> Sentence:
    """The woman bought the coat, but she did not wear it. Where is the key? I cannot find it."""
    kind = r()
    if kind < 0.5:
        return _found_out(r)
    if kind < 0.75:
        thing = noun_phrase(r, choose(r, nouns_in(any_of("thing clothes attire readable"))), known=True)
        if thing.determiner in ("this", "these"):
            thing = thing._replace(determiner="the")
        return _where_is(r, thing)
    thing = noun_phrase(r, choose(r, _things()), plural=0.3)
    if thing.determiner in ("this", "these", "the", "many", "two", "three", ""):
        thing = thing._replace(determiner=choose(r, OWNERS))
    adjective = _predicate(r, thing)
    assert adjective is not None
    second = Clause(it_for(thing), BE, predicate=adjective, degree=_degree(r, adjective))
    return Sentence(Clause(THESE if thing.plural else THIS, BE, predicate=thing), ".", second)


# (family, share of the corpus in percent)
FAMILIES: tuple[tuple[Callable[[Random], Sentence], int], ...] = (
    (statement, 12), (perfect, 8), (modal, 8), (negation, 7), (yes_no, 7), (wh, 6), (that_clause, 6), (reason, 6),
    (condition, 6), (place, 8), (giving, 5), (dative, 3), (prepositional, 3), (description, 4),
    (pronoun_result, 3), (pronoun_contrast, 3), (pronoun_reason, 3), (pronoun_object, 2),
)  # fmt: skip
_SHARES = tuple(family for family, share in FAMILIES for _ in range(share))


def draw(r: Random) -> Sentence:
    """Return a sentence of a random family."""
    return choose(r, _SHARES)(r)
