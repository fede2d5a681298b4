"""TER of many shifts at once equals sacreBLEU's."""

import random
import time

import pytest
from sacrebleu.metrics import TER
from sacrebleu.metrics.lib_ter import translation_edit_rate

from evaluate.metrics.edit_rate import FastTER, count_edits
from tests.evaluate.texts import HYPOTHESES, REFERENCES, WORSE


def shuffle_spans(words: list[str], rng: random.Random, vocabulary: int) -> list[str]:
    """Move spans of words, replace a tenth of the words and delete a twentieth."""
    for _ in range(rng.randrange(6)):
        start = rng.randrange(len(words) + 1)
        end = start + rng.randrange(8)
        rest, span = words[:start] + words[end:], words[start:end]
        place = rng.randrange(len(rest) + 1)
        words = rest[:place] + span + rest[place:]
    kept = [word for word in words if rng.random() > 0.05]
    return [word if rng.random() > 0.1 else str(rng.randrange(vocabulary)) for word in kept]


@pytest.mark.parametrize("vocabulary", [2, 5, 20, 200])
@pytest.mark.parametrize("length", [0, 1, 3, 10, 30, 70])
def test_count_edits_equals_sacrebleu(vocabulary: int, length: int) -> None:
    rng = random.Random(vocabulary + length)
    for _ in range(6 if length < 30 else 1):
        reference = [str(rng.randrange(vocabulary)) for _ in range(length)]
        unrelated = [str(rng.randrange(vocabulary)) for _ in range(rng.randrange(60))]
        for words in (unrelated, shuffle_spans(reference, rng, vocabulary)):
            assert count_edits(words, reference) == translation_edit_rate(words, reference)[0]


def test_fast_ter_equals_ter_with_two_references() -> None:
    references = [REFERENCES, WORSE]
    assert FastTER().corpus_score(HYPOTHESES, references).score == TER().corpus_score(HYPOTHESES, references).score


def test_fast_ter_of_shuffled_long_lines_takes_seconds() -> None:
    """sacreBLEU's own TER takes about a minute."""
    rng = random.Random(1)
    references = [[str(rng.randrange(100)) for _ in range(250)] for _ in range(6)]
    hypotheses = [" ".join(shuffle_spans(words, rng, 100)) for words in references]
    start = time.perf_counter()
    FastTER().corpus_score(hypotheses, [[" ".join(words) for words in references]])
    assert time.perf_counter() - start < 10
