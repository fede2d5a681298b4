"""The evaluation report of a translated test set, as data."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, get_args

import sacrebleu
import torch

from evaluate.config import DecodeConfig
from evaluate.metrics.bleu_tokenizer import TokenizerChoice, choose_tokenizer
from evaluate.metrics.comet import CometScore, comet_score
from evaluate.metrics.corpus_metrics import MetricScore, all_scores
from evaluate.metrics.metric_choice import bleu_key, choose_metrics
from evaluate.metrics.newstest2014 import Edition, comparable_with_paper, digest, find_edition
from evaluate.metrics.pronouns import pronoun_agreement
from evaluate.metrics.significance import Baseline, Comparison, compare
from evaluate.report.notes import find_empty_lines, text_notes
from evaluate.report.scores import (
    LengthGroup,
    SentenceScore,
    length_ratio,
    score_by_length,
    score_filtered,
    worst_sentences,
)
from evaluate.report.suspicious import Problem, find_problems
from evaluate.report.unicode_form import ScoredTexts
from evaluate.test_sets import TestSet


@dataclass(frozen=True)
class TranslationInfo:
    """How a test set was translated."""

    seconds: float
    """Time to translate, without loading and scoring."""
    processes: int
    """Number of processes that translated the text."""
    device: str
    """Type of the device, such as cpu or cuda."""
    compute_type: str
    """Type of the numbers: float32, bfloat16 or float16."""
    decode: DecodeConfig
    """Settings of the search."""
    several_sentences: int = 0
    """Number of lines with several sentences, which were translated one by one."""
    too_long: list[int] = field(default_factory=list)
    """Numbers, from 1, of the lines with more tokens than the model supports, which were translated in parts."""
    copied: int = 0
    """Number of lines that were copied, because they have no letter."""


@dataclass(frozen=True)
class Report:
    """Scores of one translated test set, with everything that is needed to compute them again."""

    test_set: str
    """Name of the test set."""
    hypotheses: list[str]
    """The translations."""
    references_sha256: list[str]
    """`digest` of each reference. Reports with equal digests can be compared."""
    translation: TranslationInfo | None
    """How the text was translated; None for an existing translation."""
    pronouns: tuple[int, int] | None
    """Built-in corpus only: pronouns that agree with their noun, and all pronouns whose gender the noun decides."""
    tokenizer: str
    """sacreBLEU's name of the tokenizer of BLEU."""
    scores: dict[str, MetricScore]
    """Scores by the metric's key."""
    edition: Edition | None
    """Edition of newstest2014 English-German: all 3,003 lines or the filtered 2,737. None for another test set."""
    filtered: dict[str, MetricScore]
    """For all of newstest2014: scores of the 2,737 lines that are sacreBLEU's wmt14. Otherwise empty."""
    comparable: str
    """Summary: which score may be compared with the paper's."""
    length_ratio: float
    """Tokens of the translation per token of the reference, as BLEU counts them."""
    by_length: list[LengthGroup]
    """Scores by the length of the source. Empty for a text of very many characters."""
    suspicious: dict[Problem, list[int]]
    """Line numbers, from 1, of the suspicious translations by problem."""
    worst: list[SentenceScore]
    """Sentences with the lowest chrF2."""
    comet: CometScore | None
    """COMET with the first reference, if it was wanted."""
    comparison: Comparison | None
    """Comparison with another translation of the same lines, if there is one."""
    empty_lines: dict[str, list[int]]
    """Line numbers, from 1, of the lines without visible characters, by the name of the text that has some."""
    notes: list[str]
    """Messages about the text, about the tokenizer and about what is omitted."""

    @property
    def bleu(self) -> MetricScore:
        """BLEU with the report's tokenizer, the score to quote."""
        return self.scores[bleu_key(self.tokenizer)]

    def as_json(self) -> dict[str, Any]:
        """Return everything except the translations. `bleu` and `bleu_lowercase` are the scores to quote."""
        mixed, lower = self.bleu, self.scores[f"{bleu_key(self.tokenizer)}_lc"]
        right, total = self.pronouns or (None, None)
        about: dict[str, Any] = {
            "test_set": self.test_set,
            "lines": len(self.hypotheses),
            "bleu": mixed.score,
            "signature": plain_signature(mixed.signature),
            "bleu_lowercase": lower.score,
            "signature_lowercase": plain_signature(lower.signature),
            "pronouns_right": right,
            "pronouns_all": total,
        }
        if self.translation is not None:
            about |= asdict(self.translation)
            about["length_penalty"] = self.translation.decode.penalty_formula
            about["sentences_per_second"] = len(self.hypotheses) / self.translation.seconds
        about["versions"] = {
            "torch": torch.__version__,
            "sacrebleu": sacrebleu.__version__,
            "sacremoses": version("sacremoses"),
        }
        rest = asdict(self)
        for name in ("hypotheses", "translation", "pronouns"):
            del rest[name]
        return about | rest | {"hypotheses_sha256": digest(self.hypotheses)}


