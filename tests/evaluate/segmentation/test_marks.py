"""Tags and emoji in a translation: at the words that correspond to those of the source."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.segmentation.marks import insert_marks, move_marks, take_marks, units
from evaluate.segmentation.placeholders import MASK, mask, unmask

many = settings(max_examples=300, deadline=None, derandomize=True)
GERMAN = "Klicken Sie auf Speichern, um Ihre Änderungen zu behalten."
ALIGNED = [(0, 0), (0, 1), (1, 3), (2, 4), (2, 5), (4, 6), (5, 7), (3, 8), (3, 9), (6, 10)]


def place(source: str, target: str, aligned: list[tuple[int, int]]) -> str | None:
    """The target with the marks of the source; `aligned` are pairs of a source unit and a target unit."""
    text, marks = take_marks(mask(source))
    weights = [[float((s, t) in aligned) for s, _ in enumerate(units(text.text))] for t, _ in enumerate(units(target))]
    return insert_marks(text.text, marks, target, weights)


CASES = """
Click <b>Save</b> to keep your changes.
Klicken Sie auf <b>Speichern</b>, um Ihre Änderungen zu behalten.
Click Save to keep <i>your <b>changes</b></i>.
Klicken Sie auf Speichern, um <i>Ihre <b>Änderungen</b></i> zu behalten.
<u>Click Save to keep your changes.</u>
<u>Klicken Sie auf Speichern, um Ihre Änderungen zu behalten.</u>
<i>Click</i> <b>Save</b> to keep your changes.
<i>Klicken Sie</i> auf <b>Speichern</b>, um Ihre Änderungen zu behalten.
Click Save 😊 to keep your changes 🎉.
Klicken Sie auf Speichern 😊, um Ihre Änderungen zu behalten 🎉.
👍 Click Save to keep your changes. 🎉
👍 Klicken Sie auf Speichern, um Ihre Änderungen zu behalten. 🎉
Click Save <i>😊</i> to keep your changes.
Klicken Sie auf Speichern <i>😊</i>, um Ihre Änderungen zu behalten.
Click <b></b>Save to keep your changes.
Klicken Sie <b></b> auf Speichern, um Ihre Änderungen zu behalten.
Click </b>Save to keep <i>your changes.
Klicken Sie </b> auf Speichern, um <i>Ihre Änderungen zu behalten.
""".strip().splitlines()


@pytest.mark.parametrize(("source", "expected"), list(zip(CASES[::2], CASES[1::2], strict=True)))
def test_marks_are_at_corresponding_words(source: str, expected: str) -> None:
    assert place(source, GERMAN, ALIGNED) == expected


def test_marks_at_the_ends_need_no_weights() -> None:
    text, marks = take_marks(mask("👍 <b>Click Save to keep your changes</b>! 🎉"))
    assert text.text == "Click Save to keep your changes!"
    assert insert_marks(text.text, marks[:1] + marks[3:], GERMAN[:-1] + "!", None) == f"👍 {GERMAN[:-1]}! 🎉"
    assert insert_marks(text.text, marks, GERMAN, None) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ok😊bye", "ok bye"),
        ("Thank you 🙏 for it", "Thank you for it"),
        ("I am here 🙏, you too", "I am here, you too"),
        ("un<b>believ</b>able <img>", "unbelievable"),
    ],
)
def test_take_marks_leaves_readable_text(source: str, expected: str) -> None:
    assert take_marks(mask(source))[0].text == expected


WORDS = ["one", "two.", "<b>", "</b>", "<i>", "</i>", "😊", "<img>", "three", "!", "<u>x</u>"]
TOKENS = st.lists(st.sampled_from(WORDS), max_size=14)


@many
@given(TOKENS, st.integers(0, 999))
def test_marks_are_complete_and_nested_for_all_weights(tokens: list[str], seed: int) -> None:
    text, marks = take_marks(mask(" ".join(tokens)))
    draw = random.Random(seed)
    target = " ".join(draw.choices(["eins", "zwei,", "drei", "vier."], k=draw.randrange(6)))
    weights = [[draw.random() for _ in units(text.text)] for _ in units(target)]
    placed = insert_marks(text.text, marks, target, weights)
    assert placed is not None
    assert sorted(span.text for span in mask(placed).spans) == sorted(mark.span.text for mark in marks)
    assert re.sub(r"\s", "", unmask(*take_marks(mask(placed))[0])) == re.sub(r"\s", "", target)
    if is_nested(" ".join(tokens)):
        assert is_nested(placed)


def is_nested(text: str) -> bool:
    opened: list[str] = []
    for closing, name in re.findall(r"<(/?)([biu])>", text):
        if not closing:
            opened.append(name)
        elif not opened or opened.pop() != name:
            return False
    return not opened


def test_marks_move_with_the_words_before_them() -> None:
    words, marks = take_marks(mask("Hello {x}, you have <b>{n}</b> new {y}."))
    text = words.text.replace(MASK, "Windows", 1).replace(MASK, "X2").replace(MASK, "X3")
    moved = move_marks(marks, words.text, ["Windows", "X2", "X3"])
    assert [text[: mark.offset] for mark in moved] == ["Hello Windows, you have ", "Hello Windows, you have X2"]


def test_element_around_a_word_does_not_move_to_punctuation() -> None:
    text, marks = take_marks(mask("Hello <b>Tom</b>, you"))
    weights = [[0.6, 0.1, 0.1, 0.2], [0.3, 0.4, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.1, 0.1, 0.7]]
    assert insert_marks(text.text, marks, "Hallo , Tom du", weights) == "Hallo , <b>Tom</b> du"


def test_space_after_an_empty_element_at_the_start_stays() -> None:
    assert place('<i class="x"></i> Click <b>Save</b>.', "Klick Speichern.", [(0, 0), (1, 1)]) == (
        '<i class="x"></i> Klick <b>Speichern</b>.'
    )
