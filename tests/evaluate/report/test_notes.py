"""Messages of a report about its text."""

import re

import pytest

from evaluate.report.notes import find_empty_lines, has_no_spaces, text_notes
from evaluate.test_sets import TestSet


def test_find_empty_lines_counts_invisible_characters_as_empty() -> None:
    test_set = TestSet("x", ["a", "\u200b"], [["a", "\u00a0\t"], ["b", "c"]])
    found = find_empty_lines(test_set, ["", "\ufeff"])
    assert found == {"the source": [2], "the translation": [1, 2], "reference 1": [2]}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["我每天早上喝茶。", "火车晚点。"], True),
        (["我 每天 早上 喝 茶 。"], False),
        (["ฉันดื่มชาทุกเช้า"], True),
        (["DasHausamEndederStraßeistsehralt."], True),
        (["Donaudampfschifffahrtsgesellschaft fährt.", "Das Haus ist alt."], False),
        (["나는 매일 아침 차를 마신다."], False),
        ([""], False),
    ],
)
def test_has_no_spaces(lines: list[str], expected: bool) -> None:
    assert has_no_spaces(lines) is expected


@pytest.mark.parametrize(
    ("hypothesis", "reference", "tokenizer", "bleu", "note"),
    [
        ("Das Haus ist alt.", "Das Haus ist alt.", "13a", 100, None),
        ("我每天早上喝茶。", "我每天早上喝茶。", "zh", 100, None),
        ("我每天早上喝茶。", "我每天早上都喝茶。", "13a", 0, "the translation has almost no spaces.*--tokenize char"),
        (
            "Das Haus ist alt.",
            "我每天早上喝茶。",
            "zh",
            0,
            "mostly in Latin script, the reference in Chinese characters",
        ),
        ("Дом старый.", "Das Haus ist alt.", "13a", 0, "mostly in Cyrillic script, the reference in Latin script"),
        ("Ein Hund.", "Das Haus ist alt.", "13a", 0.004, "BLEU is 0.00"),
        ("天気", "天気です", "char", 50, None),
        ("...", "Das Haus", "13a", 0, "BLEU is 0.00"),
    ],
)
def test_text_notes_explain_low_bleu(
    hypothesis: str, reference: str, tokenizer: str, bleu: float, note: str | None
) -> None:
    found = text_notes(TestSet("x", None, [[reference]]), [hypothesis], tokenizer, bleu)
    if note is None:
        assert found == []
    else:
        assert re.search(note, " ".join(found))
