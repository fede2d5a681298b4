"""Corpus metrics: sacreBLEU's BLEU, chrF and TER, and the paper's own BLEU, each with a confidence interval."""

import json
from dataclasses import dataclass, replace

from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.metrics.bleu import BLEUScore

from evaluate.metrics.bleu_tokenizer import DEFAULT, SPM, open_bleu
from evaluate.metrics.edit_rate import FastTER
from evaluate.metrics.limits import ShowProgress, blocks
from evaluate.metrics.metric_choice import DEFAULT_METRICS, MetricChoice
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
    of which some have an empty reference, and for a text of very many lines."""
    mean: float | None
    """Mean of the resamples, the middle of the interval; close to the score."""
    signature: str
    """sacreBLEU's signature, with the number of resamples (bs) and their seed."""


def sacrebleu_metrics(choice: MetricChoice = DEFAULT_METRICS) -> dict[str, tuple[str, Metric]]:
    """Return label and metric by the metric's key in the JSON of a report.

    BLEU intl is computed only beside the default tokenizer.
    """
    name, key = choice.tokenizer, choice.bleu
    label = f"{'spBLEU' if name in SPM else 'BLEU'} {name}"
    intl = name == DEFAULT
    metrics: dict[str, tuple[str, Metric]] = {
        key: (label, open_bleu(name)),
        **({"bleu_intl": ("BLEU intl", open_bleu("intl"))} if intl else {}),
        "chrf2": ("chrF2", CHRF()),
        "chrf++": ("chrF++", CHRF(word_order=2)),
        "ter": ("TER, lower-cased", FastTER(normalized=choice.asian, asian_support=choice.asian)),
        f"{key}_lc": (f"{label}, lower-cased", open_bleu(name, lowercase=True)),
        **({"bleu_intl_lc": ("BLEU intl, lower-cased", open_bleu("intl", lowercase=True))} if intl else {}),
    }
    return {key: metric for key, metric in metrics.items() if key not in choice.omitted}


def bleu_score(metric: BLEU, hypotheses: list[str], references: list[list[str]]) -> BLEUScore:
    """Return sacreBLEU's BLEU of a text of any size, counted in blocks of lines."""
    found = [metric.corpus_score(*block) for block in blocks(hypotheses, references)]
    return BLEU.compute_bleu(
        [sum(column) for column in zip(*(one.counts for one in found), strict=True)],
        [sum(column) for column in zip(*(one.totals for one in found), strict=True)],
        sum(one.sys_len for one in found),
        sum(one.ref_len for one in found),
        smooth_method=metric.smooth_method,
    )


def score_text(
    label: str, metric: Metric, hypotheses: list[str], references: list[list[str]], interval: bool = True
) -> MetricScore:
    """Score a text with sacreBLEU. The seed of the resamples is 12345 or the environment variable `SACREBLEU_SEED`.

    Without `interval`, BLEU and TER need little memory for a text of any size.
    """
    if isinstance(metric, TER):
        hypotheses = ShowProgress(hypotheses)
    if not interval:
        texts = (hypotheses, references)
        score = bleu_score(metric, *texts).score if isinstance(metric, BLEU) else metric.corpus_score(*texts).score
        return MetricScore(label, float(score), None, None, str(metric.get_signature()))
    try:
        found = metric.corpus_score(hypotheses, references, n_bootstrap=RESAMPLES)
        missing = 0.0  # sacreBLEU omits mean and interval if all resamples score 0
    except TypeError:  # sacreBLEU's chrF and TER fail if a resample has empty references only
        found = metric.corpus_score(hypotheses, references)
        missing = None
    signature = str(metric.get_signature())
    # sacreBLEU's only public form of the interval is its JSON.
    written = json.loads(found.format(width=12, is_json=True, signature=signature))
    half, mean = written.get("confidence_var", missing), written.get("confidence_mean", missing)
    return MetricScore(label, float(found.score), half, mean, signature)


def paper_score(
    hypotheses: list[str], references: list[list[str]], language: str, interval: bool = True
) -> MetricScore:
    """Score a text in `language` with the paper's own BLEU: Moses tokens, compounds split."""
    prepared = [prepare(lines, language) for lines in references]
    found = score_text("BLEU compound-split", multi_bleu(), prepare(hypotheses, language), prepared, interval)
    return replace(found, signature=found.signature.replace("tok:none", describe_tokens(language)))


def all_scores(
    hypotheses: list[str],
    references: list[list[str]],
    languages: tuple[str, str] | None,
    choice: MetricChoice = DEFAULT_METRICS,
) -> dict[str, MetricScore]:
    """Return the scores of sacreBLEU's metrics by key, and the paper's BLEU if the languages are known."""
    intervals = choice.intervals
    metrics = sacrebleu_metrics(choice)
    scores = {key: score_text(*named, hypotheses, references, intervals) for key, named in metrics.items()}
    if languages is not None and "bleu_paper" not in choice.omitted:
        scores["bleu_paper"] = paper_score(hypotheses, references, languages[1], intervals)
    return scores
