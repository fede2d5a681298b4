"""A report: translate a corpus on every process, score it, write down how it was made."""

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from evaluate.config import DecodeConfig
from evaluate.metrics.corpus_metrics import RESAMPLES, sacrebleu_measures
from evaluate.metrics.newstest2014 import LINES, digest
from evaluate.metrics.pronouns import pronoun_agreement
from evaluate.metrics.significance import Baseline, Comparison, compare
from evaluate.report.scores import Card, make_card
from evaluate.test_sets import Corpus
from evaluate.translator import Translator


@dataclass(frozen=True)
class Translating:
    """How the text was made."""

    seconds: float
    """Time of translating, without loading and scoring."""
    processes: int
    """That shared the lines."""
    device: str
    """Kind of device that translated."""
    compute_type: str
    """What it computed in: float32, bfloat16 or float16."""
    decode: DecodeConfig
    """Beam, length penalty and limits."""

    def text(self, lines: int) -> list[str]:
        """For a person."""
        limits = f"output at most source + {self.decode.max_extra} tokens"
        if self.decode.max_length is not None:
            limits += f" and at most {self.decode.max_length}"
        if self.decode.min_length > 1:
            limits += f", at least {self.decode.min_length}"
        return [
            f"  {lines} sentences in {self.seconds:.1f} s, {lines / self.seconds:.1f} sentences/s, "
            f"{self.compute_type} on {self.device}",
            f"  beam {self.decode.beam}, alpha {self.decode.alpha}, length penalty {self.decode.penalty_formula}, "
            + limits,
        ]


@dataclass(frozen=True)
class Report:
    """Scores of one corpus, with all that is needed to get them again."""

    corpus: str
    """Name of the corpus."""
    hypotheses: list[str]
    """The translations."""
    references_sha256: list[str]
    """`digest` of each reference: reports that agree in it can be compared."""
    card: Card
    """Figures, flags and the worst sentences."""
    pronouns: tuple[int, int] | None
    """Built-in corpus only: pronouns that agree with their antecedent, and all whose gender it decides."""
    translating: Translating | None
    """None where an existing text was scored."""
    comparison: Comparison | None
    """With another output of the same lines, where that was asked for."""

    def text(self) -> str:
        """The report for a person."""
        card, seed = self.card, _seed(self.card)
        lines = [f"{self.corpus}: BLEU {card.figures['bleu_13a'].score:.2f}"]
        lines += _table(["figure", "score", "95%", "signature"], [f.row() for f in card.figures.values()], right=(1, 2))
        lines.append(f"  95%: bootstrap resampling of sentences, n={RESAMPLES}, seed {seed}")
        if card.filtered:
            lines.append(f"  of these {LINES['all']:,} lines, the {LINES['filtered']:,} that are sacreBLEU's wmt14:")
            lines += _table(None, [figure.row() for figure in card.filtered.values()], right=(1, 2))
        lines += [f"  {card.comparable}", *self._comparison_text()]
        header = ["source words", "sentences", "BLEU 13a", "chrF2", "length ratio"]
        lines += _table(header, [bucket.row() for bucket in card.buckets], right=(1, 2, 3, 4))
        counts = ", ".join(f"{len(found)} {flag}" for flag, found in card.flags.items())
        lines.append(f"  length ratio {card.length_ratio:.3f}; flags: {counts}")
        if self.pronouns is not None and self.pronouns[1]:
            right, total = self.pronouns
            lines.append(f"  pronouns that agree: {right} of {total} ({right / total:.1%})")
        if self.translating is not None:
            lines += self.translating.text(len(self.hypotheses))
        return "\n".join(lines)

    def _comparison_text(self) -> list[str]:
        found = self.comparison
        if found is None:
            return []
        header = ["against the baseline", "baseline", "this", "change", "p (bootstrap)", "p (randomisation)"]
        return [
            *_table(header, [one.row() for one in found.differences.values()], right=(1, 2, 3, 4, 5)),
            f"  baseline: {found.baseline}; paired bootstrap resampling, n={found.resamples}, and paired approximate "
            f"randomisation, n={found.trials}, seed {found.seed}",
        ]

    def save(self, folder: Path, stem: str, model: str | None) -> list[Path]:
        """Write the translations, the report and the worst sentences into `folder`; returns the paths of `stem`.hyp,
        .json and .worst.txt. `model` is what translated."""
        files = [folder / f"{stem}.{kind}" for kind in ("hyp", "json", "worst.txt")]
        report = json.dumps({"model": model, **self.as_json()}, indent=2, ensure_ascii=False) + "\n"
        texts = ("".join(f"{line}\n" for line in self.hypotheses), report, self.card.worst_text())
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        return files

    def as_json(self) -> dict[str, Any]:
        """All but the translations; `bleu` and `bleu_lowercase` are sacreBLEU's 13a, the figures to quote."""
        mixed, lower = (self.card.figures[key] for key in ("bleu_13a", "bleu_13a_lc"))
        right, total = self.pronouns or (None, None)
        about: dict[str, Any] = {
            "corpus": self.corpus,
            "lines": len(self.hypotheses),
            "bleu": mixed.score,
            "signature": _plain(mixed.signature),
            "bleu_lowercase": lower.score,
            "signature_lowercase": _plain(lower.signature),
            "pronouns_right": right,
            "pronouns_all": total,
        }
        if self.translating is not None:
            about |= asdict(self.translating)
            about["length_penalty"] = self.translating.decode.penalty_formula
            about["sentences_per_second"] = len(self.hypotheses) / self.translating.seconds
        about["versions"] = {
            "torch": torch.__version__,
            "sacrebleu": sacrebleu.__version__,
            "sacremoses": version("sacremoses"),
        }
        comparison = None if self.comparison is None else asdict(self.comparison)
        return about | asdict(self.card) | {"comparison": comparison, "references_sha256": self.references_sha256}