def make_report(
    test_set: TestSet,
    hypotheses: list[str],
    translation: TranslationInfo | None = None,
    baseline: Baseline | None = None,
    tokenizer: TokenizerChoice | None = None,
    keep_unicode: bool = False,
    comet: Sequence[str] | None = None,
) -> Report:
    """Score the translations of a test set, and compare them with another translation of the same lines.

    Args:
        tokenizer: tokenizer of BLEU. None: chosen by the languages of the test set, or by its references.
        keep_unicode: compare the texts as they are. Otherwise they are compared in one Unicode form.
        comet: words of the command that computes COMET; then the test set must have sources.
    """
    given = ScoredTexts(test_set, hypotheses, baseline)
    texts = given if keep_unicode else given.unify()
    test_set, hypotheses, baseline = texts.test_set, texts.hypotheses, texts.baseline
    edition = find_edition(test_set.sacrebleu_name, test_set.languages, test_set.references)
    tokens = tokenizer or choose_tokenizer(None, test_set.target_language, test_set.references)
    choice = choose_metrics(
        tokens.name, hypotheses, test_set.references, None if baseline is None else baseline.hypotheses
    )
    scores = all_scores(hypotheses, test_set.references, test_set.languages, choice)
    problems = _find_problems(test_set, hypotheses)
    sources = test_set.sources if test_set.has_pronouns else None
    return Report(
        test_set=test_set.name,
        hypotheses=given.hypotheses,
        references_sha256=[digest(lines) for lines in given.test_set.references],
        translation=translation,
        pronouns=None if sources is None else pronoun_agreement(sources, hypotheses),
        tokenizer=tokens.name,
        scores=scores,
        edition=edition,
        filtered=score_filtered(test_set, hypotheses, choice) if edition == "all" else {},
        comparable=comparable_with_paper(edition, "bleu_paper" in scores),
        length_ratio=length_ratio(test_set, hypotheses, tokens.name),
        by_length=score_by_length(test_set, hypotheses, tokens.name) if choice.lengths else [],
        suspicious={
            problem: [line for line, found in enumerate(problems, 1) if problem in found]
            for problem in get_args(Problem)
        },
        worst=worst_sentences(test_set, hypotheses, problems),
        comet=None if comet is None else comet_score(comet, test_set.sources or [], hypotheses, test_set.references[0]),
        comparison=None if baseline is None else compare(test_set.references, baseline, hypotheses, choice),
        empty_lines=find_empty_lines(test_set, hypotheses),
        notes=[
            *([] if keep_unicode else given.notes()),
            *([tokens.note] if tokens.note else []),
            *text_notes(test_set, hypotheses, tokens.name, scores[choice.bleu].score),
            *choice.notes,
        ],
    )


def plain_signature(signature: str) -> str:
    """Return a signature without the entries that describe the confidence interval."""
    return "|".join(part for part in signature.split("|") if not part.startswith(("bs:", "seed:")))


def _find_problems(test_set: TestSet, hypotheses: list[str]) -> list[list[Problem]]:
    """Return what is suspicious about each translation."""
    sources: Sequence[str | None] = test_set.sources or [None] * len(hypotheses)
    references = zip(*test_set.references, strict=True)
    return [find_problems(*texts) for texts in zip(sources, hypotheses, references, strict=True)]
