"""Whether the doctor finds what is wrong: each fault is planted in a copy of a corpus, a vocabulary or a model.

    python benchmarks/doctor.py --train train.en train.de --valid val.en val.de --test test.en test.de

One fault at a time, beginning with none. Prints a table and writes benchmarks/results/doctor.json.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sentencepiece
import torch
from torch import Tensor

if not __package__:  # run as a file: put the repository root first, before any project import
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.machine import describe_machine, write_result
from common.command import run_command
from common.settings import load_settings
from data_pipeline.sources.tables import open_binary
from data_pipeline.tokenizers.sentence_piece import train_tokenizer
from train.config import RunConfig
from train.doctor.examine import pair_findings, vocabulary_findings
from train.doctor.findings import Finding
from train.doctor.forecast import check_weights_fit, needed
from train.doctor.learning import learning_findings
from train.doctor.model import check_labels, probe
from train.doctor.samples import small_batch
from train.loop import prepare_once
from train.tasks import Task, make_task
from transformer.block import TransformerBlock
from transformer.cache import KVCache
from transformer.model import Transformer, build

Pairs = list[tuple[str, str]]
Corpus = dict[str, Pairs]
"""Of "train", "valid" and "test"."""
ALPHABET = str.maketrans({chr(97 + i): chr(0x430 + i) for i in range(26)})
"""Latin letters as Cyrillic ones."""


@dataclass(frozen=True)
class Case:
    """What was planted, and what the doctor said."""

    fault: str
    expected: str
    """The row of the doctor's table that must say so; "" where nothing may be said."""
    said: dict[str, str]
    """Of each row that is not ok: verdict and message."""
    seconds: float

    @property
    def found(self) -> bool:
        """Whether the expected row reports a fault, or where none was planted, no row anything."""
        return self.said.get(self.expected, "").startswith("fault") if self.expected else not self.said


