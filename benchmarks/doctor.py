"""Test that the doctor finds what is wrong: each fault is injected into a copy of a corpus, a vocabulary or a model.

    python -m benchmarks.doctor --train train.en train.de --valid val.en val.de --test test.en test.de

One fault at a time; the first case has none. Writes benchmarks/results/doctor.json.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sentencepiece
import torch
from torch import Tensor

from benchmarks.runner import Tables, command_line, new_result, save, say, table, temporary_folder
from common.command import run_command
from common.settings import load_settings
from common.text_input import read_lines
from data_pipeline.tokenizers.sentence_piece import train_tokenizer
from train.config import RunConfig
from train.doctor.examine import pair_findings, vocabulary_findings
from train.doctor.findings import Finding
from train.doctor.forecast import check_weights_fit, estimate_memory
from train.doctor.learning import learning_findings
from train.doctor.model import check_labels, probe
from train.doctor.samples import small_batch
from train.loop import prepare_once
from train.setup import Setup, make_setup
from transformer.block import TransformerBlock
from transformer.cache import KVCache
from transformer.model import Transformer, build

Pairs = list[tuple[str, str]]
Corpus = dict[str, Pairs]
"""Sentence pairs of "train", "valid" and "test"."""
ROLES = ("train", "valid", "test")
ALPHABET = str.maketrans({chr(97 + i): chr(0x430 + i) for i in range(26)})
"""Maps Latin to Cyrillic letters."""


Case = dict[str, Any]
"""An injected fault; the check that must report an error, or "" if no check may report anything; level and message of
every check that is not ok; whether that is as expected; and the seconds."""


def main() -> None:
    """Inject every fault, examine, and save the result."""
    parser = command_line(__doc__)
    for role in ROLES:
        parser.add_argument(f"--{role}", nargs=2, required=True, type=Path, metavar=("SOURCE", "TARGET"))
    parser.add_argument("--config", type=Path, default=Path("configs/multi30k.yaml"))
    args = parser.parse_args()
    corpus: Corpus = {role: list(zip(*map(read_lines, getattr(args, role)), strict=True)) for role in ROLES}
    cases = []
    with temporary_folder() as folder:
        torch.set_num_threads(1)  # small batches; one thread is least affected by other load
        for case in every_case(Copies(args.config, folder), corpus):
            cases.append(case)
            say(f"{'found ' if case['found'] else 'MISSED'} {case['fault']}: {case['findings']}")
    result = new_result(
        corpus={role: len(pairs) for role, pairs in corpus.items()},
        faults=sum(bool(case["expected"]) for case in cases),
        missed=[case["fault"] for case in cases if not case["found"]],
        cases=cases,
    )
    save("doctor", result, make_tables(result), smoke_test=args.smoke_test)


@dataclass(frozen=True)
class Copies:
    """Config and folder of the copies of the corpus."""

    base: Path
    folder: Path

    def config(self, corpus: Corpus, *overrides: str) -> RunConfig:
        """Return the config on a copy of this corpus."""
        data = []
        for role, pairs in corpus.items():
            files = [self.folder / f"{role}.source", self.folder / f"{role}.target"]
            for file, texts in zip(files, zip(*pairs, strict=True), strict=True):
                file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
            data.append(f"data.{role}=[{','.join(map(str, files))}]")
        return load_settings(RunConfig, self.base, [*data, f"data.cache_dir={self.folder / 'cache'}", *overrides])

    def setup(self, corpus: Corpus, *overrides: str) -> Setup:
        """Prepare a copy of this corpus."""
        config = self.config(corpus, *overrides)
        return make_setup(config, prepare_once(config))


def every_case(copies: Copies, corpus: Corpus) -> Iterator[Case]:
    """Yield all cases: no fault, then text, vocabulary and model."""

    def text() -> Iterator[Finding]:
        yield from pair_findings(copies.config(corpus))
        yield from vocabulary_findings(setup := copies.setup(corpus))
        yield from model_findings(setup)
        yield from learning_findings(setup.config, small_batch(setup))

    yield judge("none", "", text)
    for fault, expected, inject in TEXT_FAULTS:
        yield judge(fault, expected, partial(pair_findings, copies.config(corpus | inject(corpus), *KEEP)))
    yield from vocabulary_cases(copies, corpus)
    yield from model_cases(copies, corpus)


def judge(fault: str, expected: str, examine: Callable[[], Iterable[Finding]]) -> Case:
    """Run the checks. Words of the corpus are removed from the messages, since results are published and the corpus may
    not be."""
    started = time.perf_counter()
    hide = partial(re.sub, r"(?<= )'.*?'(?= |$)", "'…'")
    findings = {found.name: f"{found.level}: {hide(found.message)}" for found in examine() if found.level != "ok"}
    seconds = round(time.perf_counter() - started, 1)
    as_expected = findings.get(expected, "").startswith("error") if expected else not findings
    return {"fault": fault, "expected": expected, "findings": findings, "seconds": seconds, "found": as_expected}


KEEP = ("data.drop_duplicates=false", "data.drop_copies=false")
"""Training would drop duplicates and exact copies, so they would not be errors."""


def shifted(corpus: Corpus, start: int, lost: int = 1) -> Corpus:
    """Remove target lines at `start` and append others at the end."""
    sources, targets = zip(*corpus["train"], strict=True)
    moved = targets[:start] + targets[start + lost :] + targets[:lost]
    return {"train": list(zip(sources, moved, strict=True))}


def swapped(corpus: Corpus, roles: tuple[str, ...], share: float = 1.0) -> Corpus:
    """Swap source and target in a random share of the lines."""
    draw = random.Random(1)
    return {role: [(t, s) if draw.random() < share else (s, t) for s, t in corpus[role]] for role in roles}


def leaked(corpus: Corpus, role: str, n: int) -> Corpus:
    """Add `n` held-out pairs to training, with lower-cased sources."""
    return {"train": corpus["train"] + [(s.lower(), t) for s, t in corpus[role][:n]]}


def changed(corpus: Corpus, every: int, change: Callable[[int, str, str], str]) -> Corpus:
    """Change the target of every n-th line."""
    pairs = corpus["train"]
    return {"train": [(s, change(i, s, t) if i % every == 0 else t) for i, (s, t) in enumerate(pairs)]}


TEXT_FAULTS: tuple[tuple[str, str, Callable[[Corpus], Corpus]], ...] = (
    ("target shifted by one line, whole file", "alignment", lambda c: shifted(c, 0)),
    ("target shifted by one line, second half", "alignment", lambda c: shifted(c, len(c["train"]) // 2)),
    ("target lacks ten lines, second half", "alignment", lambda c: shifted(c, len(c["train"]) // 2, lost=10)),
    ("source and target files swapped", "columns", lambda c: swapped(c, ("train", "valid", "test"))),
    ("swapped in training only", "columns", lambda c: swapped(c, ("train",))),
    ("swapped in a tenth of the lines", "columns", lambda c: swapped(c, ("train",), 0.1)),
    ("the corpus twice", "duplicates", lambda c: {"train": c["train"] * 2}),
    ("a third more, of pairs that occur before", "duplicates", lambda c: {"train": c["train"] + c["train"][::3]}),
    ("2% of the test pairs in training", "test leak", lambda c: leaked(c, "test", len(c["test"]) // 50)),
    ("2% of the validation pairs in training", "valid leak", lambda c: leaked(c, "valid", len(c["valid"]) // 50)),
    (
        "every 30th target contains ten lines",
        "length ratio",
        lambda c: changed(c, 30, lambda i, s, t: " ".join(pair[1] for pair in c["train"][i : i + 10])),
    ),
    ("every 20th target is its source", "copies", lambda c: changed(c, 20, lambda i, s, t: s.lower())),
)
"""Faults of the text, the check that must find each, and how to inject it."""


def vocabulary_cases(copies: Copies, corpus: Corpus) -> Iterator[Case]:
    """Yield faults of the vocabulary."""
    small = {role: pairs[:4000] for role, pairs in corpus.items()}
    foreign, folding = (str(copies.folder / f"{name}.model") for name in ("foreign", "folding"))
    sentences = [sentence for pair in small["train"] for sentence in pair]
    train_tokenizer((sentence.lower().translate(ALPHABET) for sentence in sentences), Path(foreign), vocab_size=4000)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=folding.removesuffix(".model"), vocab_size=2000,
        model_type="bpe", normalization_rule_name="nmt_nfkc_cf", byte_fallback=True, pad_id=0, unk_id=1,
        bos_id=2, eos_id=3, minloglevel=2,
    )  # fmt: skip
    for fault, expected, override in (
        ("a vocabulary of 320 subwords", "token size", "data.vocab_size=320"),
        ("the vocabulary of another alphabet", "token size", f"data.tokenizer={foreign}"),
        ("a vocabulary that loses capitals", "round trip", f"data.tokenizer={folding}"),
    ):
        yield judge(fault, expected, partial(vocabulary_findings, copies.setup(small, override)))


def model_cases(copies: Copies, corpus: Corpus) -> Iterator[Case]:
    """Yield faults of the model, its labels and its learning rate."""
    setup = copies.setup(corpus)
    for fault, expected, owner, method, replacement in MODEL_FAULTS:
        with patch.object(owner, method, replacement):
            yield judge(fault, expected, partial(model_findings, setup))
    batch = small_batch(setup)
    moved = replace(batch, labels_BL=batch.labels_BL.roll(1, dims=1))
    yield judge("labels that are the input tokens", "labels", lambda: [check_labels(moved)])
    for scale in ("0.0001", "300"):
        rate = make_setup(copies.config(corpus, f"schedule.scale={scale}"), setup.prepared)
        yield judge(f"schedule.scale={scale}", "learning rate", partial(learning_findings, rate.config, batch))
    huge = replace(setup.config, model=replace(setup.config.model, d_model=65536, d_ff=262144, n_layers=48, n_heads=64))
    cpu = torch.device("cpu")
    fits = check_weights_fit(estimate_memory(make_setup(huge, setup.prepared), cpu), cpu)
    yield judge("a model larger than the memory", "memory", lambda: [fits] if fits else [])


def model_findings(setup: Setup) -> list[Finding]:
    """Probe a newly built model."""
    torch.manual_seed(setup.config.train.seed)
    return [check_labels(small_batch(setup)), *probe(build(setup.config.model).double().eval())]


def not_causal(self: TransformerBlock, *args: Any, **kwargs: Any) -> None:
    """Replace `TransformerBlock.__init__`."""
    INIT(self, *args, **kwargs)
    self.causal = False


def lose_oldest(self: KVCache, k_NHLK: Tensor, v_NHLK: Tensor) -> tuple[Tensor, Tensor]:
    """Replace `KVCache.append`."""
    k, v = APPEND(self, k_NHLK, v_NHLK)
    return (k, v) if k.size(2) < 8 else (k[:, :, 1:], v[:, :, 1:])


INIT, APPEND, ENCODE = TransformerBlock.__init__, KVCache.append, Transformer.encode
MODEL_FAULTS: tuple[tuple[str, str, Any, str, Callable[..., Any]], ...] = (
    ("a mask that is not causal", "causality", TransformerBlock, "__init__", not_causal),
    (
        "attention to padding",
        "padding",
        Transformer,
        "encode",
        lambda model, src, mask: ENCODE(model, src, torch.ones_like(mask)),
    ),
    ("a cache that loses its oldest position", "cache", KVCache, "append", lose_oldest),
    ("a cache that is not reordered with the beam", "cache", KVCache, "reorder", lambda *x: None),
    (
        "a decoder that ignores the source",
        "causality",
        Transformer,
        "encode",
        lambda model, src, mask: ENCODE(model, torch.ones_like(src), mask),
    ),
)
"""Faults of the model, the check that must find each, and the method that is replaced."""


def make_tables(result: dict[str, Any]) -> Tables:
    """Return every fault, the check that found it, and its message."""
    rows = [
        [case["fault"], case["expected"], case["findings"].get(case["expected"], "**not found**").partition(": ")[2]]
        for case in result["cases"]
        if case["fault"] != "none"
    ]
    return {"doctor": [table(["injected fault", "found by", "message"], rows)]}


if __name__ == "__main__":
    run_command(main)
