"""The figures of a report: sacreBLEU's metrics and the paper's own, each with a confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.base import Score, Signature
from sacrebleu.significance import _bootstrap_resample

from evaluate.metrics.paper_bleu import describe_tokens, multi_bleu, prepare

RESAMPLES = 1000
Statistics = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A score and how it was taken."""

    label: str
    """What people call it."""
    score: float
    """Of the whole corpus, 0 to 100; the higher the better, but for TER."""
    interval: float
    """Half of the 95% confidence interval, by bootstrap resampling of sentences."""
    mean: float
    """Of the resamples, the middle of that interval; very near the score."""
    signature: str
    """sacreBLEU's, with the number of resamples (bs) and their seed."""

    def row(self) -> list[str]:
        """Its cells in a table on the screen; resamples and seed are said once below it."""
        parts = [part for part in self.signature.split("|") if not part.startswith(("bs:", "seed:"))]
        return [self.label, f"{self.score:.2f}", f"±{self.interval:.2f}", "|".join(parts)]


class Measure:
    """A metric on fixed references that counts each text once: TER takes seconds, and a paired test wants it thrice.

    sacreBLEU scores in two steps: statistics of each sentence, then a score from their sum. The methods with a leading
    underscore are those of its `Metric` that `sacrebleu.significance.PairedTest` calls.
    """

    def __init__(self, label: str, metric: BLEU | CHRF | TER, references: list[list[str]]) -> None:
        self.label = label
        self.metric = metric
        self.references = references
        self._counted: dict[tuple[str, ...], Statistics] = {}

    def statistics(self, hypotheses: Sequence[str]) -> Statistics:
        """One row for each sentence; any sum of rows is what a score is computed from."""
        key = tuple(hypotheses)
        if key not in self._counted:
            rows = self.metric._extract_corpus_statistics(hypotheses, self.references)
            self._counted[key] = np.array(rows, dtype=np.float64)  # whole numbers: their sums are exact
        return self._counted[key]

    def figure(self, hypotheses: Sequence[str]) -> Figure:
        """The score with its interval; the seed is sacreBLEU's, 12345 or `SACREBLEU_SEED`."""
        rows = self.statistics(hypotheses)
        score = self._aggregate_and_compute(rows)
        self.metric.n_bootstrap = RESAMPLES
        self.metric.seed, resamples = _bootstrap_resample(rows.tolist(), self.metric, RESAMPLES)
        score.estimate_ci(resamples)
        return Figure(self.label, float(score.score), float(score._ci), float(score._mean), str(self.get_signature()))

    def score_rows(self, hypotheses: Sequence[str], rows: Sequence[int]) -> float:
        """The score of some of the sentences."""
        return float(self.metric._compute_score_from_stats(list(self.statistics(hypotheses)[rows].sum(0))).score)

    def get_signature(self) -> Signature:
        """sacreBLEU's; known once something was scored."""
        return self.metric.get_signature()

    def _extract_corpus_statistics(self, hypotheses: Sequence[str], references: object) -> Statistics:
        return self.statistics(hypotheses)

    def _aggregate_and_compute(self, rows: Statistics) -> Score:
        return self._compute_score_from_stats(rows.sum(0))

    def _compute_score_from_stats(self, totals: Statistics) -> Score:
        return self.metric._compute_score_from_stats(list(totals))


def sacrebleu_measures(references: list[list[str]]) -> dict[str, Measure]:
    """sacreBLEU's metrics, by the names that they have in a report's JSON."""
    metrics: dict[str, tuple[str, BLEU | CHRF | TER]] = {
        "bleu_13a": ("BLEU 13a", BLEU()),
        "bleu_intl": ("BLEU intl", BLEU(tokenize="intl", force=True)),
        "chrf2": ("chrF2", CHRF()),
        "chrf++": ("chrF++", CHRF(word_order=2)),
        "ter": ("TER, lower-cased", TER()),
        "bleu_13a_lc": ("BLEU 13a, lower-cased", BLEU(lowercase=True, force=True)),
        "bleu_intl_lc": ("BLEU intl, lower-cased", BLEU(tokenize="intl", lowercase=True, force=True)),
    }
    return {key: Measure(label, metric, references) for key, (label, metric) in metrics.items()}


def paper_figure(hypotheses: list[str], references: list[list[str]], language: str) -> Figure:
    """The paper's own measure; `language` is that of the text."""
    measure = Measure("BLEU compound-split", multi_bleu(), [prepare(lines, language) for lines in references])
    found = measure.figure(prepare(hypotheses, language))
    return replace(found, signature=found.signature.replace("tok:none", describe_tokens(language)))
