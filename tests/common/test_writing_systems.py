"""Codes of languages, scripts, and words of scripts without spaces."""

import pytest

from common.writing_systems import (
    count_words,
    is_language_code,
    language_code,
    letters_by_script,
    split_words,
    unspaced_share,
)


@pytest.mark.parametrize(
    ("name", "code"),
    [("zh", "zh"), ("zh-CN", "zh"), ("zho_Hans", "zh"), ("yue", "zh"), ("JPN", "ja"), ("de_DE.utf8", "de"), ("x", "x")],
)
def test_language_code_returns_two_letters(name: str, code: str) -> None:
    assert language_code(name) == code


def test_is_language_code_rejects_other_file_endings() -> None:
    assert all(map(is_language_code, ("de", "no", "zh-TW", "jpn_Jpan", "tha")))
    assert not any(map(is_language_code, ("", "txt", "gz", "tsv", "hyp", "1", "d", "german")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Das Haus, 12,5!", ["Das", "Haus", ",", "12", ",", "5", "!"]),
        ("我有iPhone手机。", ["我", "有", "iPhone", "手", "机", "。"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("مَرْحَبًا بِكَ", ["مَرْحَبًا", "بِكَ"]),
        ("u\u0308ber", ["u\u0308ber"]),
    ],
)
def test_split_words_counts_characters_of_scripts_without_spaces(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_letters_by_script_counts_letters_only() -> None:
    assert letters_by_script(["今日は abc 1!", "カﾀ"]) == {"Chinese characters": 2, "kana": 3, "Latin": 3}


def test_unspaced_share_is_share_of_letters() -> None:
    assert unspaced_share(["今日は abc", "1 2 3!"]) == 0.5
    assert unspaced_share(["42", ""]) == 0
    assert unspaced_share(["ภาษาไทย"]) == 1


def test_count_words_counts_words_between_spaces_and_unspaced_characters() -> None:
    assert count_words("Das Haus, ja!") == 3
    assert count_words("我有iPhone手机") == 5
    assert count_words(" ") == 0
