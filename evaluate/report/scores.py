"""The report card of a translated text: its figures, where it is weak, and the sentences to look at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from evaluate.metrics.corpus_metrics import Figure, Measure, paper_figure, sacrebleu_measures
from evaluate.metrics.newstest2014 import Edition, filtered_rows, find_edition, say_comparable
from evaluate.report.suspicious import Flag, find_flags
from evaluate.test_sets import Corpus

BUCKET_WORDS = 10
LAST_BUCKET = 5
WORST = 20


@dataclass(frozen=True)
class Bucket:
    """The sentences of about one length."""

    words: str
    """Of the source, between spaces; of the first reference where there is no source."""
    sentences: int
    bleu_13a: float
    chrf2: float
    length_ratio: float
    """Words of the translations for each word of the references, as BLEU 13a counts them."""

    def row(self) -> list[str]:
        """Its cells in a table on the screen."""
        figures = (f"{self.bleu_13a:.2f}", f"{self.chrf2:.2f}", f"{self.length_ratio:.3f}")
        return [self.words, str(self.sentences), *figures]


@dataclass(frozen=True)
class Sentence:
    """A translation to look at."""

    line: int
    """Its number, from 1."""
    chrf2: float
    """Of this sentence alone."""
    flags: list[Flag]
    source: str | None
    hypothesis: str
    reference: str
    """The first one."""


@dataclass(frozen=True)
class Card:
    """What there is to say of one text."""

    figures: dict[str, Figure]
    """By their names in the JSON."""
    edition: Edition | None
    """Of newstest2014 English-German: all 3,003 lines or the filtered 2,737; None for any other test set."""
    filtered: dict[str, Figure]
    """Where the text is all of newstest2014: figures of the 2,737 lines that are sacreBLEU's wmt14; else none."""
    comparable: str
    """One sentence: which figure may be compared with the paper's."""
    length_ratio: float
    """Words of the translation for each word of the reference, as BLEU 13a counts them."""
    buckets: list[Bucket]
    """By the length of the source."""
    flags: dict[Flag, list[int]]
    """Numbers of the lines, from 1, that are suspicious."""
    worst: list[Sentence]
    """The lowest by chrF2."""

    def worst_text(self) -> str:
        """The worst sentences for a person to read."""
        blocks = []
        for sentence in self.worst:
            notes = "".join(f", {flag}" for flag in sentence.flags)
            texts = (("source", sentence.source), ("output", sentence.hypothesis), ("reference", sentence.reference))
            lines = [f"  {name:9}  {text}" for name, text in texts if text is not None]
            blocks.append("\n".join([f"line {sentence.line}: chrF2 {sentence.chrf2:.1f}{notes}", *lines]))
        return "\n\n".join(blocks) + "\n"


def make_card(measures: dict[str, Measure], corpus: Corpus, hypotheses: list[str]) -> Card:
    """All of it; seconds for 3,003 lines, most of them TER's."""
    edition = find_edition(corpus.test_set, corpus.languages, corpus.references)
    figures = all_figures(measures, corpus, hypotheses)
    sources: Sequence[str | None] = corpus.sources or [None] * len(hypotheses)
    references = zip(*corpus.references, strict=True)
    flags = [find_flags(*texts) for texts in zip(sources, hypotheses, references, strict=True)]
    return Card(
        figures=figures,
        edition=edition,
        filtered=_filtered_figures(corpus, hypotheses) if edition == "all" else {},
        comparable=say_comparable(edition, "bleu_paper" in figures),
        length_ratio=_length_ratio(measures, hypotheses, range(len(hypotheses))),
        buckets=_buckets(measures, corpus, hypotheses),
        flags={flag: [line for line, found in enumerate(flags, 1) if flag in found] for flag in get_args(Flag)},
        worst=_worst(measures["chrf2"], corpus, hypotheses, flags),
    )


def all_figures(measures: dict[str, Measure], corpus: Corpus, hypotheses: list[str]) -> dict[str, Figure]:
    """sacreBLEU's figures, and the paper's where the language to tokenise is known."""
    figures = {key: measure.figure(hypotheses) for key, measure in measures.items()}
    if corpus.languages is not None:
        figures["bleu_paper"] = paper_figure(hypotheses, corpus.references, corpus.languages[1])
    return figures


def _filtered_figures(corpus: Corpus, hypotheses: list[str]) -> dict[str, Figure]:
    """BLEU of sacreBLEU's wmt14 out of the translation of wmt14/full."""
    rows = filtered_rows()
    chosen = [hypotheses[row] for row in rows]
    references = [[lines[row] for row in rows] for lines in corpus.references]
    figures = {"bleu_13a": sacrebleu_measures(references)["bleu_13a"].figure(chosen)}
    if corpus.languages is not None:
        figures["bleu_paper"] = paper_figure(chosen, references, corpus.languages[1])
    return figures


def _length_ratio(measures: dict[str, Measure], hypotheses: list[str], rows: Sequence[int]) -> float:
    ours, theirs = measures["bleu_13a"].statistics(hypotheses)[rows, :2].sum(0)  # BLEU's first two statistics
    return float(ours / theirs) if theirs else 0.0


def _buckets(measures: dict[str, Measure], corpus: Corpus, hypotheses: list[str]) -> list[Bucket]:
    rows: list[list[int]] = [[] for _ in range(LAST_BUCKET + 1)]
    for row, text in enumerate(corpus.sources or corpus.references[0]):
        rows[min(max(len(text.split()) - 1, 0) // BUCKET_WORDS, LAST_BUCKET)].append(row)
    found = []
    for index, chosen in enumerate(rows):
        if chosen:
            first, last = index * BUCKET_WORDS + 1, (index + 1) * BUCKET_WORDS
            bleu, chrf = (measures[key].score_rows(hypotheses, chosen) for key in ("bleu_13a", "chrf2"))
            words = f"{first}+" if index == LAST_BUCKET else f"{first}–{last}"
            found.append(Bucket(words, len(chosen), bleu, chrf, _length_ratio(measures, hypotheses, chosen)))
    return found


def _worst(chrf: Measure, corpus: Corpus, hypotheses: list[str], flags: list[list[Flag]]) -> list[Sentence]:
    scores = [chrf.score_rows(hypotheses, [row]) for row in range(len(hypotheses))]
    return [
        Sentence(
            row + 1,
            scores[row],
            flags[row],
            corpus.sources[row] if corpus.sources else None,
            hypotheses[row],
            corpus.references[0][row],
        )
        for row in sorted(range(len(hypotheses)), key=scores.__getitem__)[:WORST]
    ]