def file_stems(names: list[str]) -> list[str]:
    """A name for the files of each corpus: short enough for every file system, and none twice."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name).strip("_.") or "corpus"
        if len(stem.encode()) > 100:
            mark = hashlib.sha256(name.encode()).hexdigest()[:8]
            stem = stem.encode()[:91].decode(errors="ignore") + "-" + mark
        same = [stem, *(f"{stem}-{number}" for number in range(2, len(names) + 1))]
        stems.append(next(free for free in same if free not in stems))
    return stems


def evaluate_corpus(
    corpus: Corpus,
    hypotheses: list[str],
    translating: Translating | None = None,
    baseline: Baseline | None = None,
) -> Report:
    """Score the translations of a corpus, and compare them with another output of the same lines."""
    measures = sacrebleu_measures(corpus.references)
    judged = corpus.sources if corpus.has_pronouns else None
    return Report(
        corpus=corpus.name,
        hypotheses=hypotheses,
        references_sha256=[digest(lines) for lines in corpus.references],
        card=make_card(measures, corpus, hypotheses),
        pronouns=None if judged is None else pronoun_agreement(judged, hypotheses),
        translating=translating,
        comparison=None if baseline is None else compare(measures, baseline, hypotheses),
    )


def translate_corpus(
    translator: Translator, sources: list[str], progress: bool = False
) -> tuple[list[str], Translating]:
    """Translate a corpus: the translations, the same on every process, and how they were made.

    All processes of an `accelerate launch` must call this; each translates its share of the lines. Raises
    ValueError, on every process, for a line longer than the model takes.
    """
    started = time.perf_counter()
    hypotheses = _translate_shares(translator, sources, progress)
    seconds = time.perf_counter() - started
    processes = PartialState().num_processes
    return hypotheses, Translating(
        seconds, processes, translator.device.type, translator.compute_type, translator.config
    )


def _translate_shares(translator: Translator, sources: list[str], progress: bool) -> list[str]:
    """Process r of W translates lines r, r + W, …; then every process gets all of them."""
    rank, world = PartialState().process_index, PartialState().num_processes
    encoded = translator.encode(sources)  # all lines on every process: a bad one stops them all, none waits
    mine = [best[0].text for best in translator.translate_ids(encoded[rank::world], progress=progress)]
    hypotheses = [""] * len(sources)
    for r, share in enumerate(gather_object([mine])):
        hypotheses[r::world] = share
    return hypotheses


def _table(header: list[str] | None, rows: list[list[str]], right: tuple[int, ...]) -> list[str]:
    """Rows in columns, indented; `right` are the columns of numbers."""
    cells = rows if header is None else [header, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _plain(signature: str) -> str:
    """A signature without what only the interval depends on."""
    return "|".join(part for part in signature.split("|") if not part.startswith(("bs:", "seed:")))


def _seed(card: Card) -> str:
    (seed,) = [part[5:] for part in card.figures["bleu_13a"].signature.split("|") if part.startswith("seed:")]
    return seed
