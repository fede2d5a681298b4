"""Protected spans: a translation contains them as often as the source, whatever the model does."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text import has_letter
from evaluate.segmentation import protection
from evaluate.segmentation.placeholders import MASK, mask, unmask
from evaluate.segmentation.protection import STAND_INS, Translate, is_kept, translate_all
from evaluate.translation import Translation

many = settings(max_examples=300, deadline=None, derandomize=True)


def translation(text: str) -> Translation:
    return Translation(text, -1.0, -1.0, (5,))


def model(*translations: str) -> Translate:
    """A model that gives every text the same translations; `{}` is the text."""
    return lambda texts: [[translation(form.replace("{}", text)) for form in translations] for text in texts]


def translate(line: str, model: Translate) -> list[str]:
    (found,) = translate_all([mask(line)], model, model, None, 2)
    return [t.text for t in found]


def reverse(texts: list[str]) -> list[list[Translation]]:
    return [[translation(" ".join(reversed(text.split())))] for text in texts]


def test_text_without_spans_is_translated_all_at_once() -> None:
    calls: list[list[str]] = []

    def record(texts: list[str]) -> list[list[Translation]]:
        calls.append(texts)
        return reverse(texts)

    def never(texts: list[str]) -> list[list[Translation]]:
        raise AssertionError

    segments = [mask("a b"), mask("c d")]
    assert [found[0].text for found in translate_all(segments, record, never, None)] == ["b a", "d c"]
    assert calls == [["a b", "c d"]]


def test_words_come_back_where_their_stand_ins_are() -> None:
    assert translate("write {name} to a@example.com", reverse) == ["a@example.com to {name} write"]


def test_names_that_the_text_contains_are_no_stand_ins() -> None:
    name = STAND_INS[0][0]
    assert translate(f'{name} has <a title="{STAND_INS[0][1]}"> {{x}}', model("{}"))[0].startswith(f"{name} has")


def test_translation_without_its_stand_ins_is_replaced_by_the_next() -> None:
    assert translate("see {x} now", model("seen", "seen {}", "{} again")) == ["seen see {x} now", "see {x} now again"]


def test_next_stand_ins_are_tried() -> None:
    second = STAND_INS[1][0]
    only_second: Translate = lambda texts: [[translation(t if second in t.split() else "gone")] for t in texts]  # noqa: E731
    assert translate("see {x} now", only_second) == ["see {x} now"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("see {x} now", "lost {x} lost"),
        ("see {x}, {y}.", "lost {x}, {y}."),
        ("{x} see", "{x} lost"),
        ("a <b>c</b> d", "lost <b>lost</b> lost"),
    ],
)
def test_parts_between_spans_are_translated_if_all_stand_ins_are_lost(line: str, expected: str) -> None:
    assert translate(line, model("lost")) == [expected]


def test_segment_is_copied_if_the_model_writes_its_spans() -> None:
    assert translate("see {x} now", model("{x} {x}")) == ["see {x} now"]


def test_score_and_tokens_are_those_of_the_model() -> None:
    (found,) = translate_all([mask("see {x}")], reverse, reverse, None)
    assert found[0].log_prob == -1.0
    assert found[0].tokens == (5,)


PARTS = [
    "a",
    "see",
    " ",
    " ",
    ". ",
    "{x}",
    "{y}",
    "%s",
    "<b>",
    "</b>",
    "😊",
    "a@b.de",
    "Tom",
    "X",
    "&amp;",
    MASK,
    "`c d`",
]
OUTPUTS = ["", "Tom", "X Y", "Tom Tom", "Peter Tom", "{x}", "<b>", "Toms", "😊 a", "X", "%s"]


@many
@given(st.lists(st.sampled_from(PARTS), max_size=12).map("".join), st.lists(st.sampled_from(OUTPUTS), min_size=1))
def test_every_translation_of_every_model_keeps_the_spans(line: str, outputs: list[str]) -> None:
    masked = mask(line)
    if not has_letter(masked.visible) or "\U000f0001" in masked.text:
        return

    def outputs_in_turn() -> Iterator[str]:
        while True:
            yield from outputs

    drawn = outputs_in_turn()

    def unreliable(texts: list[str]) -> list[list[Translation]]:
        return [[translation(next(drawn)), translation(text + next(drawn))] for text in texts]

    (found,) = translate_all([masked], unreliable, unreliable, None, 2)
    assert found
    if masked.spans:
        assert all(is_kept(masked, t.text) for t in found)


def test_stand_ins_are_different_and_no_part_of_each_other() -> None:
    names = [name for group in protection.STAND_INS for name in group]
    assert len({*names}) == len(names)
    assert unmask(MASK, mask("{x}").spans) == "{x}"
