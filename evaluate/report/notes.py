"""What a reader of a report must be told about its text: empty lines, missing spaces, other scripts, BLEU of 0."""

from common.text import is_blank
from common.writing_systems import MOSTLY, letters_by_script, split_words, unspaced_share
from evaluate.metrics.bleu_tokenizer import SPLIT_AT_SPACES
from evaluate.metrics.metric_choice import name_texts
from evaluate.test_sets import TestSet

SPACED_WORD = 25
"""A text whose words between spaces have more letters than this on average has (almost) no spaces."""
UNSPACED_WORD = 5
"""The same for scripts that put no space between words. Segmented text has shorter words."""
LONGEST_NGRAM = 4
"""Words in the longest sequences that BLEU counts."""
SHOWN_LINES = 10
"""Number of line numbers in a message."""
_JAPANESE = ("Chinese characters", "kana")


def find_empty_lines(test_set: TestSet, hypotheses: list[str]) -> dict[str, list[int]]:
    """Return the numbers, from 1, of the lines without visible characters, by the name of the text that has some."""
    sources = {} if test_set.sources is None else {"the source": test_set.sources}
    texts = sources | name_texts(hypotheses, test_set.references)
    found = {name: [number for number, line in enumerate(lines, 1) if is_blank(line)] for name, lines in texts.items()}
    return {name: numbers for name, numbers in found.items() if numbers}


def text_notes(test_set: TestSet, hypotheses: list[str], tokenizer: str, bleu: float) -> list[str]:
    """Return messages about text that BLEU cannot score well."""
    notes = []
    texts = name_texts(hypotheses, test_set.references)
    for name, lines in texts.items() if tokenizer in SPLIT_AT_SPACES else ():
        if has_no_spaces(lines):
            notes.append(
                f"{name} has almost no spaces, and the tokenizer {tokenizer} splits words at spaces: BLEU compares "
                "whole sentences. Give --tokenize char, or zh for Chinese, or put spaces between the words."
            )
    if other := _other_script(hypotheses, test_set.references):
        notes.append(other)
    if round(bleu, 2) == 0 and not notes:
        notes.append(_why_zero(hypotheses, test_set.references))
    return notes


def has_no_spaces(lines: list[str]) -> bool:
    """Return True if the words between spaces are too long to be words."""
    words = [word for line in lines for word in line.split()]
    longest = UNSPACED_WORD if unspaced_share(lines) >= MOSTLY else SPACED_WORD
    return sum(map(len, words)) > longest * max(1, len(words))


def _why_zero(hypotheses: list[str], references: list[list[str]]) -> str:
    if all(len(split_words(line)) < LONGEST_NGRAM for lines in (hypotheses, *references) for line in lines):
        return (
            f"BLEU is 0.00: it needs sequences of {LONGEST_NGRAM} words, and no line has {LONGEST_NGRAM} words. "
            "Read chrF instead."
        )
    return (
        "BLEU is 0.00: translation and reference have almost no sequences of words in common. Check that line n of "
        "one is the translation of line n of the other, in the same language."
    )


def _other_script(hypotheses: list[str], references: list[list[str]]) -> str | None:
    """Return a message if the translation is mostly in another script than the first reference."""
    found, expected = _main_script(hypotheses), _main_script(references[0])
    if found is None or expected is None or found == expected or {found, expected} == set(_JAPANESE):
        return None
    return f"the translation is mostly in {found}, the reference in {expected}. Check that the files belong together."


def _main_script(lines: list[str]) -> str | None:
    scripts = letters_by_script(lines)
    (script, letters), *_ = scripts.most_common(1) or [("", 0)]
    if letters < MOSTLY * max(1, scripts.total()):
        return None
    return script if script in _JAPANESE else f"{script} script"
