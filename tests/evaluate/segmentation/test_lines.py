"""Segmentation: sentences of a text, segments of a long sentence, and unusual text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.text import has_letter, one_line
from evaluate.config import DecodeConfig
from evaluate.segmentation.lines import SegmentedLine, Segmenter, translate_segments
from evaluate.segmentation.sentences import split_sentences
from evaluate.translation import EMPTY, Translation
from evaluate.translator import Translator
from tests.tiny_model import make_folder

few = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    folder: Path = make_folder(tmp_path_factory.mktemp("model"))
    return Translator.from_pretrained(folder, DecodeConfig(beam=2, max_extra=2), "cpu")


def segmenter(translator: Translator, documents: bool = False, limit: int = 40, sentences: bool = False) -> Segmenter:
    return Segmenter(translator.tokenizer, limit, sentences=sentences, documents=documents)


# A bar separates the sentences.
ENGLISH = [
    'Dr. Smith paid $3.50 for it. |He left at 5 p.m. on Monday. |Mr. J. K. Rowling said "Stop it." |Then she went.',
    "Is it? |Yes! |No... maybe. |See fig. 3 and e.g. this one.  |Two spaces here.",
    "The U.S. Army came. |It was the U.S. |It was.",
    'He asked, "Why?" and left. |(It was late.) |Then he slept.',
    "No. 5 is alive. |No. |He left in 1990. |Then 3 came. |Smith et al. (2020) say so.",
    "1. First item. |2. Second item.",
    "“Stop!” he cried. |Version 2.0.1 is out. |Visit example.com now!!",
    "lower case. next one.",
    "Nathaniel P. Morris read p. 5. |S. Morris did not.",
    '"Should I?" - as a vegan, no. |- Hi! |- Hello!',
]
GERMAN = [
    "Am 3. Oktober 1990 war es so weit. |Dr. Müller kam z. B. um 5 Uhr. |Er sagte: „Halt!“ |Dann ging er.",
    "Das kostet ca. 3.500 Euro bzw. mehr. |Der 1. FC Köln gewann. |Ludwig XIV. Bourbon war König.",
    "Es war 1990. |Danach kam er. |Das ist z.B. gut. |Siehe S. 5 und Nr. 7.",
    '"Was?", fragte er. |»Nichts.« |Sie ging.',
    "„Halt!“ rief er. |Am 24. Dezember kam Hr. Meier. |Ende …",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_split_sentences_finds_english_sentences(text: str) -> None:
    assert "|".join(split_sentences(text.replace("|", ""), "en")) == text


@pytest.mark.parametrize("text", GERMAN)
def test_split_sentences_finds_german_sentences(text: str) -> None:
    assert "|".join(split_sentences(text.replace("|", ""), "de")) == text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("zh", "你好。|再见！|好。"),
        ("zh", "他说：“好。她来。”我们走。|“走吧！”|“好。” |他走了……她来。"),
        ("ja", "「行く。」と彼は言った。|「え？」|『本』です。|彼は「はい。いいえ。」と言う。|終わり。"),
        ("hi", "वह आया। |वह गया।|क्या? |हाँ॥"),
        ("my", "သူလာသည်။ |သူသွားသည်။"),
        ("am", "መጣ። |ሄደ።"),
        ("hy", "Նա եկավ։ |Նա գնաց։"),
        ("ar", "مرحبا. |كيف حالك؟ |جيد."),
        ("ar", "جاء د. محمد.\u200f |ذهب!\u200f |نعم."),
        ("he", "שלום. |מה שלומך? |טוב."),
        ("ur", "وہ آیا۔ |وہ گیا۔"),
        ("en", "He came.\u200b|She went.\u00a0|Then."),
    ],
)
def test_split_sentences_finds_marks_of_other_scripts(language: str, text: str) -> None:
    assert "|".join(split_sentences(text.replace("|", ""), language)) == text


any_text = st.text(st.sampled_from('aB1 .!?…,"”)„(。！\t\u00a0\u2028\x85\x00\x1c\u0301\u200d👩🏽א؟é\r-'), max_size=120)


@few
@given(any_text, st.sampled_from(["en", "de"]))
def test_split_sentences_joined_equal_text(text: str, language: str) -> None:
    assert "".join(split_sentences(text, language)) == text


@pytest.mark.parametrize("text", ["!" * 50_000, '."' * 30_000, "a. " * 20_000, "3. Mai " * 10_000, ". " * 20_000])
def test_split_sentences_takes_linear_time(text: str) -> None:
    assert "".join(split_sentences(text, "de")) == text


@few
@given(
    line=any_text | st.text(max_size=80),
    documents=st.booleans(),
    sentences=st.booleans(),
    symbols=st.booleans(),
    limit=st.integers(12, 40),
)
def test_segments_fit_limit_and_keep_all_text(
    translator: Translator, line: str, documents: bool, sentences: bool, symbols: bool, limit: int
) -> None:
    how = {"sentences": sentences, "symbols": symbols, "documents": documents}
    (split,) = Segmenter(translator.tokenizer, limit, **how).split([line])
    assert len(split.gaps) == len(split.segments) + 1
    whole = split.gaps[0] + "".join(part + gap for part, gap in zip(split.segments, split.gaps[1:], strict=True))
    kept = documents or split.is_copied
    assert whole == (one_line(line) if kept else one_line(line).strip())
    assert all(symbols or has_letter(part) for part in split.segments)
    assert all(len(translator.tokenizer.encode([part])[0]) <= limit for part in split.segments)
    assert all(part == part.strip() for part in split.segments)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a b c d e; f g h i, j k l m", ["a b c d e;", "f g h i, j k l m"]),
        ("a b c d e, f g h i j k l m", ["a b c d e,", "f g h i j k l m"]),
        ("a b c d e f g h i j k l m n", ["a b c d e f g", "h i j k l m n"]),
        ("x" * 40, ["x" * 20, "x" * 20]),
        ("ที่" * 4, ["ที่" * 2] * 2),  # not between a consonant and its vowel
        ("ไป" * 5, ["ไป" * 2, "ไป" * 3]),  # the vowel is before its consonant
        ("हिन्दी" * 2, ["हिन्दी"] * 2),
        ("書名一二三，四五六", ["書名一二三，", "四五六"]),
    ],
)
def test_segmenter_splits_at_punctuation_then_space_then_anywhere(
    translator: Translator, line: str, parts: list[str]
) -> None:
    (split,) = segmenter(translator, limit=22).split([line])
    assert list(split.segments) == parts
    assert split.too_long


def test_segmenter_splits_long_line_into_sentences_first(translator: Translator) -> None:
    (split,) = segmenter(translator, limit=22).split([" a b. A b c d e f, g h i j.  A b c d e f g h i j k l m n "])
    assert split.segments == ("a b.", "A b c d e f, g h i j.", "A b c d e f g", "h i j k l m n")
    assert split.gaps == ("", " ", "  ", " ", "")
    assert split.too_long


def test_segmenter_splits_sentences_of_line_that_fits_by_default(translator: Translator) -> None:
    (split,) = Segmenter(translator.tokenizer, 40).split([" One. Two. "])
    assert split == SegmentedLine(("One.", "Two."), ("", " ", ""), sentences=2)
    (whole,) = segmenter(translator).split(["One. Two."])
    assert whole == SegmentedLine(("One. Two.",), ("", ""))


SYMBOLS = ["-", "…", "42", "(3)", " 3.50 € ", "👩🏽", "\u200b\u2060", "\u3164\u115f", "١٢", "\U000e0041"]


@pytest.mark.parametrize("line", SYMBOLS)
def test_segmenter_copies_line_without_letter(translator: Translator, line: str) -> None:
    (split,) = Segmenter(translator.tokenizer, 40).split([line])
    assert split == SegmentedLine((), (line,))
    assert split.is_copied
    assert split.join([]) == [Translation(line, 0.0, 0.0, ())]
    (translated,) = Segmenter(translator.tokenizer, 80, symbols=True).split([line])
    assert translated.segments == (line.strip(),)


@pytest.mark.parametrize("line", ["", " ", "\t", "\u00a0\u3000\u2009", "\n"])
def test_segmenter_leaves_line_of_white_space_empty(translator: Translator, line: str) -> None:
    for symbols in (False, True):
        (split,) = Segmenter(translator.tokenizer, 40, symbols=symbols).split([line])
        assert split.join([]) == [EMPTY]
        assert not split.is_copied


def test_segmenter_copies_sentence_without_letter(translator: Translator) -> None:
    (split,) = Segmenter(translator.tokenizer, 40).split(["Go! 1990! (…) Then stop. …"])
    assert split.segments == ("Go!", "Then stop.")
    assert split.gaps == ("", " 1990! (…) ", " …")


def test_segmenter_reports_line_that_is_too_long_although_its_sentences_fit(translator: Translator) -> None:
    (split,) = Segmenter(translator.tokenizer, 22).split(["Ab cd ef gh. Ij kl mn. Op qr."])
    assert len(split.segments) == split.sentences == 3
    assert split.too_long


def test_segmenter_rejects_limit_below_single_character(translator: Translator) -> None:
    with pytest.raises(ValueError, match="alone has more tokens than the model's limit of 2"):
        segmenter(translator, limit=2).split(["語語"])


def test_translate_segments_translates_all_segments_at_once(translator: Translator) -> None:
    asked: list[list[str]] = []

    def upper(parts: list[str]) -> list[list[Translation]]:
        asked.append(parts)
        return [[Translation(part.upper(), -1.0, -2.0, (7, 3))] for part in parts]

    lines = ["  One here.  Two here. ", "", "\tThree."]
    split = segmenter(translator, documents=True).split(lines)
    joined = translate_segments(split, upper)
    assert asked == [["One here.", "Two here.", "Three."]]
    assert [best[0].text for best in joined] == ["  ONE HERE.  TWO HERE. ", "", "\tTHREE."]
    assert joined[0][0] == Translation("  ONE HERE.  TWO HERE. ", -2.0, -4.0, (7, 3, 7, 3))


def test_join_combines_n_best_of_segments_by_rank() -> None:
    split = SegmentedLine(("a", "b"), ("", " ", ""))
    best = [
        [Translation("A", -1.0, -1.0, (1,)), Translation("AA", -2.0, -2.0, (2,))],
        [Translation("B", -3.0, -3.0, (3,))],
    ]
    assert [t.text for t in split.join(best)] == ["A B", "AA B"]
    assert [t.score for t in split.join(best)] == [-4.0, -5.0]


@pytest.mark.parametrize("gap", ["", " "])
def test_join_puts_space_between_sentences_if_target_needs_it(gap: str) -> None:
    def text(words: list[str]) -> str:
        split = SegmentedLine(("a", "b"), ("", gap, ""))
        return split.join([[Translation(word, 0.0, 0.0, ())] for word in words])[0].text

    assert text(["Hello.", "Bye."]) == "Hello. Bye."
    assert text(["你好。", "再见。"]) == "你好。再见。"


STRANGE = [
    "👩‍👩‍👧🏽 family 🇩🇪",
    "tab\there\tand\u00a0there",
    "\x00\x01\x1b[31m\x7f\x85 control",
    "مرحبا بالعالم \u202eabc\u202c שלום",
    "e\u0301 a\u0308 \u1e9b\u0323",
    "\u2028\u2029\u200b\ufeff",
    "line\rbreak\nbreak",
    "▁ \ufffd <s> </s> <pad> ⁇",
    "語" * 100,
    "a\u0301" * 100,
    "💥" * 100,
]


@pytest.mark.parametrize("documents", [False, True])
def test_translate_segments_accepts_text_of_every_kind(translator: Translator, documents: bool) -> None:
    split = segmenter(translator, documents, translator.max_len, sentences=True).split(STRANGE)
    texts = [best[0].text for best in translate_segments(split, translator.translate)]
    assert len(texts) == len(STRANGE)
    assert not any("\n" in text or "\r" in text for text in texts)
