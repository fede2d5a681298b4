"""Beam search whose outputs must contain terms, on models with known logits."""

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from common.errors import InputError
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import Hypothesis, beam_search
from evaluate.decoding.terms import Phrase, Term, WordEnds
from tests.toy_decoder import BOS, EOS, Table, all_outputs, forced_log_prob

Terms = Sequence[Sequence[Term]]


def term(*tokens: int, whole_word: bool = False) -> Term:
    return Term((Phrase(tokens),), whole_word)


def words(vocab: int, inside: Sequence[int] = (), ends: Sequence[int] = ()) -> WordEnds:
    """Return where words begin: not before the tokens `inside`; without a space after the tokens `ends`."""
    begins = torch.ones(vocab, dtype=torch.bool)
    begins[list(inside)] = False
    outside = torch.zeros(vocab, dtype=torch.bool)
    outside[list(ends)] = True
    return WordEnds(begins, outside)


def search(
    model: Table, max_len: list[int], terms: Terms, beam: int, n_best: int = 1, table: WordEnds | None = None
) -> list[list[Hypothesis]]:
    constraints = Constraints(EOS, [BOS], terms=terms, words=table or words(model.vocab))
    return beam_search(
        model.step, model, torch.tensor(max_len), constraints, bos_id=BOS, beam=beam, alpha=0.6, n_best=n_best
    )


def contains(tokens: Sequence[int], part: Sequence[int]) -> bool:
    return any(tuple(tokens[i : i + len(part)]) == tuple(part) for i in range(len(tokens)))


SETS: Terms = [
    [term(2)],
    [term(3, 3)],
    [term(2, 3), term(3, 4)],  # they may overlap
    [term(2, 3), term(2, 4)],  # they begin alike
    [term(4), term(4, 4)],  # one is in the other
]


@pytest.mark.parametrize("number", range(len(SETS)))
@pytest.mark.parametrize("seed", range(2))
def test_search_with_full_beam_finds_the_best_outputs_with_all_terms(seed: int, number: int) -> None:
    max_len, vocab = 5, 5
    model = Table([0], vocab, seed, eos_bias=-9.0)  # the model would never end an output before its terms
    (found,) = search(model, [max_len], [SETS[number]], beam=vocab**max_len, n_best=4)
    outputs = all_outputs(model, 0, max_len, 0.6)
    best = [h for h in outputs if all(contains(h.tokens, t.phrases[0].tokens) for t in SETS[number])]
    assert [h.tokens for h in found[:4]] == [h.tokens for h in best[:4]]
    assert [h.score for h in found[:4]] == pytest.approx([h.score for h in best[:4]], abs=1e-12)


@pytest.mark.parametrize("beam", [1, 2, 4])
@pytest.mark.parametrize("seed", range(8))
def test_every_output_has_all_terms(seed: int, beam: int) -> None:
    draw = random.Random(seed)
    terms = [
        [term(*draw.choices(range(2, 9), k=draw.randint(1, 4)), whole_word=draw.random() < 0.5) for _ in range(count)]
        for count in (1, 2, 3, 4)
    ]
    needed = [sum(t.length for t in row) for row in terms]
    inside = {5, 6, 7}
    table = words(9, inside=list(inside))
    for extra in (0, 1, 6):
        model = Table([0, 1, 2, 3], 9, seed, eos_bias=2.0)
        found = search(model, [n + extra for n in needed], terms, beam, n_best=beam, table=table)
        for sentence, hypotheses in enumerate(found):
            assert hypotheses
            for h in hypotheses:
                assert len(h.tokens) <= needed[sentence] + extra
                assert h.log_prob == pytest.approx(forced_log_prob(model, sentence, h.tokens), abs=1e-10)
                for wanted in terms[sentence]:
                    ends = [i for i in range(len(h.tokens)) if contains(h.tokens[:i], wanted.phrases[0].tokens)]
                    assert any(not (wanted.whole_word and h.tokens[i] in inside) for i in ends) or (
                        not wanted.whole_word and contains(h.tokens, wanted.phrases[0].tokens)
                    )