def main() -> None:
    """Read the command line, plant, look, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for role in ("train", "valid", "test"):
        parser.add_argument(f"--{role}", nargs=2, required=True, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--config", type=Path, default=Path("configs/multi30k.yaml"))
    args = parser.parse_args()
    corpus = {role: read_pairs(*map(Path, getattr(args, role))) for role in ("train", "valid", "test")}
    cases = []
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        place = Place(args.config, Path(folder))
        torch.set_num_threads(1)  # the batches are small, and a busy machine delays one thread least
        for case in every_case(place, corpus):
            cases.append(case)
            print(f"{'found ' if case.found else 'MISSED'} {case.fault}: {case.said}", file=sys.stderr, flush=True)
    table = [asdict(case) | {"found": case.found, "seconds": round(case.seconds, 1)} for case in cases]
    counts = {"faults": sum(bool(c.expected) for c in cases), "missed": [c.fault for c in cases if not c.found]}
    files = " ".join(f"--{role} " + " ".join(Path(name).name for name in getattr(args, role)) for role in corpus)
    command = f"python benchmarks/doctor.py {files} --config {args.config}"
    write_result(
        "doctor", {"command": command, "machine": describe_machine(), "corpus": sizes(corpus), **counts, "cases": table}
    )
    print("\n" + markdown(cases))


def read_pairs(source: Path, target: Path) -> Pairs:
    """Lines of two files, plain or compressed."""
    sides = []
    for file in (source, target):
        with open_binary(file) as lines:
            sides.append([line.decode().rstrip("\r\n") for line in lines])
    return list(zip(*sides, strict=True))


def sizes(corpus: Corpus) -> dict[str, int]:
    """Pairs of each part."""
    return {role: len(pairs) for role, pairs in corpus.items()}


def markdown(cases: Iterable[Case]) -> str:
    """The table for people."""
    rows = ["| planted | found by | what it said |", "|---|---|---|"]
    for case in cases:
        said = case.said.get(case.expected, "; ".join(case.said.values()) or "no fault, no note")
        rows.append(f"| {case.fault} | {case.expected or '-'} | {said} |")
    return "\n".join(rows)


@dataclass(frozen=True)
class Place:
    """Where copies are written."""

    base: Path
    folder: Path

    def config(self, corpus: Corpus, *overrides: str) -> RunConfig:
        """The base config on a copy of this corpus."""
        data = []
        for role, pairs in corpus.items():
            files = [self.folder / f"{role}.source", self.folder / f"{role}.target"]
            for side, file in enumerate(files):
                file.write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
            data.append(f"data.{role}=[{','.join(map(str, files))}]")
        return load_settings(RunConfig, self.base, [*data, f"data.cache_dir={self.folder / 'cache'}", *overrides])


def every_case(place: Place, corpus: Corpus) -> Iterator[Case]:
    """Text, vocabulary, model, learning; first of all the corpus and the model as they are."""

    def text() -> Iterator[Finding]:
        config = place.config(corpus)
        yield from pair_findings(config)
        yield from vocabulary_findings(task := make_task(config, prepare_once(config)))
        yield from model_findings(task)
        yield from learning_findings(task.config, small_batch(task))

    yield judge("none", "", text)
    for fault, expected, plant in TEXT_FAULTS:
        yield judge(fault, expected, partial(pair_findings, place.config(corpus | plant(corpus), *KEEP)))
    yield from vocabulary_cases(place, corpus)
    yield from model_cases(place, corpus)


def judge(fault: str, expected: str, look: Callable[[], Iterable[Finding]]) -> Case:
    """What is found now."""
    started = time.perf_counter()
    said = {f.name: f"{f.verdict}: {without_quotes(f.message)}" for f in look() if f.verdict != "ok"}
    return Case(fault, expected, said, time.perf_counter() - started)


def without_quotes(message: str) -> str:
    """The message with the corpus's own words left out: results are published, and the corpus is another's."""
    return re.sub(r"(?<= )'.*?'(?= |$)", "'…'", message)


KEEP = ("data.drop_duplicates=false", "data.drop_copies=false")
"""Training would drop duplicates and exact copies, and then they are no fault."""


def shifted(corpus: Corpus, start: int, lost: int = 1) -> Corpus:
    """As if the target file lacked lines from `start` on, and had others at its end."""
    sources, targets = zip(*corpus["train"], strict=True)
    moved = targets[:start] + targets[start + lost :] + targets[:lost]
    return {"train": list(zip(sources, moved, strict=True))}


def swapped(corpus: Corpus, roles: tuple[str, ...], share: float = 1.0) -> Corpus:
    """Source and target exchanged, in a random part of the lines."""
    draw = random.Random(1)
    return {role: [(t, s) if draw.random() < share else (s, t) for s, t in corpus[role]] for role in roles}


def leaked(corpus: Corpus, role: str, n: int) -> Corpus:
    """`n` held-out pairs in training, capitals aside."""
    return {"train": corpus["train"] + [(s.lower(), t) for s, t in corpus[role][:n]]}


def changed(corpus: Corpus, every: int, change: Callable[[int, str, str], str]) -> Corpus:
    """Another target in every so manieth line."""
    pairs = corpus["train"]
    return {"train": [(s, change(i, s, t) if i % every == 0 else t) for i, (s, t) in enumerate(pairs)]}


TEXT_FAULTS: tuple[tuple[str, str, Callable[[Corpus], Corpus]], ...] = (
    ("target shifted by one line, whole file", "alignment", lambda c: shifted(c, 0)),
    ("target shifted by one line, second half", "alignment", lambda c: shifted(c, len(c["train"]) // 2)),
    ("target lacks ten lines, second half", "alignment", lambda c: shifted(c, len(c["train"]) // 2, lost=10)),
    ("source and target files exchanged", "columns", lambda c: swapped(c, ("train", "valid", "test"))),
    ("exchanged in training only", "columns", lambda c: swapped(c, ("train",))),
    ("exchanged in a tenth of the lines", "columns", lambda c: swapped(c, ("train",), 0.1)),
    ("the corpus twice", "duplicates", lambda c: {"train": c["train"] * 2}),
    ("a third more, of pairs that occur before", "duplicates", lambda c: {"train": c["train"] + c["train"][::3]}),
    ("2% of the test pairs in training", "test leak", lambda c: leaked(c, "test", len(c["test"]) // 50)),
    ("2% of the validation pairs in training", "valid leak", lambda c: leaked(c, "valid", len(c["valid"]) // 50)),
    (
        "every 30th target holds ten lines",
        "length ratio",
        lambda c: changed(c, 30, lambda i, s, t: " ".join(pair[1] for pair in c["train"][i : i + 10])),
    ),
    ("every 20th target is its source", "copies", lambda c: changed(c, 20, lambda i, s, t: s.lower())),
)
"""What is planted in the text, the row that must find it, and how it is planted."""


def vocabulary_cases(place: Place, corpus: Corpus) -> Iterator[Case]:
    """Of other vocabularies than one learned from this text."""
    small = {role: pairs[:4000] for role, pairs in corpus.items()}
    foreign, folding = (str(place.folder / f"{name}.model") for name in ("foreign", "folding"))
    sides = [side for pair in small["train"] for side in pair]
    train_tokenizer((side.lower().translate(ALPHABET) for side in sides), Path(foreign), vocab_size=4000)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sides), model_prefix=folding.removesuffix(".model"), vocab_size=2000, model_type="bpe",
        normalization_rule_name="nmt_nfkc_cf", byte_fallback=True, pad_id=0, unk_id=1, bos_id=2, eos_id=3,
        minloglevel=2,
    )  # fmt: skip
    for fault, expected, *overrides in (
        ("a vocabulary of 320 pieces", "token size", "data.vocab_size=320"),
        ("the vocabulary of another alphabet", "token size", f"data.tokenizer={foreign}"),
        ("a vocabulary that loses capitals", "round trip", f"data.tokenizer={folding}"),
    ):
        config = place.config(small, *overrides)
        task = make_task(config, prepare_once(config))
        yield judge(fault, expected, partial(vocabulary_findings, task))


def model_cases(place: Place, corpus: Corpus) -> Iterator[Case]:
    """Of the model that the config names, with faults that `patch` plants."""
    config = place.config(corpus)
    task = make_task(config, prepare_once(config))
    for fault, expected, plant in (
        ("a mask that is not causal", "causality", see_the_future),
        ("attention to padding", "padding", see_padding),
        ("a cache that forgets", "cache", forget),
        ("a cache that does not follow its beams", "cache", stay),
        ("a decoder that does not see the source", "causality", ignore_the_source),
    ):
        with plant():
            yield judge(fault, expected, partial(model_findings, task))
    batch = small_batch(task)
    moved = replace(batch, labels_BL=batch.labels_BL.roll(1, dims=1))
    yield judge("labels that are the tokens just read", "labels", lambda: [check_labels(moved)])
    for scale in ("0.0001", "300"):
        rate = make_task(place.config(corpus, f"schedule.scale={scale}"), task.prepared)
        yield judge(f"schedule.scale={scale}", "learning rate", partial(learning_findings, rate.config, batch))
    huge = replace(task.config, model=replace(task.config.model, d_model=65536, d_ff=262144, n_layers=48, n_heads=64))
    fits = check_weights_fit(needed(make_task(huge, task.prepared)), torch.device("cpu"))
    yield judge("a model larger than the memory", "memory", lambda: [fits] if fits else [])


def model_findings(task: Task) -> list[Finding]:
    """The probes of the model, freshly built."""
    torch.manual_seed(task.config.train.seed)
    return [check_labels(small_batch(task)), *probe(build(task.config.model).double().eval())]


@contextmanager
def see_the_future() -> Iterator[None]:
    """Every block forgets that it is causal."""
    real = TransformerBlock.__init__

    def init(self: TransformerBlock, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.causal = False

    with patch.object(TransformerBlock, "__init__", init):
        yield


@contextmanager
def see_padding() -> Iterator[None]:
    """The encoder attends to padding, too."""
    real = Transformer.encode
    with patch.object(Transformer, "encode", lambda self, src, mask: real(self, src, torch.ones_like(mask))):
        yield


@contextmanager
def ignore_the_source() -> Iterator[None]:
    """The encoder reads the same token everywhere."""
    real = Transformer.encode
    with patch.object(Transformer, "encode", lambda self, src, mask: real(self, torch.ones_like(src), mask)):
        yield


@contextmanager
def forget() -> Iterator[None]:
    """The cache loses its oldest position."""
    real = KVCache.append

    def append(self: KVCache, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
        k, v = real(self, k_NHLK, v_NHLK)
        return (k, v) if k.size(2) < 8 else (k[:, :, 1:], v[:, :, 1:])

    with patch.object(KVCache, "append", append):
        yield


@contextmanager
def stay() -> Iterator[None]:
    """The cache keeps its rows where beam search exchanges hypotheses."""
    with patch.object(KVCache, "reorder", lambda self, index_N, spare_NHMK: None):
        yield


if __name__ == "__main__":
    run_command(main)
