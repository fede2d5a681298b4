"""The search step by step: what each hypothesis could become, and what became of it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evaluate.backends import FORBIDDEN
from evaluate.config import DecodeConfig
from evaluate.decoding.search import length_penalty
from evaluate.explain.record import SearchRecord

TOP = 5
"""Number of words that are shown for each step."""
Fate = Literal["kept", "ended", "dropped"]


@dataclass(frozen=True)
class Node:
    """A hypothesis at one step: another hypothesis and one more token."""

    parent: "Node | None"
    """Hypothesis that this one extends; None for the empty one."""
    row: int
    """Row of the parent in the decoder."""
    token: int
    log_prob: float
    """Natural log of the probability of all tokens."""
    score: float
    """`log_prob` divided by the length penalty of all tokens."""
    fate: Fate
    """`kept`: it is extended in the next step. `ended`: its last token ends the sentence, and it is finished.
    `dropped`: it is neither."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens, the oldest first."""
        return () if self.parent is None else (*self.parent.tokens, self.token)


@dataclass(frozen=True)
class Choice:
    """One token of the output, and the most likely tokens at its position."""

    token: int
    probability: float
    top: tuple[tuple[int, float], ...]
    """The most likely tokens with their probabilities, the most likely first."""

    @property
    def rank(self) -> int | None:
        """Place of the token among `top`, from 1; None if it is not among them."""
        tokens = [token for token, _ in self.top]
        return tokens.index(self.token) + 1 if self.token in tokens else None


@dataclass(frozen=True)
class Step:
    """One step of beam search."""

    candidates: tuple[Node, ...]
    """The best continuations of all live hypotheses, the best log-probability first."""
    live: tuple[Node, ...]
    """The hypotheses that the step extended."""


def replay_beam(record: SearchRecord, config: DecodeConfig, eos_id: int) -> list[Step]:
    """Return the steps of a search for one sentence.

    The search itself says which hypotheses it kept: those whose tokens it fed in the next step. This function adds the
    candidates that the search chose from. Tests compare both.
    """
    live: tuple[Node, ...] = (Node(None, 0, -1, 0.0, 0.0, "kept"),)
    steps: list[Step] = []
    for i, logp_NV in enumerate(record.log_probs_NV):
        penalty = length_penalty(config.length_penalty, float(i + 1), config.alpha)
        kept = _kept(record, i)

        nodes: dict[tuple[int, int], Node] = {}
        for row, token in dict.fromkeys([*_best(live, logp_NV, config, eos_id, i + 1), *kept]):
            log_prob = live[row].log_prob + logp_NV[row, token].item()
            fate: Fate = "kept" if (row, token) in kept else "ended" if token == eos_id else "dropped"
            nodes[row, token] = Node(live[row], row, token, log_prob, log_prob / penalty, fate)
        steps.append(Step(tuple(nodes.values()), live))
        live = tuple(nodes[pair] for pair in kept)
    return steps


def _kept(record: SearchRecord, i: int) -> list[tuple[int, int]]:
    """Return old row and new token of each hypothesis that was extended after step i."""
    if i + 1 == len(record.tokens):
        return []
    tokens = record.tokens[i + 1]
    return list(zip(record.parents[i] or range(len(tokens)), tokens, strict=True))


def _best(live: tuple[Node, ...], logp_NV: Tensor, config: DecodeConfig, eos_id: int, n: int) -> list[tuple[int, int]]:
    """Return old row and token of the candidates: 2 * beam, as in the search; 1 in greedy search."""
    logp_NV = logp_NV.clone()
    logp_NV[:, list(FORBIDDEN)] = -torch.inf
    if n < config.min_length:
        logp_NV[:, eos_id] = -torch.inf
    total_NV = logp_NV + logp_NV.new_tensor([node.log_prob for node in live]).unsqueeze(1)
    count = min(1 if config.beam == 1 else 2 * config.beam, int(total_NV.isfinite().sum()))
    return [divmod(i, total_NV.shape[1]) for i in total_NV.flatten().topk(count).indices.tolist()]


def finished(steps: list[Step]) -> list[Node]:
    """Return all hypotheses that ended, the best score first."""
    ended = [node for step in steps for node in step.candidates if node.fate == "ended"]
    return sorted(ended, key=lambda node: -node.score)


def why_stopped(steps: list[Step], record: SearchRecord, config: DecodeConfig, eos_id: int) -> str:
    """Return the reason why the search ended after its last step."""
    n, done = len(steps), finished(steps)
    if config.beam == 1 and done:
        return f"greedy search ends with the first {len(done[0].tokens)} tokens whose last one is the end"
    if n >= record.max_len or not done:
        return f"the largest length, {record.max_len} tokens, was reached"
    live = [node for node in steps[-1].candidates if node.token != eos_id]
    if not live:
        return "no hypothesis was left"
    bound = live[0].log_prob / length_penalty(config.length_penalty, float(record.max_len), config.alpha)
    return (
        f"the best unfinished hypothesis has log P {live[0].log_prob:.2f}. It can at most reach the score {bound:.2f}, "
        f"with the largest length of {record.max_len} tokens; the best finished one has {done[0].score:.2f}"
    )


def find_node(steps: list[Step], tokens: tuple[int, ...]) -> Node:
    """Return the candidate with these tokens."""
    return next(node for node in steps[len(tokens) - 1].candidates if node.tokens == tokens)


def choices_of(node: Node, record: SearchRecord) -> list[Choice]:
    """Return the choice of each token of a hypothesis."""
    found: list[Choice] = []
    while node.parent is not None:
        found.append(choose(record.log_probs_NV[len(node.tokens) - 1][node.row], node.token))
        node = node.parent
    return found[::-1]


def choose(logp_V: Tensor, token: int) -> Choice:
    """Return the choice of a token from these log-probabilities."""
    top = logp_V.exp().topk(min(TOP, len(logp_V)))
    return Choice(token, logp_V[token].exp().item(), tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
