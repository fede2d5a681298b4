"""Fit the confidence of a model to the chrF of its translations, and measure how well it ranks sentences."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from evaluate.confidence import Calibration, count_levels, features
from evaluate.translation import Translation
from evaluate.translator import Translator

PENALTY = 1e-3
"""Factor of the squared weights, so that the fit is unique if all sentences have the same mean level."""


class Scored(NamedTuple):
    """A translated sentence."""

    source: list[int]
    translation: Translation
    chrf: float
    """chrF2 of the translation, from 0 to 1."""


def score_sentences(translator: Translator, sources: list[str], references: list[str]) -> list[Scored]:
    """Translate each source as a whole and score it. Sources without a letter are skipped."""
    from sacrebleu.metrics import CHRF

    chrf, encoded = CHRF(), translator.encode(sources)
    found = translator.ids.translate(encoded)
    return [
        Scored(ids, best[0], chrf.sentence_score(best[0].text, [reference]).score / 100)
        for ids, best, reference in zip(encoded, found, references, strict=True)
        if best[0].tokens
    ]


def fit(translator: Translator, scored: list[Scored], sources: list[str], targets: list[str]) -> Calibration:
    """Return the calibration of scored sentences. Its frequencies are those of `sources` and `targets`."""
    encode, size = translator.tokenizer.encode, translator.tokenizer.vocab_size
    levels = count_levels(encode(sources), size), count_levels(encode(targets), size)
    rows = [(1.0, *features(levels[0], s.source, s.translation.tokens, s.translation.log_prob)) for s in scored]
    bias, log_prob, frequency = fit_logistic(rows, [s.chrf for s in scored])
    return Calibration(round(bias, 4), round(log_prob, 4), round(frequency, 4), *levels)


def fit_logistic(rows: Sequence[Sequence[float]], values: list[float]) -> list[float]:
    """Return the weights of a logistic function of the rows with the smallest cross-entropy to values from 0 to 1."""
    x, y = torch.tensor(rows, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    weights, penalty = torch.zeros(x.shape[1], dtype=torch.float64), PENALTY * torch.eye(x.shape[1]).double()
    for _ in range(30):  # Newton's method
        p = (x @ weights).sigmoid()
        gradient = x.T @ (p - y) + penalty @ weights
        weights -= torch.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + penalty, gradient)
    return [float(weight) for weight in weights]


def confidences(calibration: Calibration, scored: list[Scored]) -> list[float]:
    """Return the confidence of each sentence."""
    return [calibration.confidence(s.source, s.translation.tokens, s.translation.log_prob) for s in scored]


def log_probs(scored: list[Scored]) -> list[float]:
    """Return the log-probability per token of each sentence."""
    return [s.translation.log_prob / len(s.translation.tokens) for s in scored]


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Return Spearman's rank correlation."""
    return float(torch.corrcoef(torch.stack([_ranks(a), _ranks(b)]))[0, 1])


def _ranks(values: list[float]) -> torch.Tensor:
    """Return the rank of each value; equal values have their mean rank."""
    x = torch.tensor(values, dtype=torch.float64)
    return ((x[:, None] > x).double() + (x[:, None] == x).double() / 2).sum(1)


class Tenth(NamedTuple):
    """Sentences whose confidence is in the same tenth of its range."""

    lowest: float
    sentences: int
    confidence: float
    chrf: float


def reliability(found: list[float], chrf: list[float]) -> list[Tenth]:
    """Return number, mean confidence and mean chrF of the sentences of each tenth that has sentences."""
    rows = []
    for tenth in range(10):
        chosen = [i for i, value in enumerate(found) if min(9, int(value * 10)) == tenth]
        if chosen:
            confidence, score = (sum(x[i] for i in chosen) / len(chosen) for x in (found, chrf))
            rows.append(Tenth(tenth / 10, len(chosen), confidence, score))
    return rows
