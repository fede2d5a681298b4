"""Choose among several translations of a line by something else than the model's probability.

Minimum Bayes risk: the candidate that is most like all samples of the model (Eikema and Aziz, 2020). Noisy channel: the
candidate from which a model of the reverse direction gets the source back (Yee et al., 2019).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, assert_never

from common.directions import has_tags
from common.errors import InputError
from evaluate.scorer import Score, Scorer
from evaluate.translation import LineTooLong, Translation
from evaluate.translator import Translator
from transformer.pretrained import find_folder, read_about

Choose = Callable[[Sequence[str], list[list[Translation]]], list[list[Translation]]]
"""Lines and their candidates to the candidates in a new order, the best first. Their `score` is what ranks them."""
Utility = Literal["chrf", "bleu"]


def open_choice(by: Utility | tuple[str | Path, float], translator: Translator) -> Choose:
    """Return the choice by a utility, or by a model of the reverse direction and its weight."""
    if isinstance(by, str):
        return minimum_bayes_risk(by)
    reverse, weight = by
    if has_tags(read_about(find_folder(reverse))):
        source_lang, target_lang = translator.target_lang, translator.source_lang
        backwards = Translator.from_pretrained(reverse, source_lang=source_lang, target_lang=target_lang)
    else:
        backwards = Translator.from_pretrained(reverse)
    return noisy_channel(backwards, weight, translator)


def minimum_bayes_risk(utility: Utility) -> Choose:
    """Return the choice by the mean utility of a candidate, if each sample were the reference, from 0 to 100.

    A line with n different samples needs n² comparisons. A text that was drawn several times counts as often.
    """
    compare = _utility(utility)

    def choose(lines: Sequence[str], candidates: list[list[Translation]]) -> list[list[Translation]]:
        return [_rank(own, expected_utilities([one.text for one in own], compare)) for own in candidates]

    return choose


def expected_utilities(texts: Sequence[str], compare: Callable[[str, str], float]) -> list[float]:
    """Return the mean of `compare(text, sample)` over all texts as samples, for each text."""
    counts = Counter(texts)
    found = {text: sum(n * compare(text, other) for other, n in counts.items()) / len(texts) for text in counts}
    return [found[text] for text in texts]


def noisy_channel(reverse: Translator, weight: float, translator: Translator) -> Choose:
    """Return the choice by log P(y | x) / |y| + weight * log P(x | y) / |x|, with lengths in tokens.

    The candidates are scored as they are, so both probabilities are of whole lines. A line keeps its order if it is not
    translated, or if the reverse model does not support the length of the line or of a candidate.

    Raises InputError if `reverse` is not a model of the reverse direction.
    """
    languages = translator.source_lang, translator.target_lang
    if (reverse.target_lang, reverse.source_lang) != languages:
        raise InputError(
            f"the reverse model translates from {reverse.source_lang} to {reverse.target_lang}. Give one from "
            f"{languages[1]} to {languages[0]}."
        )
    scorer = Scorer(reverse)

    def choose(lines: Sequence[str], candidates: list[list[Translation]]) -> list[list[Translation]]:
        scored = [(line, own) for line, own in zip(lines, candidates, strict=True) if _is_scored(reverse, line, own)]
        texts = [one.text for _, own in scored for one in own]
        backward = iter(scorer.score(texts, [line for line, own in scored for _ in own]))
        chosen = iter([_rank(own, [_value(one, next(backward), weight) for one in own]) for _, own in scored])
        return [
            next(chosen) if _is_scored(reverse, line, own) else own for line, own in zip(lines, candidates, strict=True)
        ]

    return choose


def _is_scored(reverse: Translator, line: str, candidates: Sequence[Translation]) -> bool:
    if not all(one.tokens and one.text.strip() for one in candidates):
        return False
    try:
        return bool(reverse.encode([one.text for one in candidates]) and reverse.encode_target([line]))
    except LineTooLong:
        return False


def _value(one: Translation, back: Score, weight: float) -> float:
    return one.log_prob / len(one.tokens) + weight * back.log_prob / len(back.tokens)


def _rank(candidates: Sequence[Translation], values: Sequence[float]) -> list[Translation]:
    """Return each text once, the largest value first. Candidates of equal value keep the order of the model."""
    once: dict[str, Translation] = {}
    for value, one in sorted(zip(values, candidates, strict=True), key=lambda pair: -pair[0]):
        once.setdefault(one.text, replace(one, score=value))
    return list(once.values())


def _utility(utility: Utility) -> Callable[[str, str], float]:
    from sacrebleu.metrics import BLEU, CHRF  # slow to import, and most translations do not need it

    match utility:
        case "chrf":
            metric: BLEU | CHRF = CHRF()
        case "bleu":
            metric = BLEU(effective_order=True)
        case unknown:
            assert_never(unknown)
    return lambda text, reference: float(metric.sentence_score(text, [reference]).score)
