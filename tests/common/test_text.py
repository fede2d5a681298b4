"""Lines without visible characters, and control characters."""

from common.text import is_blank, show_controls


def test_is_blank_is_true_for_invisible_characters() -> None:
    assert all(map(is_blank, ("", " \t", "\u00a0", "\u3000", "\u200b", "\ufeff", "\x1b")))
    assert not any(map(is_blank, ("-", ".", "\u0301", "a")))


def test_show_controls_escapes_what_terminals_obey() -> None:
    assert show_controls("a\x1b[31m\x07\x9b\n\tä 字\u200d") == "a\\x1b[31m\\x07\\x9b\\n\\tä 字\u200d"
    assert show_controls("a\n\x1b", keep="\n") == "a\n\\x1b"
