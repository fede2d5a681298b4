"""Beam search (section 6.1 of the paper), independent of the model.

A decoder is a function `step(tokens_N, state) -> logits_NV` that feeds one token to every row, and a state
whose rows can be reordered. The rules are those of tensor2tensor, which the paper used:

* Each step takes the 2·beam best continuations of a sentence. If `beam` of them end, `beam` live ones remain. Every
  ending among them becomes a finished hypothesis, which no longer changes.
* Hypotheses are ranked by log P(y|x) / ((5 + n) / 6)^α, the length penalty of GNMT. Other penalties can be chosen.
* The search of a sentence stops as soon as no live hypothesis can become better than the finished ones.

If outputs must have terms, more hypotheses are live, and `evaluate.decoding.terms` chooses them. If outputs must be
trees, `evaluate.decoding.trees` forbids the other tokens.

Shapes: B sentences still searched, W live rows per sentence (1 in the first step, then `beam`, or more with terms),
N = B·W rows of the decoder, K = beam, X candidates per sentence, C terms or columns of a tree's state, T tokens so far,
V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import InputError
from evaluate.config import LengthPenalty
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.terms import NO_TOKEN, Candidates, TermTables
from evaluate.decoding.trees import TreeTables


class State(Protocol):
    """Decoding state of a model, one row per live hypothesis."""

    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Replace row i by the former row index_N[i]; rows may repeat, and their number may change.

        Args:
            same_sentences: True only if the number of rows stays the same and every row keeps its sentence.
        """


AnyState = TypeVar("AnyState", bound=State)
Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class Hypothesis:
    """One output of beam search or sampling."""

    tokens: tuple[int, ...]
    """Token ids without BOS. The last one is EOS if and only if the hypothesis is finished."""
    log_prob: float
    """Natural log of the model's probability of `tokens`, EOS included."""
    score: float
    """`log_prob` divided by the length penalty of all tokens, EOS included."""


def gnmt_length_penalty(n: Number, alpha: float) -> Number:
    """Return ((5 + n) / 6)^alpha for n tokens, EOS included (Wu et al. 2016, Eq. 14). The paper's α is its exponent."""
    return ((5.0 + n) / 6.0) ** alpha


def length_penalty(kind: LengthPenalty, n: Number, alpha: float) -> Number:
    """Return the divisor of the log-probability of n tokens, EOS included. `FORMULAS` lists the formulas."""
    if kind == "gnmt":
        return gnmt_length_penalty(n, alpha)
    return n ** {"length": alpha, "none": 0.0}[kind]


def score_hypothesis(tokens: tuple[int, ...], log_prob: float, kind: LengthPenalty, alpha: float) -> Hypothesis:
    """Return a hypothesis with its score."""
    return Hypothesis(tokens, log_prob, log_prob / length_penalty(kind, float(len(tokens)), alpha))


@dataclass(frozen=True)
class _Beams:
    """Live and finished hypotheses of the B sentences that are still searched."""

    sentence_B: Tensor  # index of the sentence in the caller's order
    max_len_B: Tensor
    live_lp_BW: Tensor  # log-probabilities; -inf: no hypothesis
    live_tokens_BWT: Tensor
    state_BWC: Tensor  # of the terms or of the tree
    done_lp_BK: Tensor
    done_score_BK: Tensor  # best first; -inf: no hypothesis
    done_tokens_BKT: Tensor

    def select(self, index_B: Tensor) -> "_Beams":
        """Return the beams of the sentences at positions index_B."""
        return _Beams(*(getattr(self, name)[index_B] for name in self.__dataclass_fields__))


def _start(max_len_B: Tensor, beam: int, state_BWC: Tensor) -> _Beams:
    device, B = max_len_B.device, len(max_len_B)
    empty_BK = torch.full((B, beam), float("-inf"), device=device)
    return _Beams(
        sentence_B=torch.arange(B, device=device),
        max_len_B=max_len_B,
        live_lp_BW=torch.zeros(B, 1, device=device),
        live_tokens_BWT=torch.empty(B, 1, 0, dtype=torch.long, device=device),
        state_BWC=state_BWC,
        done_lp_BK=empty_BK,
        done_score_BK=empty_BK,
        done_tokens_BKT=torch.empty(B, beam, 0, dtype=torch.long, device=device),
    )


