"""Beam search (section 6.1 of the paper), written against one interface and no model.

A decoder is a function `step(tokens_N, state) -> logits_NV` that feeds one token to every row, and a state
whose rows can be reordered. The rules are tensor2tensor's, which the paper used:

* every step looks at the 2·beam best continuations of a sentence, so that even if `beam` of them end, `beam`
  live ones remain; every ending among them becomes a finished hypothesis and is never touched again;
* hypotheses are ranked by log P(y|x) / ((5 + n) / 6)^α, the length penalty of GNMT (others are to be had);
* a sentence stops as soon as no live hypothesis can still win.

Shapes: B sentences still searched, W live rows per sentence (1 in the first step, then `beam`), N = B·W rows of
the decoder, K = beam, C candidates per sentence, T tokens so far, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import InputError
from evaluate.config import LengthPenalty

_NO_TOKEN = -1  # fills the rows of finished hypotheses behind their EOS


class State(Protocol):
    """What beam search needs to know of a decoder's state."""

    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Make row i what row index_N[i] was; rows may repeat, and be fewer or more than before.

        `same_sentences` promises that there are as many rows as before and that none changes its sentence.
        """


AnyState = TypeVar("AnyState", bound=State)
Number = TypeVar("Number", float, Tensor)


@dataclass(frozen=True)
class Hypothesis:
    """One output of beam search."""

    tokens: tuple[int, ...]
    """Ids without BOS; the last one is EOS if, and only if, the hypothesis is finished."""
    log_prob: float
    """Natural log of the model's probability of `tokens`, EOS included."""
    score: float
    """log_prob divided by the length penalty of all tokens, EOS counted."""


def gnmt_length_penalty(n: Number, alpha: float) -> Number:
    """((5 + n) / 6)^alpha for n tokens, EOS included (Wu et al. 2016, Eq. 14; what the paper's α belongs to)."""
    return ((5.0 + n) / 6.0) ** alpha


def length_penalty(kind: LengthPenalty, n: Number, alpha: float) -> Number:
    """What the log-probability of n tokens, EOS included, is divided by; `FORMULAS` has it in words."""
    if kind == "gnmt":
        return gnmt_length_penalty(n, alpha)
    return n ** (alpha if kind == "length" else 0.0)


@dataclass(frozen=True)
class _Beams:
    """Everything that the search knows of the B sentences that are not done; rows are sentences."""

    sentence_B: Tensor  # place of the sentence in the caller's order
    max_len_B: Tensor
    live_lp_BW: Tensor  # log-probabilities; -inf marks a place that no hypothesis fills
    live_tokens_BWT: Tensor
    done_lp_BK: Tensor
    done_score_BK: Tensor  # best first; -inf marks an empty place
    done_tokens_BKT: Tensor

    def select(self, index_B: Tensor) -> "_Beams":
        """The same for the sentences in places index_B."""
        return _Beams(*(getattr(self, name)[index_B] for name in self.__dataclass_fields__))


def _start(max_len_B: Tensor, beam: int) -> _Beams:
    device, B = max_len_B.device, len(max_len_B)
    empty_BK = torch.full((B, beam), float("-inf"), device=device)
    return _Beams(
        sentence_B=torch.arange(B, device=device),
        max_len_B=max_len_B,
        live_lp_BW=torch.zeros(B, 1, device=device),
        live_tokens_BWT=torch.empty(B, 1, 0, dtype=torch.long, device=device),
        done_lp_BK=empty_BK,
        done_score_BK=empty_BK,
        done_tokens_BKT=torch.empty(B, beam, 0, dtype=torch.long, device=device),
    )


def log_probs(logits_NV: Tensor) -> Tensor:
    """Log-softmax in at least fp32."""
    return F.log_softmax(logits_NV, dim=-1, dtype=torch.float64 if logits_NV.dtype == torch.float64 else torch.float32)


