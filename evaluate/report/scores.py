"""Scores by sentence length, and the sentences with the lowest scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import CHRF

from common.writing_systems import count_words
from evaluate.metrics.bleu_tokenizer import DEFAULT, open_bleu
from evaluate.metrics.corpus_metrics import MetricScore, bleu_score, paper_score, sacrebleu_metrics, score_text
from evaluate.metrics.metric_choice import MetricChoice
from evaluate.metrics.newstest2014 import filtered_rows
from evaluate.report.suspicious import Problem
from evaluate.test_sets import TestSet

GROUP_WORDS = 10
"""Words of the source between two length groups."""
GROUPS = 6
"""Number of length groups; the last one has no upper limit."""
WORST = 20
"""Number of sentences with the lowest scores in a report."""


@dataclass(frozen=True)
class LengthGroup:
    """Scores of the sentences of similar length."""

    words: str
    """Range of the length: words of the source between spaces, or of the first reference if there is no source. In a
    script without spaces, each character counts as a word."""
    sentences: int
    bleu: float
    """BLEU with the tokenizer of the report."""
    chrf2: float
    length_ratio: float
    """Tokens of the translations per token of the references, as BLEU counts them."""


@dataclass(frozen=True)
class SentenceScore:
    """A translation with its score."""

    line: int
    """Line number, from 1."""
    chrf2: float
    """chrF2 of this sentence."""
    problems: list[Problem]
    """What is suspicious about the translation."""
    source: str | None
    hypothesis: str
    reference: str
    """The first reference."""


def score_by_length(test_set: TestSet, hypotheses: list[str], tokenizer: str = DEFAULT) -> list[LengthGroup]:
    """Return the scores of each group of similar source length that has sentences."""
    rows: list[list[int]] = [[] for _ in range(GROUPS)]
    for row, text in enumerate(test_set.sources or test_set.references[0]):
        rows[min(max(count_words(text) - 1, 0) // GROUP_WORDS, GROUPS - 1)].append(row)
    groups = enumerate(rows)
    return [_score_group(index, chosen, test_set, hypotheses, tokenizer) for index, chosen in groups if chosen]


def _score_group(index: int, rows: list[int], test_set: TestSet, hypotheses: list[str], tokenizer: str) -> LengthGroup:
    first, last = index * GROUP_WORDS + 1, (index + 1) * GROUP_WORDS
    chosen, references = _select(rows, test_set, hypotheses)
    bleu = bleu_score(open_bleu(tokenizer), chosen, references)
    return LengthGroup(
        words=f"{first}+" if index == GROUPS - 1 else f"{first}–{last}",
        sentences=len(rows),
        bleu=bleu.score,
        chrf2=CHRF().corpus_score(chosen, references).score,
        length_ratio=bleu.ratio,
    )


def length_ratio(test_set: TestSet, hypotheses: list[str], tokenizer: str = DEFAULT) -> float:
    """Return the tokens of the translations per token of the references, as BLEU counts them."""
    return float(bleu_score(open_bleu(tokenizer), hypotheses, test_set.references).ratio)


def score_filtered(test_set: TestSet, hypotheses: list[str], choice: MetricChoice) -> dict[str, MetricScore]:
    """Return the BLEU scores of sacreBLEU's wmt14, computed from the translation of all of newstest2014."""
    chosen, references = _select(filtered_rows(), test_set, hypotheses)
    scores = {choice.bleu: score_text(*sacrebleu_metrics(choice)[choice.bleu], chosen, references)}
    if test_set.languages is not None:
        scores["bleu_paper"] = paper_score(chosen, references, test_set.languages[1])
    return scores


def worst_sentences(test_set: TestSet, hypotheses: list[str], problems: list[list[Problem]]) -> list[SentenceScore]:
    """Return the sentences with the lowest chrF2, lowest first."""
    chrf, references = CHRF(), list(zip(*test_set.references, strict=True))
    scores = [chrf.sentence_score(text, list(texts)).score for text, texts in zip(hypotheses, references, strict=True)]
    return [
        SentenceScore(
            line=row + 1,
            chrf2=scores[row],
            problems=problems[row],
            source=test_set.sources[row] if test_set.sources else None,
            hypothesis=hypotheses[row],
            reference=references[row][0],
        )
        for row in sorted(range(len(scores)), key=scores.__getitem__)[:WORST]
    ]


def _select(rows: Sequence[int], test_set: TestSet, hypotheses: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return the hypotheses and references of some rows."""
    return [hypotheses[row] for row in rows], [[lines[row] for row in rows] for lines in test_set.references]
