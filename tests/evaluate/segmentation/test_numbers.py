"""Numbers: which ones a translation lacks, and how they are mended."""

import re

import pytest

from evaluate.segmentation.numbers import lost_numbers, mask_numbers, numbers_note
from evaluate.segmentation.placeholders import MaskedText, unmask
from evaluate.segmentation.protection import NUMBERS, Translate, translate_all
from evaluate.translation import Translation


@pytest.mark.parametrize(
    ("source", "translation", "lost"),
    [
        ("about 1,250,000 people", "etwa 1.250.000 Menschen", []),
        ("1 250 000 people", "1250000 Menschen", []),
        ("12.5 and 3", "3 und 12,5", []),
        ("on 3 May 1998", "am 3. Mai 1998", []),
        ("at 2:30", "um halb drei", []),
        ("no number", "keine 5", []),
        ("10000 yen", "100 Yen", ["10000"]),
        ("2 and 2", "2", ["2"]),
        ("Call 030 123456.", "Ruf halb drei456 an.", ["030123456"]),
    ],
)
def test_lost_numbers_are_those_without_their_digits(source: str, translation: str, lost: list[str]) -> None:
    assert lost_numbers(source, translation) == lost


def test_numbers_in_words_are_not_masked() -> None:
    masked = mask_numbers("MP3 has 1,250.5 and 10/11, 2nd.")
    assert [span.text for span in masked.spans] == ["1,250.5", "10/11"]
    assert [span.text for span in mask_numbers("Call +49 30 123-456.").spans] == ["+49 30 123-456"]
    assert unmask(*masked) == "MP3 has 1,250.5 and 10/11, 2nd."


def test_note_names_lines() -> None:
    assert numbers_note([]) is None
    assert numbers_note([3]) == "line 3 has numbers that its translation lacks or has as words"


def translate(line: str, *forms: str) -> tuple[str, int]:
    """The best translation by a model that gives `forms`, {} being the text, and how often it was called."""
    calls = []

    def model(texts: list[str]) -> list[list[Translation]]:
        calls.append(texts)
        return [[Translation(form.replace("{}", text), 0.0, 0.0, ()) for form in forms] for text in texts]

    first: Translate = lambda texts: [found[:1] for found in model(texts)]  # noqa: E731
    (found,) = translate_all([MaskedText(line)], first, model, numbers=True)
    return found[0].text, len(calls)


def test_translation_with_the_numbers_is_taken() -> None:
    assert translate("has 13", "hat 13") == ("hat 13", 1)
    assert translate("has 13", "hat 3", "hat 13 und 4", "hatte 13") == ("hatte 13", 2)
    assert translate("has 13", "hat 3", "hat {}") == ("hat has 13", 2)


def test_numbers_are_replaced_by_stand_ins_if_no_translation_has_them() -> None:
    def model(texts: list[str]) -> list[list[Translation]]:
        return [
            [Translation(text if NUMBERS[0][0] in text else re.sub(r"\d", "0", text), 0.0, 0.0, ())] for text in texts
        ]

    (found,) = translate_all([MaskedText("It has 1,300 km.")], model, model, numbers=True)
    assert found[0].text == "It has 1,300 km."


def test_first_translation_stays_if_numbers_cannot_be_mended() -> None:
    assert translate("has 13", "hat drei", "hatte 3") == ("hat drei", 4)


def test_numbers_are_not_examined_unless_wanted() -> None:
    model: Translate = lambda texts: [[Translation("drei", 0.0, 0.0, ())] for _ in texts]  # noqa: E731
    assert translate_all([MaskedText("has 13")], model, lambda _: pytest.fail("translated again"))[0][0].text == "drei"