def log_probs(logits_NV: Tensor) -> Tensor:
    """Return the log-softmax, computed in fp32, or in float64 for float64 logits."""
    return F.log_softmax(logits_NV, dim=-1, dtype=torch.float64 if logits_NV.dtype == torch.float64 else torch.float32)


ROWS_AT_ONCE = 16
"""Rows of a softmax that is computed at once: their float32 copy then stays in the CPU's caches."""


def log_normalisers(logits_NV: Tensor) -> Tensor:
    """Return the number (N, 1) that `log_probs` subtracts from each row: with it, logits need not be copied."""
    return torch.cat([_log_normalisers(rows) for rows in logits_NV.split(ROWS_AT_ONCE)])


def _log_normalisers(logits_NV: Tensor) -> Tensor:
    highest_N1 = log_probs(logits_NV).amax(dim=-1, keepdim=True)
    return logits_NV.amax(dim=-1, keepdim=True).to(highest_N1.dtype) - highest_N1


COLUMNS = 16
"""Logits of a group in `topk`. It was good for vocabularies from 8,000 to 37,000 in measurements."""


def topk(logits_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest logits of each row, largest first, and their tokens; among equal ones, any.

    For a large vocabulary on a CPU, `Tensor.topk` is slow. The k largest logits are in the k groups with the largest
    maxima. Group g of G has the tokens g, g + G, g + 2G and so on.
    """
    V = logits_NV.shape[1]
    G = V // COLUMNS
    if not logits_NV.is_cpu or V < 8000 or k > G:
        best = logits_NV.topk(k)
        return best.values, best.indices
    group_Nk = logits_NV[:, : G * COLUMNS].unflatten(1, (COLUMNS, G)).amax(1).topk(k, sorted=False).indices
    token_NC = (group_Nk.unsqueeze(2) + torch.arange(0, G * COLUMNS, G)).flatten(1)
    rest = torch.arange(G * COLUMNS, V).expand(len(logits_NV), -1)
    token_NC = torch.cat([token_NC, rest], dim=1)
    top_Nk, pick_Nk = logits_NV.gather(1, token_NC).topk(k)
    return top_Nk, token_NC.gather(1, pick_Nk)


def check_finite(finite: bool) -> None:
    """Raise InputError unless the scores of a model are finite."""
    if not finite:
        raise InputError("the model's scores are NaN or infinite: training diverged or the weights are damaged")


def _candidates(beams: _Beams, logits_NV: Tensor, norm_N1: Tensor, count: int) -> Candidates:
    """Return the `count` best continuations of each sentence, best first.

    If there are fewer, the remaining entries have log-probability -inf and no meaning.
    """
    B, W = beams.live_lp_BW.shape
    per_row = min(count, logits_NV.shape[1])
    top_NM, token_NM = topk(logits_NV, per_row)  # a row has at most `count` of the best `count`
    lp_BX = (beams.live_lp_BW.unsqueeze(-1) + (top_NM - norm_N1).view(B, W, per_row)).flatten(1)
    token_BX = token_NM.view(B, W * per_row)
    missing = count - W * per_row
    if missing > 0:
        lp_BX = F.pad(lp_BX, (0, missing), value=float("-inf"))
        token_BX = F.pad(token_BX, (0, missing))
    lp_BK, pick_BK = lp_BX.topk(count)
    parent_BK = (pick_BK // per_row).clamp(max=W - 1)
    return Candidates(lp_BK, parent_BK, token_BX.gather(1, pick_BK), _gather_rows(beams.state_BWC, parent_BK))


def _continue(
    beams: _Beams, logits_NV: Tensor, norm_N1: Tensor, n: int, eos_id: int, beam: int,
    tables: TermTables | TreeTables | None,
) -> tuple[Candidates, Candidates]:  # fmt: skip
    """Return the live hypotheses after a step, and the candidates that end; others among these have -inf."""
    # A beam of 1 is greedy search: only the best token counts, even if it is EOS.
    count = 1 if beam == 1 else 2 * beam
    if isinstance(tables, TreeTables):
        tables.apply(logits_NV, n, beams.state_BWC, beams.max_len_B, beams.sentence_B)
    if not isinstance(tables, TermTables):
        found = _candidates(beams, logits_NV, norm_N1, count)
        if tables is not None:
            found = found._replace(state_BXC=tables.next(found.state_BXC, found.token_BX, n))
        ends_BX = found.token_BX == eos_id
        live = found.keep(~ends_BX)
        return live.pick(live.lp_BX.topk(beam).indices), found.keep(ends_BX)
    sentence_B = beams.sentence_B
    end_N = tables.forbid_end(logits_NV, eos_id, beams.state_BWC, sentence_B)
    top = topk(logits_NV, min(count, logits_NV.shape[1]))
    found = tables.candidates(beams.live_lp_BW, logits_NV, norm_N1, top, end_N, beams.state_BWC, sentence_B)
    found = tables.drop_late(found, n, beams.max_len_B, sentence_B)
    complete = found.keep(tables.complete(found, sentence_B))
    complete = complete.pick(complete.lp_BX.topk(min(count, found.lp_BX.shape[1])).indices)
    live = tables.choose(found.keep(found.token_BX != eos_id), beam, sentence_B)
    return live, complete.keep(complete.token_BX == eos_id)


def _gather_rows(values_BRT: Tensor, row_BK: Tensor) -> Tensor:
    return values_BRT.gather(1, row_BK.unsqueeze(-1).expand(-1, -1, values_BRT.shape[-1]))


def _advance(beams: _Beams, live: Candidates, ended: Candidates, beam: int, penalty: float) -> _Beams:
    """Return the beams after a step with these live hypotheses and these endings."""
    live_tokens_BWT, end_tokens_BXT = (
        torch.cat([_gather_rows(beams.live_tokens_BWT, found.parent_BX), found.token_BX.unsqueeze(-1)], dim=-1)
        for found in (live, ended)
    )
    # In a tie the earlier hypothesis stays.
    all_lp = torch.cat([beams.done_lp_BK, ended.lp_BX], dim=1)
    all_tokens = torch.cat([F.pad(beams.done_tokens_BKT, (0, 1), value=NO_TOKEN), end_tokens_BXT], dim=1)
    all_scores = torch.cat([beams.done_score_BK, ended.lp_BX / penalty], dim=1)
    done_score_BK, pick_BK = all_scores.topk(beam)
    return replace(
        beams,
        live_lp_BW=live.lp_BX,
        live_tokens_BWT=live_tokens_BWT,
        state_BWC=live.state_BXC,
        done_lp_BK=all_lp.gather(1, pick_BK),
        done_score_BK=done_score_BK,
        done_tokens_BKT=_gather_rows(all_tokens, pick_BK),
    )


def _is_done(beams: _Beams, n: int, penalty: Callable[[Tensor], Tensor], n_best: int) -> Tensor:
    """Return True for each sentence at its last token, or whose n_best-th finished hypothesis is out of reach.

    A log-probability is at most 0 and falls as a hypothesis grows; with α ≥ 0 no penalty falls. So a live hypothesis
    can reach at most its present log-probability divided by the penalty of the longest output.
    """
    best_live_B = beams.live_lp_BW.amax(1)
    bound_B = best_live_B / penalty(beams.max_len_B.to(best_live_B.dtype))
    return (beams.done_score_BK[:, n_best - 1] >= bound_B) | (n >= beams.max_len_B)


def _hypotheses(tokens_BRT: Tensor, lp_BR: Tensor, score_BR: Tensor) -> list[list[Hypothesis]]:
    """Return the hypotheses of each sentence. Entries of -inf (no hypothesis) and NaN are omitted."""
    return [
        [
            Hypothesis(tuple(token for token in tokens if token != NO_TOKEN), log_prob, score)
            for tokens, log_prob, score in zip(*rows, strict=True)
            if log_prob > float("-inf")
        ]
        for rows in zip(tokens_BRT.tolist(), lp_BR.tolist(), score_BR.tolist(), strict=True)
    ]


def _collect(beams: _Beams, penalty: float, beam: int, results: list[list[Hypothesis]]) -> None:
    """Write the finished hypotheses of these sentences into `results`, or the best live ones if none is finished."""
    finished = _hypotheses(beams.done_tokens_BKT, beams.done_lp_BK, beams.done_score_BK)
    live = _hypotheses(beams.live_tokens_BWT, beams.live_lp_BW, beams.live_lp_BW / penalty)
    for sentence, done_R, live_R in zip(beams.sentence_B.tolist(), finished, live, strict=True):
        check_finite(bool(done_R or live_R))
        results[sentence] = done_R or sorted(live_R, key=lambda hypothesis: -hypothesis.score)[:beam]


def beam_search(
    step: Callable[[Tensor, AnyState], Tensor],
    state: AnyState,
    max_len_B: Tensor,
    constraints: Constraints,
    *,
    bos_id: int,
    beam: int,
    alpha: float,
    penalty: LengthPenalty = "gnmt",
    n_best: int = 1,
) -> list[list[Hypothesis]]:
    """Search the best outputs of a batch of sentences. Sentences do not influence one another.

    Args:
        step: feeds tokens_N (int64, one per row of `state`) and returns logits_NV, which the search changes.
        state: has one row per sentence at the start. It is reordered in place and cannot be used afterwards.
        max_len_B: largest number of tokens in the output of each sentence, EOS included; on the decoder's device.
        constraints: forbidden tokens, minimum length, prefixes, terms and trees. A prefix gets the model's own scores.
        beam: live hypotheses per sentence. 1 is greedy search.
        alpha: exponent of the length penalty; 0 ranks by log-probability.
        penalty: the length penalty; the default is that of GNMT, ((5 + n) / 6)^alpha.
        n_best: the search of a sentence stops if no live hypothesis can replace the first `n_best` finished ones.

    Returns:
        Up to `beam` finished hypotheses per sentence, best first. Only the first `n_best` are certain to be the best
        that this beam can find. Unfinished hypotheses are returned only for a sentence that has no finished one at
        its `max_len`.

    Raises:
        InputError: a setting is out of range, or the scores of the model are not finite.
    """
    if beam < 1 or not 1 <= n_best <= beam:
        raise InputError(f"beam must be at least 1 and n_best from 1 to beam, not beam={beam}, n_best={n_best}")
    if not alpha >= 0:
        raise InputError(f"alpha is {alpha}; it must be 0 or more, because the search stops early")
    if len(max_len_B) == 0:
        return []
    constraints.check(max_len_B.tolist())
    prefix_ST = constraints.prefix_table(max_len_B.device)

    tables = constraints.tables(max_len_B.device)
    results: list[list[Hypothesis]] = [[] for _ in range(len(max_len_B))]
    beams = _start(max_len_B, beam, max_len_B.new_empty(len(max_len_B), 1, 0) if tables is None else tables.start())
    tokens_N = torch.full_like(max_len_B, bos_id, dtype=torch.long)
    n = 0
    while True:
        n += 1
        logits_NV = step(tokens_N, state)
        norm_N1 = log_normalisers(logits_NV)
        width = beams.live_lp_BW.shape[1]
        constraints.apply(logits_NV, n, prefix_ST, beams.sentence_B)
        live, ended = _continue(beams, logits_NV, norm_N1, n, constraints.eos_id, beam, tables)
        beams = _advance(beams, live, ended, beam, length_penalty(penalty, float(n), alpha))
        row_BW = live.parent_BX + width * torch.arange(len(live.parent_BX), device=max_len_B.device).unsqueeze(1)
        done_B = _is_done(beams, n, lambda n_B: length_penalty(penalty, n_B, alpha), n_best)
        some_done = bool(done_B.any())  # in a step without endings, the only synchronisation with the device
        if some_done:
            finished = beams.select(done_B.nonzero().squeeze(1))
            _collect(finished, length_penalty(penalty, float(n), alpha), beam, results)
            keep_B = (~done_B).nonzero().squeeze(1)
            if len(keep_B) == 0:
                return results
            beams, row_BW = beams.select(keep_B), row_BW[keep_B]
        if some_done or row_BW.shape[1] > 1:  # greedy search keeps its rows
            state.reorder(row_BW.flatten(), same_sentences=width == row_BW.shape[1] and not some_done)
        tokens_N = beams.live_tokens_BWT[:, :, -1].flatten()
