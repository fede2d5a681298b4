"""Test if two recipes differ in BLEU, from translations by several models of each, trained with different seeds."""

from collections.abc import Sequence

import numpy as np

from evaluate.metrics.bleu_tokenizer import DEFAULT, open_bleu

Statistics = np.ndarray
"""Per sentence: length of hypothesis and reference, matching n-grams and all n-grams for n = 1 to 4."""


def sentence_statistics(hypotheses: Sequence[str], references: Sequence[str], tokenizer: str = DEFAULT) -> Statistics:
    """Return the numbers (sentences, 10) whose sums determine the BLEU of the corpus, with sacreBLEU's tokenizer."""
    bleu = open_bleu(tokenizer)
    rows = []
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        score = bleu.corpus_score([hypothesis], [[reference]])
        rows.append([score.sys_len, score.ref_len, *score.counts, *score.totals])
    return np.array(rows)


def mean_bleu(sums: np.ndarray) -> float:
    """Return the mean BLEU of several corpora from the sums of their statistics, (corpora, 10).

    It is sacreBLEU's. A corpus without a matching 4-gram has 0, because corpora need no smoothing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(sums[:, 2:6] / sums[:, 6:]).mean(axis=1))
        brevity = np.exp(np.minimum(0.0, 1 - sums[:, 1] / sums[:, 0]))
    return float(100 * np.nan_to_num(precision * brevity).mean())


def p_value(ours: Sequence[Statistics], base: Sequence[Statistics], trials: int = 2000, seed: int = 12345) -> float:
    """Return p of approximate randomisation, stratified by sentence (Clark et al., 2011, section 3.2).

    A trial shuffles the translations of each sentence among all models of both recipes. p is the share of trials whose
    mean BLEU of both groups differs at least as much as in truth, two-sided, with one trial added.
    """
    both = np.stack([*ours, *base], axis=1)  # (sentences, models, 10)
    generator = np.random.default_rng(seed)

    def difference(statistics: np.ndarray) -> float:
        sums = statistics.sum(axis=0)
        return abs(mean_bleu(sums[: len(ours)]) - mean_bleu(sums[len(ours) :]))

    found = difference(both)
    orders = (generator.random(both.shape[:2]).argsort(axis=1)[:, :, None] for _ in range(trials))
    larger = sum(difference(np.take_along_axis(both, order, axis=1)) >= found - 1e-9 for order in orders)
    return (larger + 1) / (trials + 1)
