"""Suspicious translations: examples of each problem, and of text that looks like one."""

import pytest

from evaluate.report.suspicious import find_problems


@pytest.mark.parametrize(
    ("source", "hypothesis", "reference", "problems"),
    [
        ("I go home now.", "Ich gehe jetzt nach Hause.", "Ich gehe jetzt heim.", []),
        ("I go home.", "Ich gehe, ich gehe, ich gehe, heim.", "Ich gehe heim.", ["loop", "too long"]),
        ("No, no, no, no!", "Nein, nein, nein, nein!", "Nein, nein!", []),  # the source repeats, too
        ("A very good one.", "Ein sehr sehr guter.", "Ein sehr guter.", []),  # two repetitions are no loop
        ("Well then.", "Na dann ...“", "Nun gut.", []),  # three dots are one mark
        ("Saxons.", "Sachsachsachsachsachsen.", "Sachsen.", ["loop"]),  # inside a word
        ("It costs 1000000 euros.", "Es kostet 1000000 Euro.", "Es kostet 1000000 Euro.", []),
        ("The dog sees a cat.", "The dog sees a cat.", "Der Hund sieht eine Katze.", ["copied source"]),
        ("The dog sees a cat.", "Der dog sees a Katze.", "Der Hund sieht eine Katze.", ["copied source"]),
        ("Angela Merkel, CDU (2014)", "Angela Merkel, CDU (2014)", "Angela Merkel, CDU (2014)", []),
        ("Hotel Adlon", "Hotel Adlon", "Das Adlon", []),  # too few words
        ("One two three four five six.", "Eins.", "Eins zwei drei vier fünf sechs.", ["too short"]),
        ("No.", "Nein.", "Auf keinen Fall.", []),  # the difference is below 4 words
        ("Yes.", "Ja, das ist ganz gewiss so.", "Ja.", ["too long"]),
        ("Yes.", " ", "Ja.", ["empty"]),
        ("", "", "", []),
    ],
)
def test_find_problems_returns_problems_of_examples(
    source: str, hypothesis: str, reference: str, problems: list[str]
) -> None:
    assert find_problems(source, hypothesis, [reference]) == problems


def test_find_problems_compares_loops_with_references_if_source_is_none() -> None:
    assert find_problems(None, "ja ja ja ja", ["ja ja ja ja"]) == []
    assert find_problems(None, "ja ja ja ja", ["ja doch ja eben"]) == ["loop"]
    assert find_problems(None, "", ["ja"]) == ["empty"]


def test_find_problems_accepts_length_of_any_reference() -> None:
    assert find_problems("A b.", "a b c d e f g h", ["a b", "a b c d e f g"]) == []
