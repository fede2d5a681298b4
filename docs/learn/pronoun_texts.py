"""Short texts with a known distance between a noun and its pronoun, made with the built-in grammar.

    The lamp was old. The doctor called my sister. The tourists slept. It was expensive.
    Die Lampe war alt. Der Arzt rief meine Schwester an. Die Touristen schliefen. Sie war teuer.

The first and the last sentence are a sentence pair with a pronoun from `data_pipeline.builtin.families`. The sentences
between them are about people, so "it" can only mean the noun.
"""

import random
import re
from dataclasses import dataclass

from data_pipeline.builtin.clauses import IT, Clause, NounPhrase, render
from data_pipeline.builtin.drawing import Random, another, any_of, choose, noun_phrase, nouns_in, verbs_named
from data_pipeline.builtin.families import pronoun_contrast, pronoun_object, pronoun_reason, pronoun_result
from evaluate.metrics.pronouns import pronoun_agreement

FAMILIES = (pronoun_result, pronoun_contrast, pronoun_reason, pronoun_object)


@dataclass(frozen=True)
class Text:
    """A text and its translation."""

    source: str
    candidates: tuple[str, ...]
    """The translation with the masculine, the feminine and the neuter pronoun."""
    gender: int
    """Index of the correct candidate: the gender of the German noun."""
    between: int
    """Number of sentences between noun and pronoun."""
    distance: int
    """Number of English words from the noun to "it"."""

    @property
    def reference(self) -> str:
        """The correct translation."""
        return self.candidates[self.gender]


def make_texts(n: int, between: int, seed: str, words: set[str] | None = None) -> list[Text]:
    """Return n different texts with this number of sentences between noun and pronoun, of these English words only."""
    r = random.Random(f"{seed} {between}").random
    found: dict[str, Text] = {}
    while len(found) < n:
        text = _draw(r, between)
        if text and (words is None or words.issuperset(_words(text.source))):
            found[text.source] = text
    return list(found.values())


def _draw(r: Random, between: int) -> Text | None:
    """Return a text, or None if the pronoun is not "it" or its form does not show the gender."""
    first, _, second = choose(r, FAMILIES)(r)
    assert isinstance(second, Clause)
    pronouns = [part for part in (second.subject, second.object) if part in IT]
    nouns = [part for part in (first.subject, first.object, first.predicate) if isinstance(part, NounPhrase)]
    things = [part.noun for part in nouns if "person" not in part.noun.classes]
    if not pronouns or not things:
        return None
    gender = things[0].gender
    middle = [_about_people(r) for _ in range(between)]
    is_subject = second.subject in IT
    last = [second._replace(subject=it) if is_subject else second._replace(object=it) for it in IT]
    texts = [[render(clause) for clause in (first, *middle, clause)] for clause in last]
    source = " ".join(english for english, _ in texts[0])
    candidates = tuple(" ".join(german for _, german in pairs) for pairs in texts)
    if len(set(candidates)) < len(IT) or pronoun_agreement([source], [candidates[gender]]) != (1, 1):
        return None
    words = _words(source)
    distance = words.index("it") - words.index(_words(things[0].english[0])[-1])
    return Text(source, candidates, gender, between, distance)


def _about_people(r: Random) -> Clause:
    """Return a clause without things and pronouns: "The doctor called my sister", "The tourists slept"."""
    subject = choose(r, nouns_in(any_of("adult")))
    someone = noun_phrase(r, subject, known=True, described=0.2)
    if r() < 0.3:
        return Clause(someone, choose(r, verbs_named("sleep laugh cry dance work wait")), "past")
    other = noun_phrase(r, another(r, any_of("adult"), (subject,)), known=True, described=0.2)
    return Clause(someone, choose(r, verbs_named("help call visit thank hug praise greet meet")), "past", other)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