@dataclass(frozen=True)
class Constraints:
    """Which tokens may come next. All others get -inf, and those that may keep what the model gives them."""

    eos_id: int
    forbidden_ids: Sequence[int] = ()
    """Never produced (their probability is lost, not given to other tokens)."""
    min_len: int = 1
    """No output has fewer tokens, EOS included."""
    prefixes: Sequence[Sequence[int]] = ()
    """What the output of each sentence begins with; () gives none of them a prefix."""

    def check(self, max_lens: Sequence[int]) -> None:
        """Raises ValueError where an output cannot be as long as it must, or begin as it must."""
        if not 1 <= self.min_len <= min(max_lens):
            raise InputError(f"min_len must be from 1 to the max_len of every sentence, not {self.min_len}")
        assert len(self.prefixes) in (0, len(max_lens))
        for prefix, max_len in zip(self.prefixes, max_lens, strict=False):
            if len(prefix) >= max_len:
                raise InputError(f"a prefix of {len(prefix)} tokens leaves no room in an output of {max_len}")
            if {self.eos_id, *self.forbidden_ids} & set(prefix):
                raise InputError("a prefix holds EOS or a forbidden token")

    def prefix_table(self, device: torch.device) -> Tensor:
        """Row s are the tokens that begin sentence s, and `_NO_TOKEN` behind them; as wide as the longest."""
        width = max(map(len, self.prefixes), default=0)
        rows = [[*prefix, *[_NO_TOKEN] * (width - len(prefix))] for prefix in self.prefixes]
        return torch.tensor(rows, dtype=torch.long, device=device).reshape(len(rows), width)

    def apply(self, logp_NV: Tensor, n: int, prefix_ST: Tensor, sentence_B: Tensor) -> None:
        """Write -inf, in place, for what may not be the n-th token of an output.

        `prefix_ST` is `prefix_table`; `sentence_B` are those of its rows that are searched, with N / B rows each.
        """
        for token in self.forbidden_ids:
            logp_NV[:, token] = float("-inf")
        if n < self.min_len:
            logp_NV[:, self.eos_id] = float("-inf")
        if n <= prefix_ST.shape[1]:
            forced_B = prefix_ST[sentence_B, n - 1]
            forced_N1 = forced_B.repeat_interleave(len(logp_NV) // len(forced_B)).unsqueeze(1)
            others_NV = torch.arange(logp_NV.shape[1], device=logp_NV.device) != forced_N1
            logp_NV.masked_fill_(others_NV & (forced_N1 != _NO_TOKEN), float("-inf"))


def _candidates(live_lp_BW: Tensor, logp_NV: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` best continuations of each sentence, best first: log-probability, place of the parent, token.

    When there are fewer, the rest have log-probability -inf and stand for nothing.
    """
    B, W = live_lp_BW.shape
    per_row = min(count, logp_NV.shape[1])
    top_NC, token_NC = logp_NV.topk(per_row)  # no row can give more than `count` of the best `count`
    lp_BC = (live_lp_BW.unsqueeze(-1) + top_NC.view(B, W, per_row)).flatten(1)
    token_BC = token_NC.view(B, W * per_row)
    missing = count - W * per_row
    if missing > 0:
        lp_BC = F.pad(lp_BC, (0, missing), value=float("-inf"))
        token_BC = F.pad(token_BC, (0, missing))
    lp_BC, pick_BC = lp_BC.topk(count)
    return lp_BC, (pick_BC // per_row).clamp(max=W - 1), token_BC.gather(1, pick_BC)


def _gather_rows(tokens_BRT: Tensor, row_BK: Tensor) -> Tensor:
    return tokens_BRT.gather(1, row_BK.unsqueeze(-1).expand(-1, -1, tokens_BRT.shape[-1]))


def _advance(beams: _Beams, logp_NV: Tensor, eos_id: int, beam: int, penalty: float) -> tuple[_Beams, Tensor]:
    """One step: the new beams (W = beam) and the place in the old ones that each live hypothesis continues."""
    # A beam of 1 is greedy search: the one best token counts, be it EOS or not.
    lp_BC, parent_BC, token_BC = _candidates(beams.live_lp_BW, logp_NV, 1 if beam == 1 else 2 * beam)
    ends_BC = token_BC == eos_id
    dead = float("-inf")

    live_lp_BK, pick_BK = lp_BC.masked_fill(ends_BC, dead).topk(beam)
    parent_BK = parent_BC.gather(1, pick_BK)
    last_BK1 = token_BC.gather(1, pick_BK).unsqueeze(-1)
    live_tokens_BKT = torch.cat([_gather_rows(beams.live_tokens_BWT, parent_BK), last_BK1], dim=-1)

    # At most one ending per live row, so at most `beam` of the candidates; an earlier hypothesis wins a tie.
    end_lp_BC = lp_BC.masked_fill(~ends_BC, dead)
    end_tokens_BCT = torch.cat([_gather_rows(beams.live_tokens_BWT, parent_BC), token_BC.unsqueeze(-1)], dim=-1)
    all_lp = torch.cat([beams.done_lp_BK, end_lp_BC], dim=1)
    all_tokens = torch.cat([F.pad(beams.done_tokens_BKT, (0, 1), value=_NO_TOKEN), end_tokens_BCT], dim=1)
    all_scores = torch.cat([beams.done_score_BK, end_lp_BC / penalty], dim=1)
    done_score_BK, pick_BK = all_scores.topk(beam)
    advanced = replace(
        beams,
        live_lp_BW=live_lp_BK,
        live_tokens_BWT=live_tokens_BKT,
        done_lp_BK=all_lp.gather(1, pick_BK),
        done_score_BK=done_score_BK,
        done_tokens_BKT=_gather_rows(all_tokens, pick_BK),
    )
    return advanced, parent_BK


def _is_done(beams: _Beams, n: int, penalty: Callable[[Tensor], Tensor], n_best: int) -> Tensor:
    """True for sentences at their last token, or where no live hypothesis can beat the n_best-th finished one.

    A log-probability is at most 0 and only falls as a hypothesis grows and, with α ≥ 0, no penalty ever falls: the
    best that a live hypothesis can hope for is what it has now, divided by the penalty of the longest output.
    """
    best_live_B = beams.live_lp_BW[:, 0]
    hope_B = best_live_B / penalty(beams.max_len_B.to(best_live_B.dtype))
    return (beams.done_score_BK[:, n_best - 1] >= hope_B) | (n >= beams.max_len_B)


def _hypotheses(tokens_BRT: Tensor, lp_BR: Tensor, score_BR: Tensor) -> list[list[Hypothesis]]:
    """The hypotheses of each sentence without the empty places (-inf) and without those that became NaN."""
    return [
        [
            Hypothesis(tuple(token for token in tokens if token != _NO_TOKEN), log_prob, score)
            for tokens, log_prob, score in zip(*rows, strict=True)
            if log_prob > float("-inf")
        ]
        for rows in zip(tokens_BRT.tolist(), lp_BR.tolist(), score_BR.tolist(), strict=True)
    ]


def _collect(beams: _Beams, penalty: float, results: list[list[Hypothesis]]) -> None:
    """Write the finished hypotheses of these sentences into `results`; the live ones where none has finished."""
    finished = _hypotheses(beams.done_tokens_BKT, beams.done_lp_BK, beams.done_score_BK)
    live = _hypotheses(beams.live_tokens_BWT, beams.live_lp_BW, beams.live_lp_BW / penalty)
    for sentence, done_R, live_R in zip(beams.sentence_B.tolist(), finished, live, strict=True):
        if not (done_R or live_R):
            raise InputError("the model's scores are NaN or infinite: training diverged or weights are damaged")
        results[sentence] = done_R or live_R


def beam_search(
    step: Callable[[Tensor, AnyState], Tensor],
    state: AnyState,
    max_len_B: Tensor,
    *,
    bos_id: int,
    eos_id: int,
    beam: int,
    alpha: float,
    n_best: int = 1,
    forbidden_ids: Sequence[int] = (),
    penalty: LengthPenalty = "gnmt",
    min_len: int = 1,
    prefixes: Sequence[Sequence[int]] = (),
) -> list[list[Hypothesis]]:
    """Search the outputs of a batch of sentences; sentences do not influence one another.

    Args:
        step: feeds tokens_N (int64, one per row of `state`) and returns logits_NV.
        state: starts with one row per sentence; reordered in place, and useless afterwards.
        max_len_B: longest output per sentence in tokens, EOS included; on the device of the decoder.
        beam: live hypotheses per sentence. 1 is greedy search.
        alpha: exponent of the length penalty; 0 ranks by log-probability.
        n_best: search goes on until this many finished hypotheses are beyond reach.
        forbidden_ids: never produced (their probability is lost, not given to other tokens).
        penalty: which length penalty; the default is GNMT's, ((5 + n) / 6)^alpha.
        min_len: no output ends before it has so many tokens, EOS included.
        prefixes: per sentence the tokens that its outputs begin with, scored as the model scores them; () for none.

    Returns, per sentence, up to `beam` finished hypotheses, best first; only the first `n_best` are certain
    to be the best that this beam can find. Only a sentence with no finished hypothesis at its `max_len` gets its
    unfinished ones.

    Raises ValueError for settings out of range and for a model whose scores are not finite.
    """
    if beam < 1 or not 1 <= n_best <= beam:
        raise InputError(f"beam must be at least 1 and n_best from 1 to beam, not beam={beam}, n_best={n_best}")
    if not alpha >= 0:
        raise InputError(f"alpha must be 0 or more, not {alpha}: the early stop relies on it")
    if len(max_len_B) == 0:
        return []
    constraints = Constraints(eos_id, forbidden_ids, min_len, prefixes)
    constraints.check(max_len_B.tolist())
    prefix_ST = constraints.prefix_table(max_len_B.device)

    results: list[list[Hypothesis]] = [[] for _ in range(len(max_len_B))]
    beams = _start(max_len_B, beam)
    tokens_N = torch.full_like(max_len_B, bos_id, dtype=torch.long)
    n = 0
    while True:
        n += 1
        logp_NV = log_probs(step(tokens_N, state))
        width = beams.live_lp_BW.shape[1]
        constraints.apply(logp_NV, n, prefix_ST, beams.sentence_B)
        beams, parent_BK = _advance(beams, logp_NV, eos_id, beam, length_penalty(penalty, float(n), alpha))
        row_BK = parent_BK + width * torch.arange(len(parent_BK), device=parent_BK.device).unsqueeze(1)
        done_B = _is_done(beams, n, lambda n_B: length_penalty(penalty, n_B, alpha), n_best)
        some_done = bool(done_B.any())  # the only wait for the device in a step in which no sentence ends
        if some_done:
            _collect(beams.select(done_B.nonzero().squeeze(1)), length_penalty(penalty, float(n), alpha), results)
            keep_B = (~done_B).nonzero().squeeze(1)
            if len(keep_B) == 0:
                return results
            beams, row_BK = beams.select(keep_B), row_BK[keep_B]
        if some_done or beam > 1:  # greedy search keeps its rows
            state.reorder(row_BK.flatten(), same_sentences=width == beam and not some_done)
        tokens_N = beams.live_tokens_BWT[:, :, -1].flatten()
