"""A decoder with known logits, a table from (sentence, prefix) to logits, and its outputs by enumeration."""

import itertools
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from evaluate.config import LengthPenalty
from evaluate.decoding.search import Hypothesis, length_penalty

BOS, EOS = 0, 1


class Table:
    """A decoder and its state. The logits of a prefix are random numbers that depend on (seed, sentence, prefix)."""

    def __init__(self, sentences: list[int], vocab: int, seed: int = 0, eos_bias: float = 0.0) -> None:
        self.rows: list[tuple[int, tuple[int, ...]]] = [(s, ()) for s in sentences]
        self.vocab, self.seed, self.eos_bias = vocab, seed, eos_bias
        self.rows_per_step: list[int] = []
        self.same_sentences: list[bool] = []

    def logits(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
        draw = random.Random(f"{self.seed} {sentence} {prefix}")
        row = [draw.gauss(0, 2) for _ in range(self.vocab)]
        row[EOS] += self.eos_bias
        return row

    def step(self, tokens_N: Tensor, state: "Table") -> Tensor:
        assert state is self
        assert len(tokens_N) == len(self.rows)
        self.rows_per_step.append(len(self.rows))
        self.rows = [(s, (*prefix, t)) for (s, prefix), t in zip(self.rows, tokens_N.tolist(), strict=True)]
        return torch.tensor([self.logits(*row) for row in self.rows], dtype=torch.float64)

    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        before, self.rows = self.rows, [self.rows[i] for i in index_N.tolist()]
        self.same_sentences.append(same_sentences)
        if same_sentences:
            assert [sentence for sentence, _ in self.rows] == [sentence for sentence, _ in before]


def forced_log_prob(model: Table, sentence: int, tokens: tuple[int, ...]) -> float:
    """Return the log-probability of `tokens`, computed prefix by prefix."""
    prefixes = [(BOS, *tokens[:i]) for i in range(len(tokens))]
    rows = torch.tensor([model.logits(sentence, prefix) for prefix in prefixes], dtype=torch.float64)
    return sum(row.log_softmax(0)[token].item() for row, token in zip(rows, tokens, strict=True))


def all_outputs(
    model: Table,
    sentence: int,
    max_len: int,
    alpha: float,
    kind: LengthPenalty = "gnmt",
    min_len: int = 1,
    begin: Sequence[int] = (),
) -> list[Hypothesis]:
    """Return all finished outputs of `min_len` to `max_len` tokens that start with `begin`, best first."""
    words = [t for t in range(model.vocab) if t not in (BOS, EOS)]
    outputs = []
    for n in range(max(min_len - 1, len(begin)), max_len):
        for rest in itertools.product(words, repeat=n - len(begin)):
            tokens = (*begin, *rest, EOS)
            log_prob = forced_log_prob(model, sentence, tokens)
            outputs.append(Hypothesis(tokens, log_prob, log_prob / length_penalty(kind, float(len(tokens)), alpha)))
    return sorted(outputs, key=lambda h: -h.score)