@pytest.mark.parametrize("beam", [1, 3])
def test_sentences_without_terms_are_unchanged_beside_others(beam: int) -> None:
    plain = search(Table([0, 1, 2, 3], 8), [9] * 4, [], beam, n_best=beam)
    mixed = search(Table([0, 1, 2, 3], 8), [9] * 4, [[], [term(3, 4)], [], [term(2), term(5, 5)]], beam, n_best=beam)
    for sentence in (0, 2):
        assert mixed[sentence] == plain[sentence]


@pytest.mark.parametrize("beam", [1, 3])
def test_search_with_terms_does_not_depend_on_batch_or_order(beam: int) -> None:
    terms = [[term(3, 4)], [term(2), term(5, 5), term(6, 2)], [], [term(7, 7, 7)]]
    lengths = [8, 12, 6, 10]
    alone = [search(Table([s], 8), [lengths[s]], [terms[s]], beam, n_best=beam)[0] for s in range(4)]
    order = [2, 3, 0, 1]
    together = search(Table(order, 8), [lengths[s] for s in order], [terms[s] for s in order], beam, n_best=beam)
    assert together == [alone[s] for s in order]


class Favourite(Table):
    """A model that prefers token 2 everywhere, then EOS; after token 4 it ends only after a 2."""

    def logits(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
        row = [0.0] * self.vocab
        row[2], row[EOS] = 5.0, -9.0 if prefix[-1] == 4 else 4.0
        return row


def test_word_after_a_whole_word_does_not_continue_it() -> None:
    table = words(6, inside=[2])
    [[found, *_]] = search(Favourite([0], 6), [6], [[term(4)]], 2, table=table)
    assert contains(found.tokens, (4, 2))
    [[found, *_]] = search(Favourite([0], 6), [6], [[term(4, whole_word=True)]], 2, table=table)
    assert 4 in found.tokens
    assert not contains(found.tokens, (4, 2))


def test_only_terms_follow_where_the_model_would_end() -> None:
    class Ends(Table):
        def logits(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
            return [0.0, 9.0 if len(prefix) == 3 else 0.0, 5.0, 0.0, 0.0, 0.0]

    for hypothesis in search(Ends([0], 6), [9], [[term(3, 5)]], 3, n_best=3)[0]:
        assert hypothesis.tokens.index(3) <= 2


def test_other_ways_to_write_a_term_depend_on_the_place() -> None:
    at_start = Term((Phrase((4, 4)), Phrase((3,), "start")), False)
    [[found, *_]] = search(Favourite([0], 6), [6], [[at_start]], 3)
    assert found.tokens[0] == 3
    inside = Term((Phrase((4, 4, 4)), Phrase((5,), "outside")), False)
    [[found, *_]] = search(Favourite([0], 6), [6], [[inside]], 3, table=words(6, ends=[2]))
    assert contains(found.tokens, (2, 5))
    [[found, *_]] = search(Favourite([0], 6), [6], [[inside]], 3)
    assert contains(found.tokens, (4, 4, 4))


def test_terms_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(InputError, match="the terms of a sentence need 4 tokens; its output has at most 3"):
        search(Table([0], 6), [3], [[term(2, 2), term(3, whole_word=True)]], 2)


def test_terms_can_follow_a_prefix() -> None:
    model = Table([0], 6)
    constraints = Constraints(EOS, [BOS], prefixes=[[2, 3]], terms=[[term(4, 4)]], words=words(6))
    [[found, *_]] = beam_search(model.step, model, torch.tensor([4]), constraints, bos_id=BOS, beam=2, alpha=0.6)
    assert found.tokens == (2, 3, 4, 4)


def test_damaged_scores_are_an_error() -> None:
    class Damaged(Table):
        def step(self, tokens_N: Tensor, state: Table) -> Tensor:
            return super().step(tokens_N, state) * float("nan")

    with pytest.raises(InputError, match="NaN or infinite"):
        search(Damaged([0], 6), [6], [[term(2)]], 2)
