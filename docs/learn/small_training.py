"""What the experiments of this folder share: easy sentences, training, and greedy translation.

Data pipeline, batch plan, loss, optimizer, learning rate and the update (`Trainer.step`) are the library's. The loop
around the updates and the greedy search belong to this file. They work with every model that has the `forward` and the
`output` layer of `Transformer`.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from common.files import write_bytes
from data_pipeline.builtin.grammar import generate
from data_pipeline.config import DataConfig
from data_pipeline.prepared_data import prepare
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, Tokenizer
from evaluate.metrics.bleu_tokenizer import open_bleu
from train.config import RunConfig
from train.loss import smoothed_cross_entropy
from train.optimizer import make_optimizer
from train.setup import Setup, make_setup
from train.trainer import Trainer

Pair = tuple[str, str]


def words_of(text: str) -> list[str]:
    """Return the words and marks of a text in lower case."""
    return re.findall(r"\w+|[^\w\s]", text.lower())


def frequent_words(pairs: Iterable[Pair], n: int) -> set[str]:
    """Return the n most frequent English words of these pairs."""
    counts = Counter(word for english, _ in pairs for word in words_of(english))
    return {word for word, _ in counts.most_common(n)}


def easy_pairs(split: Any, n: int, words: set[str]) -> Iterator[Pair]:
    """Yield n pairs of the built-in corpus that have only these English words, for a small model."""
    return islice((pair for pair in generate(split, 10**9, seed=1) if words.issuperset(words_of(pair[0]))), n)


def write_pairs(folder: Path, name: str, pairs: Iterable[Pair]) -> list[str]:
    """Write two files with parallel lines. Return their names."""
    files = [folder / f"{name}.en", folder / f"{name}.de"]
    folder.mkdir(parents=True, exist_ok=True)
    for file, texts in zip(files, zip(*pairs, strict=True), strict=True):
        write_bytes(file, "".join(f"{text}\n" for text in texts).encode())
    return [str(file) for file in files]


def read_pairs(folder: Path, name: str) -> list[Pair]:
    """Return the pairs that `write_pairs` wrote."""
    english, german = ((folder / f"{name}.{end}").read_text(encoding="utf-8").splitlines() for end in ("en", "de"))
    return list(zip(english, german, strict=True))


def set_up(config: RunConfig, folder: Path, vocab_size: int) -> Setup:
    """Return what training needs, from the pairs `train` and `valid` in a folder."""
    train, valid = ([str(folder / f"{name}.en"), str(folder / f"{name}.de")] for name in ("train", "valid"))
    data = DataConfig(train=train, valid=valid, vocab_size=vocab_size, max_ratio=None)
    return make_setup(replace(config, data=data), prepare(data, folder / "prepared", quiet=True))


@dataclass(frozen=True)
class Point:
    """One point of a training curve."""

    step: int
    """Updates so far."""
    seconds: float
    """CPU time of the updates so far, without validation."""
    train_loss: float
    """Mean loss of the updates since the last point, in nats per token."""
    valid_loss: float
    """Loss on the validation pairs, in nats per token."""
    bleu: float | None = None


def train(model: nn.Module, setup: Setup, every: int, measure: Callable[[], float] | None = None) -> Iterator[Point]:
    """Train a model with the updates of the batch plan; yield a point of its curve after each `every` updates.

    An update with a loss that is not finite does not change the weights (`Trainer.step`).

    Args:
        measure: returns BLEU, or another number, for each point.
    """
    config, losses, seconds = setup.config, [], 0.0
    optimizer = make_optimizer(model, config.optimizer)
    trainer = Trainer(model, optimizer, Accelerator(cpu=True), config)  # type: ignore[arg-type]
    for step in range(config.train.max_steps):
        update = setup.plan.update(step)
        batches = [setup.prepared.train.batch(part) for part in update.micro_batches(split=1, world_size=1)]
        started = time.process_time()
        losses.append(trainer.step(update, batches, asked=tuple).loss)
        trainer.clear_gradient()
        seconds += time.process_time() - started
        if (step + 1) % every == 0:
            model.eval()
            mean, losses = sum(losses) / len(losses), []
            yield Point(step + 1, seconds, mean, validation_loss(model, setup), measure() if measure else None)
            model.train()


@torch.no_grad()
def validation_loss(model: nn.Module, setup: Setup) -> float:
    """Return the loss of the validation pairs in nats per token. The model reads the correct translation (teacher
    forcing), shifted by one token, as in training."""
    valid = setup.prepared.valid
    batches = [valid.batch(part) for part in valid.micro_batches(4096, block=0)]
    losses = [smoothed_cross_entropy(model(*batch.inputs), batch.labels_BL, smoothing=0.0) for batch in batches]
    return float(sum(losses)) / valid.predicted_tokens


class Decoder(Protocol):
    """What greedy search needs; `Transformer` has it."""

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> Any:
        """Read the sources and return the state."""

    def step(self, tokens_N: Tensor, state: Any) -> Tensor:
        """Feed one token per row and return the logits (N, V) of the next one."""


class Recompute:
    """Decode without a cache: every step computes all tokens again. Swapped parts then need only `forward`."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def start(self, src_BM: Tensor, src_mask_BM: Tensor, max_len: int) -> list[Tensor]:
        """Return the source, its mask, and no target."""
        return [src_BM, src_mask_BM, src_BM.new_empty(len(src_BM), 0)]

    def step(self, tokens_N: Tensor, state: list[Tensor]) -> Tensor:
        """Append the tokens and return the logits of the next ones."""
        state[2] = torch.cat([state[2], tokens_N[:, None]], dim=1)
        logits_BLV: Tensor = self.model(*state)
        return logits_BLV[:, -1]


