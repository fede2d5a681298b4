"""Beam search on models with known logits: a table from (sentence, prefix) to logits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluate.config import LengthPenalty
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import Hypothesis, beam_search, gnmt_length_penalty, length_penalty, log_normalisers, topk
from tests.toy_decoder import BOS, EOS, Table, all_outputs, forced_log_prob


class Fixed(Table):
    """A given table from prefixes without BOS to probabilities. Other prefixes have the probabilities `default`."""

    def __init__(self, n: int, table: dict[tuple[int, ...], list[float]], default: list[float]) -> None:
        super().__init__(list(range(n)), len(default))
        self.table, self.default = table, default

    def logits(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
        probabilities = self.table.get(prefix[1:], self.default)
        return [math.log(p) if p > 0 else float("-inf") for p in probabilities]


def search(model: Table, max_len: list[int], beam: int, alpha: float = 0.6, n_best: int = 1) -> list[list[Hypothesis]]:
    return beam_search(
        model.step,
        model,
        torch.tensor(max_len),
        Constraints(EOS, [BOS]),
        bos_id=BOS,
        beam=beam,
        alpha=alpha,
        n_best=n_best,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_beam_search_with_full_beam_equals_enumeration(seed: int, alpha: float) -> None:
    max_len, vocab = 4, 4
    model = Table([0, 1], vocab, seed)
    found = search(model, [max_len, max_len], beam=vocab**max_len, alpha=alpha, n_best=5)
    for sentence in range(2):
        best = all_outputs(model, sentence, max_len, alpha)[:5]
        assert [h.tokens for h in found[sentence][:5]] == [h.tokens for h in best]
        assert [h.score for h in found[sentence][:5]] == pytest.approx([h.score for h in best], abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_beam_of_1_is_greedy_search(seed: int) -> None:
    model = Table([0], 6, seed)
    prefix: tuple[int, ...] = ()
    while len(prefix) < 12 and EOS not in prefix:
        row = model.logits(0, (BOS, *prefix))
        prefix = (*prefix, max(range(1, 6), key=row.__getitem__))
    assert search(model, [12], beam=1)[0][0].tokens == prefix


def test_beam_search_does_not_depend_on_batch_or_order() -> None:
    sentences = list(range(7))
    lengths = [3, 9, 5, 12, 1, 7, 9]
    alone = [search(Table([s], 8), [lengths[s]], beam=3, n_best=3)[0] for s in sentences]
    shuffled = [4, 2, 6, 0, 5, 1, 3]
    together = search(Table(shuffled, 8), [lengths[s] for s in shuffled], beam=3, n_best=3)
    for place, sentence in enumerate(shuffled):
        assert together[place] == alone[sentence]


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_hypothesis_log_prob_equals_forced_decoding(alpha: float) -> None:
    model = Table([0, 1, 2], 7, seed=3)
    for sentence, hypotheses in enumerate(search(model, [10] * 3, beam=4, alpha=alpha, n_best=4)):
        assert hypotheses
        for h in hypotheses:
            assert h.tokens.index(EOS) == len(h.tokens) - 1
            log_prob = forced_log_prob(model, sentence, h.tokens)
            assert h.log_prob == pytest.approx(log_prob, abs=1e-10)
            assert h.score == pytest.approx(log_prob / ((5 + len(h.tokens)) / 6) ** alpha, abs=1e-10)


def test_gnmt_length_penalty_equals_hand_computed_values() -> None:
    assert gnmt_length_penalty(1.0, 0.6) == 1.0
    assert gnmt_length_penalty(7.0, 1.0) == 2.0
    assert gnmt_length_penalty(19.0, 0.5) == 2.0
    assert gnmt_length_penalty(30.0, 0.0) == 1.0
    assert gnmt_length_penalty(10.0, 0.6) == pytest.approx(1.7329, abs=1e-4)  # 2.5 ** 0.6


def test_length_penalty_equals_hand_computed_values() -> None:
    assert length_penalty("length", 4.0, 0.5) == 2.0
    assert length_penalty("length", 9.0, 0.0) == 1.0
    assert length_penalty("none", 9.0, 0.6) == 1.0
    assert length_penalty("gnmt", 7.0, 1.0) == 2.0


def test_length_penalties_rank_differently_at_same_alpha() -> None:
    # [EOS] has log 0.2 = -1.61. Three tokens have log(0.8 * 0.18) = -1.94; by GNMT's 1.19 it is -1.63, by 3^0.6 -1.00.
    table: dict[tuple[int, ...], list[float]] = {(): [0, 0.2, 0.8], (2,): [0, 0, 1], (2, 2): [0, 0.18, 0.82]}
    best = {}
    kinds: tuple[LengthPenalty, ...] = ("gnmt", "length", "none")
    for kind in kinds:
        model = Fixed(1, table, default=[0, 0.0, 1.0])
        found = beam_search(
            model.step, model, torch.tensor([4]), Constraints(EOS), bos_id=BOS, beam=2, alpha=0.6, penalty=kind
        )
        best[kind] = found[0][0].tokens
    assert best == {"gnmt": (EOS,), "length": (2, 2, EOS), "none": (EOS,)}


def test_hypothesis_contains_and_counts_eos_once() -> None:
    # p(2) = 0.9, then EOS with 0.8: two tokens, so the penalty is (7/6)^1.
    model = Fixed(1, {(): [0, 0.1, 0.9], (2,): [0, 0.8, 0.2]}, default=[0, 0.5, 0.5])
    best = search(model, [6], beam=2, alpha=1.0)[0][0]
    assert best.tokens == (2, EOS)
    assert best.log_prob == pytest.approx(math.log(0.9 * 0.8))
    assert best.score == pytest.approx(math.log(0.9 * 0.8) / (7 / 6))


def test_finished_hypothesis_does_not_change() -> None:
    # The empty output ends in step 1 with 0.3. The others are searched to the last token and score lower.
    model = Fixed(1, {(): [0, 0.3, 0.4, 0.3]}, default=[0, 0.02, 0.49, 0.49])
    found = search(model, [9], beam=3, alpha=1.0, n_best=3)[0]
    assert len(model.rows_per_step) == 9
    log_prob = torch.tensor([0.3, 0.4, 0.3], dtype=torch.float64).log().log_softmax(0)[0].item()
    assert found[0] == Hypothesis((EOS,), log_prob, log_prob)
    assert all(h.tokens.count(EOS) == 1 and h.tokens[-1] == EOS for h in found)


def test_beam_search_keeps_beam_live_hypotheses_if_others_end() -> None:
    # In step 2 the two best candidates are endings, but two hypotheses stay live.
    model = Fixed(1, {(): [0, 0, 0.5, 0.5]}, default=[0, 0.4, 0.3, 0.3])
    found = search(model, [20], beam=2, alpha=1.0, n_best=2)[0]
    assert model.rows_per_step[:3] == [1, 2, 2]
    assert {h.tokens for h in found} == {(2, EOS), (3, EOS)}


def test_beam_search_keeps_ending_ranked_below_live_hypotheses() -> None:
    model = Fixed(1, {(): [0, 0.2, 0.5, 0.3]}, default=[0, 0.1, 0.45, 0.45])
    best = search(model, [3], beam=2, alpha=0.0)[0][0]
    assert best.tokens == (EOS,)
    assert best.log_prob == pytest.approx(math.log(0.2))


def test_beam_search_stops_at_first_step_without_possible_winner() -> None:
    # After step 1, [EOS] has log 0.5 and the live beam log 0.3. Without a penalty no live one can win: one step.
    table: dict[tuple[int, ...], list[float]] = {(): [0, 0.5, 0.3, 0.2]}
    without = Fixed(1, table, default=[0, 0.0, 1.0, 0.0])
    assert search(without, [20], beam=2, alpha=0.0)[0][0].tokens == (EOS,)
    assert len(without.rows_per_step) == 1
    # With α = 1 and 20 tokens, log 0.3 may still become log(0.3) / (25/6) > log 0.5: the search continues to the end.
    hopeful = Fixed(1, table, default=[0, 0.0, 1.0, 0.0])
    assert search(hopeful, [20], beam=2, alpha=1.0)[0][0].tokens == (EOS,)
    assert len(hopeful.rows_per_step) == 20
    # With a limit of 5 tokens, log(0.3) / (10/6) = -0.722 < log 0.5 = -0.693: one step.
    short = Fixed(1, table, default=[0, 0.0, 1.0, 0.0])
    assert search(short, [5], beam=2, alpha=1.0)[0][0].tokens == (EOS,)
    assert len(short.rows_per_step) == 1


@pytest.mark.parametrize("seed", range(20))
def test_beam_search_early_stop_keeps_n_best(seed: int) -> None:
    """With n_best = beam = 6 the search continues long after the point where n_best = 2 can stop."""
    early, late = Table([0, 1], 5, seed, eos_bias=1), Table([0, 1], 5, seed, eos_bias=1)
    found = search(early, [12, 12], beam=6, n_best=2)
    reference = search(late, [12, 12], beam=6, n_best=6)
    assert len(early.rows_per_step) <= len(late.rows_per_step)
    assert [hypotheses[:2] for hypotheses in found] == [hypotheses[:2] for hypotheses in reference]


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_beam_search_limits_output_length_per_sentence(beam: int) -> None:
    limits = [1, 2, 3, 8]
    found = search(Table([0, 1, 2, 3], 6, eos_bias=-3), limits, beam=beam, n_best=beam)
    for hypotheses, limit in zip(found, limits, strict=True):
        assert all(1 <= len(h.tokens) <= limit for h in hypotheses)


def test_beam_search_returns_unfinished_only_if_none_finished() -> None:
    never = Fixed(1, {}, default=[0, 0.0, 0.6, 0.4])
    unfinished = search(never, [3], beam=2, alpha=1.0)[0]
    assert unfinished[0].tokens == (2, 2, 2)
    assert sorted(unfinished[1].tokens) == [2, 2, 3]
    assert unfinished[0].log_prob == pytest.approx(3 * math.log(0.6))
    assert unfinished[0].score == pytest.approx(3 * math.log(0.6) / (8 / 6))

    once = Fixed(1, {(): [0, 0.05, 0.95, 0]}, default=[0, 0.0, 0.6, 0.4])  # the empty output is the only finished one
    assert [h.tokens for h in search(once, [3], beam=2, alpha=1.0)[0]] == [(EOS,)]


def test_beam_search_removes_finished_sentences_from_batch() -> None:
    model = Table([0, 1, 2], 6)
    search(model, [2, 5, 3], beam=2, alpha=1.0, n_best=2)
    limit_only = [3, 6, 4, 2, 2]  # at first one row per sentence, then two per sentence below its limit
    assert len(model.rows_per_step) <= 5
    assert all(rows <= most for rows, most in zip(model.rows_per_step, limit_only, strict=False))

    endless = Fixed(3, {}, default=[0, 0.0, 0.6, 0.4])
    search(endless, [2, 5, 3], beam=2)
    assert endless.rows_per_step == limit_only


def test_beam_search_sets_same_sentences_only_if_rows_keep_their_sentence() -> None:
    endless = Fixed(3, {}, default=[0, 0.0, 0.6, 0.4])
    search(endless, [2, 5, 3], beam=2)  # rows per step 3, 6, 4, 2, 2
    assert endless.same_sentences == [False, False, False, True]


def test_beam_search_with_tiny_vocabulary_has_no_nan_or_repetition() -> None:
    model = Table([0, 1], 3)  # BOS, EOS and one word: at most one live hypothesis
    for hypotheses in search(model, [4, 4], beam=10, n_best=10):
        assert [len(h.tokens) for h in sorted(hypotheses, key=lambda h: len(h.tokens))] == [1, 2, 3, 4]
        assert all(math.isfinite(h.score) for h in hypotheses)


def test_forbidden_tokens_never_occur_and_keep_other_log_probs() -> None:
    model = Table([0], 6, seed=5)
    found = beam_search(
        model.step,
        model,
        torch.tensor([6]),
        Constraints(EOS, [0, 3, 5]),
        bos_id=BOS,
        beam=4,
        alpha=0.6,
        n_best=4,
    )[0]
    assert not {0, 3, 5} & {t for h in found for t in h.tokens}
    assert all(h.log_prob == pytest.approx(forced_log_prob(model, 0, h.tokens), abs=1e-10) for h in found)


def test_beam_search_is_deterministic_in_ties() -> None:
    flat = [search(Fixed(2, {}, default=[0, 0.25, 0.25, 0.25, 0.25]), [4, 6], beam=3, n_best=3) for _ in range(2)]
    assert flat[0] == flat[1]


def test_beam_search_scores_bfloat16_logits_in_fp32() -> None:
    def step(tokens_N: Tensor, state: Table) -> Tensor:
        return torch.tensor([0, 1, 0, 0, 0], dtype=torch.bfloat16).expand(len(tokens_N), -1)

    found = beam_search(step, Table([0], 5), torch.tensor([2]), Constraints(EOS), bos_id=BOS, beam=2, alpha=0.0)
    assert found[0][0].log_prob == pytest.approx(1 - math.log(math.e + 4), abs=1e-6)


def test_beam_search_fails_if_logits_are_nan() -> None:
    def step(tokens_N: Tensor, state: Table) -> Tensor:
        return torch.full((len(tokens_N), 5), float("nan"))

    with pytest.raises(ValueError, match="NaN or infinite"):
        beam_search(step, Table([0], 5), torch.tensor([3]), Constraints(EOS), bos_id=BOS, beam=2, alpha=0.6)


@pytest.mark.parametrize(
    ("beam", "alpha", "n_best", "max_len"), [(0, 0.6, 1, 3), (2, 0.6, 3, 3), (2, -0.1, 1, 3), (2, 0.6, 1, 0)]
)
def test_beam_search_rejects_settings_out_of_range(beam: int, alpha: float, n_best: int, max_len: int) -> None:
    with pytest.raises(ValueError):
        search(Table([0], 5), [max_len], beam, alpha, n_best)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_len": 0}, "min_len is 0; it must be from 1"),
        ({"min_len": 4}, "min_len is 4; it must be from 1"),
        ({"prefixes": [[2, 3, 4]]}, "a prefix has 3 tokens; an output of 3 tokens must be longer"),
        ({"prefixes": [[2, EOS]]}, "contains EOS or a forbidden token"),
        ({"prefixes": [[BOS]]}, "contains EOS or a forbidden token"),
    ],
)
def test_beam_search_rejects_impossible_constraints(settings: dict[str, Any], message: str) -> None:
    model = Table([0], 5)
    constraints = Constraints(EOS, [BOS], **settings)
    with pytest.raises(ValueError, match=message):
        beam_search(model.step, model, torch.tensor([3]), constraints, bos_id=BOS, beam=2, alpha=0.6)


def test_beam_search_returns_empty_list_for_no_sentences() -> None:
    assert search(Table([], 5), [], beam=2) == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_log_normalisers_equal_log_of_sum(dtype: torch.dtype) -> None:
    logits_NV = torch.randn(37, 50, dtype=torch.float64).to(dtype)  # not a multiple of the rows at once
    expected = logits_NV.double().logsumexp(-1, keepdim=True)
    torch.testing.assert_close(log_normalisers(logits_NV).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("vocab_size", [8000, 8009])
def test_topk_equals_torch_topk(vocab_size: int) -> None:
    logits_NV = torch.stack([torch.randperm(vocab_size).float() for _ in range(6)])
    logits_NV[1] = logits_NV[1].sort(descending=True).values  # the largest are neighbours
    logits_NV[2, 2:] = -torch.inf
    (top_Nk, token_Nk), expected = topk(logits_NV, 8), logits_NV.topk(8)
    assert torch.equal(top_Nk, expected.values)
    finite = top_Nk.isfinite()
    assert torch.equal(token_Nk[finite], expected.indices[finite])
