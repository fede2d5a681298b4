"""Beam search whose outputs must be trees, on models with known logits."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from common.errors import InputError
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import Hypothesis, beam_search, length_penalty
from evaluate.decoding.trees import TreeTokens
from tests.toy_decoder import BOS, EOS, Table, forced_log_prob

TREES = TreeTokens(opening=(2, 3), closing=(5, 4), leaves=(6, 7))
"""Two labels: 2 ... 5 and 3 ... 4."""
NUMBERED = replace(TREES, numbers=(8, 9, 10))
VOCAB = 11
CLOSES = dict(zip(TREES.opening, TREES.closing, strict=True))


def search(
    model: Table,
    words: Sequence[int],
    max_len: Sequence[int],
    beam: int,
    n_best: int = 1,
    alpha: float = 0.3,
    tokens: TreeTokens = TREES,
) -> list[list[Hypothesis]]:
    constraints = Constraints(EOS, [BOS], leaves=words, trees=tokens)
    return beam_search(
        model.step, model, torch.tensor(max_len), constraints, bos_id=BOS, beam=beam, alpha=alpha, n_best=n_best
    )


def trees(words: int, tokens: int) -> Iterator[tuple[int, ...]]:
    """Yield all trees of so many words with so many tokens, without EOS."""
    for label in TREES.opening:
        for children in forests(words, tokens - 2):
            if children:
                yield (label, *children, CLOSES[label])


def forests(words: int, tokens: int) -> Iterator[tuple[int, ...]]:
    """Yield all sequences of leaves and trees with so many words and tokens."""
    if words == 0 or tokens <= 0:
        if words == 0 and tokens == 0:
            yield ()
        return
    for leaf in TREES.leaves:
        for rest in forests(words - 1, tokens - 1):
            yield (leaf, *rest)
    for own_words, own_tokens in itertools.product(range(1, words + 1), range(3, tokens + 1)):
        for first in trees(own_words, own_tokens):
            for rest in forests(words - own_words, tokens - own_tokens):
                yield (*first, *rest)


def add_numbers(tokens: Sequence[int]) -> tuple[int, ...]:
    """Return the tokens with the number that must follow each leaf."""
    found: list[int] = []
    words = 0
    for token in tokens:
        found.append(token)
        if token in TREES.leaves:
            words += 1
            found.append(NUMBERED.numbers[words % 3])
    return tuple(found)


def is_tree(tokens: Sequence[int], words: int) -> bool:
    """Return True for one constituent with so many leaves, without an empty constituent, and EOS."""
    stack: list[list[int]] = []
    *inner, last = tokens
    for number, token in enumerate(inner):
        if token in TREES.opening:
            stack.append([token, 0])
        elif token in TREES.leaves and stack:
            words -= 1
        elif token in TREES.closing and stack and CLOSES[stack[-1][0]] == token and stack[-1][1]:
            stack.pop()
            if not stack:
                return number == len(inner) - 1 and last == EOS and words == 0
        else:
            return False
        if stack and token != stack[-1][0]:
            stack[-1][1] = 1
        elif len(stack) > 1:
            stack[-2][1] = 1
    return False


@pytest.mark.parametrize(("words", "max_len"), [(1, 4), (1, 8), (2, 7), (3, 8)])
@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_search_with_full_beam_ranks_all_trees_and_nothing_else(
    seed: int, numbered: bool, words: int, max_len: int
) -> None:
    model = Table([0], VOCAB, seed, eos_bias=3.0)  # the model would end each output at once
    outputs = [(*tree, EOS) for n in range(max_len) for tree in trees(words, n)]
    assert all(is_tree(tokens, words) for tokens in outputs)
    if numbered:
        outputs = list(map(add_numbers, outputs))
        max_len += words
    tokens = NUMBERED if numbered else TREES
    (found,) = search(model, [words], [max_len], beam=len(outputs) + 1, n_best=len(outputs), tokens=tokens)
    scores = {
        tokens: forced_log_prob(model, 0, tokens) / length_penalty("gnmt", float(len(tokens)), 0.3)
        for tokens in outputs
    }
    assert [h.tokens for h in found] == sorted(outputs, key=lambda tokens: -scores[tokens])
    assert [h.score for h in found] == pytest.approx([scores[h.tokens] for h in found], abs=1e-12)


@pytest.mark.parametrize("beam", [1, 2, 5])
@pytest.mark.parametrize("bias", [-20.0, 0.0, 5.0])
@pytest.mark.parametrize("tokens", [TREES, NUMBERED], ids=["plain", "numbered"])
def test_every_output_is_a_tree(tokens: TreeTokens, bias: float, beam: int) -> None:
    words = [1, 2, 3, 5, 8, 13]
    for seed, extra in enumerate([0, 1, 2, 3, 10, 40]):
        model = Table(list(range(len(words))), VOCAB, seed, eos_bias=bias)
        max_len = [tokens.least_length(n) + extra for n in words]
        for number, hypotheses in enumerate(search(model, words, max_len, beam, n_best=beam, tokens=tokens)):
            assert hypotheses
            for hypothesis in hypotheses:
                plain = [token for token in hypothesis.tokens if token not in tokens.numbers]
                assert is_tree(plain, words[number])
                assert hypothesis.tokens == (add_numbers(plain) if tokens.numbers else tuple(plain))
                assert len(hypothesis.tokens) <= max_len[number]


def test_a_model_that_always_opens_still_ends() -> None:
    class Opens(Table):
        def logits(self, sentence: int, prefix: tuple[int, ...]) -> list[float]:
            row = super().logits(sentence, prefix)
            row[TREES.opening[0]] += 50
            return row

    (found,) = search(Opens([0], VOCAB), [2], [105], beam=3)
    assert is_tree(found[0].tokens, 2)
    assert len(found[0].tokens) == 105
    assert found[0].tokens.count(TREES.opening[0]) == 51


@pytest.mark.parametrize("beam", [1, 3])
def test_trees_do_not_depend_on_other_sentences(beam: int) -> None:
    draw = random.Random(0)
    words = [draw.randint(1, 6) for _ in range(8)]
    max_len = [TREES.least_length(n) + draw.randint(0, 9) for n in words]
    together = search(Table(list(range(8)), VOCAB), words, max_len, beam, n_best=beam)
    alone = [search(Table([i], VOCAB), [words[i]], [max_len[i]], beam, n_best=beam)[0] for i in range(8)]
    assert [[h.tokens for h in found] for found in together] == [[h.tokens for h in found] for found in alone]


def test_a_limit_below_the_smallest_tree_is_refused() -> None:
    with pytest.raises(InputError, match="the tree of 4 words needs 7 tokens; its output has at most 6"):
        search(Table([0], VOCAB), [4], [6], beam=2)


def test_a_smallest_length_is_refused() -> None:
    constraints = Constraints(EOS, [BOS], min_len=2, leaves=[1], trees=TREES)
    with pytest.raises(InputError, match="min_len is 2; it must be 1 for trees"):
        constraints.check([9])