@torch.no_grad()
def greedy(decoder: Decoder, src_BM: Tensor, max_len: int) -> Tensor:
    """Return the most likely token after each token, (B, L): greedy search, until all rows have ended."""
    state = decoder.start(src_BM, src_BM != PAD_ID, max_len)
    tokens_B, found = torch.full((len(src_BM),), BOS_ID), []
    for _ in range(max_len):
        tokens_B = decoder.step(tokens_B, state).argmax(dim=-1)
        found.append(tokens_B)
        if (torch.stack(found) == EOS_ID).any(dim=0).all():
            break
    return torch.stack(found, dim=1)


def translate(decoder: Decoder, tokenizer: Tokenizer, lines: list[str], rows: int = 100) -> list[str]:
    """Return the greedy translations. An output has at most 10 tokens more than the longest source of its batch."""
    encoded = tokenizer.encode(lines)
    order = sorted(range(len(lines)), key=lambda i: len(encoded[i]))
    translations = [""] * len(lines)
    for first in range(0, len(lines), rows):
        chosen = order[first : first + rows]
        src_BM = pad([encoded[i] for i in chosen])
        found = [row[: row.index(EOS_ID)] if EOS_ID in row else row
                 for row in greedy(decoder, src_BM, src_BM.size(1) + 10).tolist()]  # fmt: skip
        for i, text in zip(chosen, tokenizer.decode(found), strict=True):
            translations[i] = text
    return translations


def pad(ids: list[list[int]]) -> Tensor:
    """Return sequences as one tensor (B, L)."""
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True, padding_value=PAD_ID)


def bleu(translations: list[str], references: list[str]) -> float:
    """Return sacreBLEU with the tokenizer 13a."""
    return round(open_bleu("13a").corpus_score(translations, [references]).score, 2)


def tokenizer_of(setup: Setup) -> Tokenizer:
    """Return the tokenizer of a setup."""
    return Tokenizer(setup.prepared.tokenizer_file)


def finished(file: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result of a run. It is computed once and read from `file` afterwards, so a stopped script resumes."""
    if not file.exists():
        write_bytes(file, json.dumps(compute(), ensure_ascii=False).encode())
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result
