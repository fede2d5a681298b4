"""The vocabulary of single characters keeps every text of its characters and rejects all others."""

import time
from pathlib import Path

import pytest

from data_pipeline.tokenizers.characters import CharTokenizer
from tests.data_pipeline.tokenizers.texts import HARD_TEXTS, make_random_texts, make_text


@pytest.fixture
def characters(tmp_path: Path) -> CharTokenizer:
    return CharTokenizer.learn(["".join(HARD_TEXTS), *make_random_texts()], tmp_path / "tokenizer.model")


def test_characters_round_trip(characters: CharTokenizer) -> None:
    for text in [*HARD_TEXTS, *make_random_texts()]:
        assert characters.decode_text(characters.encode_text(text)) == text


def test_char_tokenizer_sorts_characters_by_code_point(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.learn(["hello\n", "Welt 😀!"], tmp_path / "t")
    assert tokenizer.decode_text(list(range(tokenizer.vocab_size))) == "\n !Wehlot😀"


def test_char_tokenizer_always_contains_line_break(tmp_path: Path) -> None:
    assert CharTokenizer.learn(["ab"], tmp_path / "t").encode_text("a\nb") == [1, 0, 2]


def test_char_tokenizer_has_no_end_id(characters: CharTokenizer) -> None:
    assert characters.end_id is None


def test_char_tokenizer_rejects_unknown_character_with_context(tmp_path: Path) -> None:
    tokenizer = CharTokenizer.learn(["abc"], tmp_path / "t")
    with pytest.raises(
        ValueError,
        match=r"'é' \(U\+00E9\) \(in 'ab\\na\\né.*'\), which is not one of the 4 characters .*\. Replace or remove it",
    ):
        tokenizer.encode_text("ab\na\né😀")


def test_char_tokenizer_rejects_lone_surrogate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the lone surrogate '\\ud83d' \(U\+D83D\)"):
        CharTokenizer.learn(["a\ud83d"], tmp_path / "t")
    with pytest.raises(ValueError, match=r"contains .*\(U\+D83D\)"):
        CharTokenizer.learn(["a"], tmp_path / "t").encode_text("a\ud83d")


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_char_tokenizer_rejects_empty_text(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="no text to collect characters from"):
        CharTokenizer.learn(texts, tmp_path / "t")


def test_char_tokenizer_encodes_million_characters_in_2_seconds(tmp_path: Path) -> None:
    text = make_text(200) * 200
    assert len(text) > 1_000_000
    tokenizer = CharTokenizer.learn([text], tmp_path / "t")
    begin = time.perf_counter()
    assert tokenizer.decode_text(tokenizer.encode_text(text)) == text
    assert time.perf_counter() - begin < 2, "usually 0.2 seconds"


@pytest.mark.parametrize(
    "content",
    ["", "hello", "[]", "[" * 100_000, "{}", '{"type": "characters"}', '{"type": "characters", "characters": "aa"}'],
)
def test_char_tokenizer_rejects_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match=r"t\.json is not a vocabulary of characters"):
        CharTokenizer(tmp_path / "t.json")
