"""A BLEU report: translate a corpus on every process, score it with sacreBLEU, write down how it was made."""

import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sacrebleu
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from sacrebleu.metrics import BLEU

from data_pipeline.grammar import pronoun_agreement
from evaluate.config import DecodeConfig
from evaluate.corpora import Corpus
from evaluate.translator import Translator

LENGTH_PENALTY = "((5 + n) / 6)^alpha"


@dataclass(frozen=True)
class Report:
    """Scores of one corpus, with all that is needed to get them again."""

    corpus: str
    """Name of the corpus."""
    lines: int
    """Sentences translated."""
    bleu: float
    """sacreBLEU's default: 13a tokenisation, mixed case, on detokenised text."""
    signature: str
    """sacreBLEU's signature of `bleu`."""
    bleu_lowercase: float
    """The same on lower-cased text, the figure that Multi30k is reported in."""
    signature_lowercase: str
    """sacreBLEU's signature of `bleu_lowercase`."""
    pronouns_right: int | None
    """Built-in corpus only: pronouns that agree with their antecedent …"""
    pronouns_all: int | None
    """… among those whose gender it decides."""
    seconds: float
    """Time of translating, without loading and scoring."""
    processes: int
    """That shared the lines."""
    device: str
    """Kind of device that translated."""
    decode: DecodeConfig
    """Beam, α and limits."""

    def text(self) -> str:
        """The report for a person."""
        lines = [
            f"{self.corpus}: BLEU {self.bleu:.2f}",
            f"  {self.signature}",
            f"  lower-cased: BLEU {self.bleu_lowercase:.2f}",
            f"  {self.signature_lowercase}",
        ]
        if self.pronouns_right is not None and self.pronouns_all:
            share = self.pronouns_right / self.pronouns_all
            lines.append(f"  pronouns that agree: {self.pronouns_right} of {self.pronouns_all} ({share:.1%})")
        lines += [
            f"  {self.lines} sentences in {self.seconds:.1f} s, {self.lines / self.seconds:.1f} sentences/s",
            f"  beam {self.decode.beam}, alpha {self.decode.alpha}, length penalty {LENGTH_PENALTY}, "
            f"output at most source + {self.decode.max_extra} tokens",
        ]
        return "\n".join(lines)

    def save(self, folder: Path, stem: str, hypotheses: list[str], model: str) -> list[Path]:
        """Write the hypotheses and the report as JSON into `folder`; returns the paths of `stem`.hyp and .json."""
        hyp_file, json_file = folder / f"{stem}.hyp", folder / f"{stem}.json"
        about: dict[str, Any] = {"model": model, **asdict(self), "length_penalty": LENGTH_PENALTY}
        about["sentences_per_second"] = self.lines / self.seconds
        about["versions"] = {"torch": torch.__version__, "sacrebleu": sacrebleu.__version__}
        hyp_file.write_text("".join(f"{line}\n" for line in hypotheses), encoding="utf-8")
        json_file.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return [hyp_file, json_file]


def file_stems(names: list[str]) -> list[str]:
    """A name for the files of each corpus: short enough for every file system, and none twice."""
    stems: list[str] = []
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name).strip("_.") or "corpus"
        if len(stem.encode()) > 100:
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            stem = stem.encode()[:91].decode(errors="ignore") + "-" + digest
        same = [stem, *(f"{stem}-{number}" for number in range(2, len(names) + 1))]
        stems.append(next(free for free in same if free not in stems))
    return stems


def evaluate_corpus(translator: Translator, corpus: Corpus, progress: bool = False) -> tuple[Report, list[str]]:
    """Translate a corpus and score it: the report and the hypotheses, the same on every process.

    All processes of an `accelerate launch` must call this; each translates its share of the lines. Raises
    ValueError, on every process, for a line longer than the model takes.
    """
    started = time.perf_counter()
    hypotheses = _translate_shares(translator, corpus.sources, progress)
    seconds = time.perf_counter() - started
    mixed, lower = BLEU(), BLEU(lowercase=True)
    scores = [metric.corpus_score(hypotheses, corpus.references).score for metric in (mixed, lower)]
    right, total = pronoun_agreement(corpus.sources, hypotheses) if corpus.has_pronouns else (None, None)
    report = Report(
        corpus=corpus.name,
        lines=len(hypotheses),
        bleu=scores[0],
        signature=str(mixed.get_signature()),
        bleu_lowercase=scores[1],
        signature_lowercase=str(lower.get_signature()),
        pronouns_right=right,
        pronouns_all=total,
        seconds=seconds,
        processes=PartialState().num_processes,
        device=translator.device.type,
        decode=translator.config,
    )
    return report, hypotheses


def _translate_shares(translator: Translator, sources: list[str], progress: bool) -> list[str]:
    """Process r of W translates lines r, r + W, …; then every process gets all of them."""
    rank, world = PartialState().process_index, PartialState().num_processes
    encoded = translator.encode(sources)  # all lines on every process: a bad one stops them all, none waits
    mine = [best[0].text for best in translator.translate_ids(encoded[rank::world], progress=progress)]
    hypotheses = [""] * len(sources)
    for r, share in enumerate(gather_object([mine])):
        hypotheses[r::world] = share
    return hypotheses
