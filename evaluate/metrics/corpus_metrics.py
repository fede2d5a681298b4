"""Corpus metrics: sacreBLEU's BLEU, chrF and TER, and the paper's own BLEU, each with a confidence interval."""

import json
from dataclasses import dataclass, replace

from sacrebleu.metrics import BLEU, CHRF, TER

from evaluate.metrics.paper_bleu import describe_tokens, multi_bleu, prepare

RESAMPLES = 1000
"""Bootstrap resamples behind a confidence interval."""
Metric = BLEU | CHRF | TER


@dataclass(frozen=True)
class MetricScore:
    """Score of a text, and how it was computed."""

    label: str
    """Name of the metric in a report."""
    score: float
    """Corpus score from 0 to 100. Higher is better, except for TER."""
    interval: float | None
    """Half of the 95% confidence interval, by bootstrap resampling of sentences. None for chrF and TER of a few lines
    of which some have an empty reference."""
    mean: float | None
    """Mean of the resamples, the middle of the interval; close to the score."""
    signature: str
    """sacreBLEU's signature, with the number of resamples (bs) and their seed."""


def sacrebleu_metrics() -> dict[str, tuple[str, Metric]]:
    """Return label and metric by the metric's key in the JSON of a report."""
    return {
        "bleu_13a": ("BLEU 13a", BLEU()),
        "bleu_intl": ("BLEU intl", BLEU(tokenize="intl", force=True)),
        "chrf2": ("chrF2", CHRF()),
        "chrf++": ("chrF++", CHRF(word_order=2)),
        "ter": ("TER, lower-cased", TER()),
        "bleu_13a_lc": ("BLEU 13a, lower-cased", BLEU(lowercase=True, force=True)),
        "bleu_intl_lc": ("BLEU intl, lower-cased", BLEU(tokenize="intl", lowercase=True, force=True)),
    }


def score_text(label: str, metric: Metric, hypotheses: list[str], references: list[list[str]]) -> MetricScore:
    """Score a text with sacreBLEU. The seed of the resamples is 12345 or the environment variable `SACREBLEU_SEED`."""
    try:
        found = metric.corpus_score(hypotheses, references, n_bootstrap=RESAMPLES)
        missing = 0.0  # sacreBLEU omits mean and interval if all resamples score 0
    except TypeError:  # sacreBLEU's chrF and TER fail if a resample has empty references only
        found = metric.corpus_score(hypotheses, references)
        missing = None
    signature = str(metric.get_signature())
    # sacreBLEU's only public form of the interval is its JSON.
    written = json.loads(found.format(width=12, is_json=True, signature=signature))
    interval, mean = written.get("confidence_var", missing), written.get("confidence_mean", missing)
    return MetricScore(label, float(found.score), interval, mean, signature)


def paper_score(hypotheses: list[str], references: list[list[str]], language: str) -> MetricScore:
    """Score a text in `language` with the paper's own BLEU: Moses tokens, compounds split."""
    prepared = [prepare(lines, language) for lines in references]
    found = score_text("BLEU compound-split", multi_bleu(), prepare(hypotheses, language), prepared)
    return replace(found, signature=found.signature.replace("tok:none", describe_tokens(language)))


def all_scores(
    hypotheses: list[str], references: list[list[str]], languages: tuple[str, str] | None
) -> dict[str, MetricScore]:
    """Return the scores of sacreBLEU's metrics by key, and the paper's BLEU if the languages are known."""
    scores = {key: score_text(*named, hypotheses, references) for key, named in sacrebleu_metrics().items()}
    if languages is not None:
        scores["bleu_paper"] = paper_score(hypotheses, references, languages[1])
    return scores
