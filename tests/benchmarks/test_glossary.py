"""The terms that the benchmark takes from sentences and their references."""

from benchmarks.glossary import OTHER_WORDS, terms_of
from evaluate.glossary import Glossary


def test_terms_are_words_of_the_same_lines() -> None:
    pairs = [
        ("the door opens", "die Tür öffnet"),
        ("a red door", "eine rote Tür"),
        ("the house opens", "das Haus öffnet"),
    ]
    assert terms_of(pairs) == [("opens", "öffnet")]  # "Tür" has three letters
    assert terms_of([("Berlin opens", "Berlin öffnet")] * 2) == []
    assert terms_of([("they open doors", "sie öffnen Türen")] * 2) == []


def test_other_words_are_a_glossary() -> None:
    for terms in OTHER_WORDS.values():
        assert len(Glossary.open([tuple(pair.split(" ")) for pair in terms.split("|")]).pairs) == 15  # type: ignore[arg-type]
