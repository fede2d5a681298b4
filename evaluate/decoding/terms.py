"""Beam search in which an output must contain given terms (Post and Vilar 2018, with another division of the beam).

Each term is a finite automaton over tokens. A hypothesis has the state of each term of its sentence, so terms may
overlap in an output. The number of term tokens that it has so far is its bank. In each step, every bank keeps its best
hypothesis, and the other `beam` - 1 places are for the best ones of all banks. So hypotheses with a term that the model
finds unlikely are kept beside those without it. An output ends only if it has all its terms, and a hypothesis that
cannot get them within its largest length is dropped. So every output has them, with any beam.

Shapes: as in `search`, and C terms, Q states of an automaton, Y symbols, U tokens of a term, A tokens that advance a
term, M candidates per row, X = W·M candidates per sentence, G banks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PER_BANK = 1
MAX_BANKS = 16
"""Largest number of banks of a sentence. With more tokens in its terms, neighbouring banks become one."""
NO_TOKEN = -1
"""Fills rows of token ids after their last token."""
_CLASSES = 4
"""Symbols 0 to 3 are the tokens that are in no phrase of a term: 2 · (begins outside a word) + (ends outside one)."""
_DEAD = float("-inf")


class Phrase(NamedTuple):
    """Tokens that are one way to write a term."""

    tokens: tuple[int, ...]
    where: Literal["anywhere", "outside", "start"] = "anywhere"
    """outside: only after a token that ends outside of a word. start: only as the first tokens of an output."""


class Term(NamedTuple):
    """Text that an output must contain."""

    phrases: tuple[Phrase, ...]
    """The first one is possible anywhere."""
    whole_word: bool = True
    """True: the token after the term must not continue its last word."""

    @property
    def length(self) -> int:
        """Largest number of tokens until an output has the term, with the one that ends its last word."""
        return len(self.phrases[0].tokens) + self.whole_word

    def numbered(self, place: Mapping[int, int]) -> "Term":
        """Return the term for a vocabulary in which token t has the number `place[t]`."""
        tokens = (tuple(place[token] for token in phrase.tokens) for phrase in self.phrases)
        return self._replace(phrases=tuple(map(Phrase, tokens, (phrase.where for phrase in self.phrases))))


@dataclass(frozen=True, eq=False)
class WordEnds:
    """Where words begin and end in the tokens of a vocabulary."""

    begins_outside_V: Tensor
    """True for a token that does not continue the word before it, such as a space with letters, "," and EOS."""
    ends_outside_V: Tensor
    """True for a token after which a word can begin without a space, such as "(" and "-"."""

    def select(self, ids_S: Tensor) -> "WordEnds":
        """Return the table of the tokens `ids_S`, which are then numbered from 0."""
        return WordEnds(self.begins_outside_V[ids_S], self.ends_outside_V[ids_S])


class _Automaton(NamedTuple):
    tokens: tuple[int, ...]
    """Tokens with a symbol of their own: token u has the symbol 4 + u."""
    following: tuple[tuple[int, ...], ...]
    """Row q: the state after state q and each symbol. State 0 is the start."""
    distance: tuple[int, ...]
    """Smallest number of tokens until an output has the term; 0 if it has the term."""
    advancing: tuple[tuple[int, ...], ...]
    """Row q: tokens that make the distance smaller, filled with `NO_TOKEN`. Without any, each token that begins outside
    a word makes it smaller."""


@lru_cache(maxsize=10_000)
def _automaton(term: Term, classes: tuple[int, ...]) -> _Automaton:
    """Return the automaton of a term; `classes` has the class of each token of `_tokens(term)`."""
    tokens = _tokens(term)
    symbols = [*((None, number) for number in range(_CLASSES)), *zip(tokens, classes, strict=True)]
    start = frozenset((number, 0) for number, phrase in enumerate(term.phrases) if phrase.where != "outside")
    numbers = {start: 0}
    waiting = [start]
    following: list[tuple[int, ...]] = []
    for state in waiting:
        reached = [_follow(term, state, token, kind) for token, kind in symbols]
        for other in reached:
            if other not in numbers:
                numbers[other] = len(numbers)
                waiting.append(other)
        following.append(tuple(numbers[other] for other in reached))
    distance = _distances(following, numbers[_FOUND])
    nearer = [
        [token for token, after in zip(tokens, row[_CLASSES:], strict=True) if distance[after] < distance[state]]
        for state, row in enumerate(following)
    ]
    most = max(map(len, nearer))
    advancing = tuple((*found, *[NO_TOKEN] * (most - len(found))) for found in nearer)
    return _Automaton(tokens, tuple(following), distance, advancing)


_Items = frozenset[tuple[int, int]]
"""A state: numbers of phrases with the number of their tokens at the end of the output."""
_FOUND: _Items = frozenset([(-1, 0)])


def _tokens(term: Term) -> tuple[int, ...]:
    return tuple(dict.fromkeys(token for phrase in term.phrases for token in phrase.tokens))


def _follow(term: Term, state: _Items, token: int | None, kind: int) -> _Items:
    """Return the state after a token, which is None if it is in no phrase."""
    if state == _FOUND:
        return state
    reached = set()
    for number, count in state:
        tokens = term.phrases[number].tokens
        if count == len(tokens):
            if kind >= 2:  # the token begins outside a word
                return _FOUND
        elif tokens[count] == token:
            if count + 1 == len(tokens) and not term.whole_word:
                return _FOUND
            reached.add((number, count + 1))
    for number, phrase in enumerate(term.phrases):
        if phrase.where == "anywhere" or (phrase.where == "outside" and kind % 2 == 1):
            reached.add((number, 0))
    return frozenset(reached)


def _distances(following: list[tuple[int, ...]], found: int) -> tuple[int, ...]:
    """Return the smallest number of tokens from each state to the state `found`."""
    distance = {found: 0}
    while len(distance) < len(following):
        distance |= {
            state: 1 + min(distance[after] for after in row if after in distance)
            for state, row in enumerate(following)
            if state not in distance and any(after in distance for after in row)
        }
    return tuple(distance[state] for state in range(len(following)))


class Candidates(NamedTuple):
    """Continuations of the live hypotheses of each sentence; those with log-probability -inf have no meaning."""

    lp_BX: Tensor
    parent_BX: Tensor
    token_BX: Tensor
    state_BXC: Tensor

    def keep(self, wanted_BX: Tensor) -> "Candidates":
        """Return the candidates, with -inf for those that are not wanted."""
        return self._replace(lp_BX=self.lp_BX.masked_fill(~wanted_BX, _DEAD))

    def pick(self, index_BK: Tensor) -> "Candidates":
        """Return the candidates with these indices."""
        states = index_BK.unsqueeze(-1).expand(-1, -1, self.state_BXC.shape[-1])
        lp_BK, parent_BK, token_BK = (field.gather(1, index_BK) for field in self[:3])
        return Candidates(lp_BK, parent_BK, token_BK, self.state_BXC.gather(1, states))


@dataclass(frozen=True)
class TermTables:
    """The automata of the terms of S sentences as tensors. A sentence with fewer than C terms has terms of length 0."""

    class_V: Tensor
    symbol_SCU: Tensor
    following_SCQY: Tensor
    distance_SCQ: Tensor
    advancing_SCQA: Tensor
    length_SC: Tensor
    """Largest distance of each term."""
    tokens_SC: Tensor
    """Number of tokens of each term."""
    banks: int
    """Largest number of banks of a sentence."""

    @classmethod
    def build(cls, terms: Sequence[Sequence[Term]], words: WordEnds, device: torch.device) -> "TermTables":
        """Return the tables of the terms of each sentence, on a device."""
        class_V = 2 * words.begins_outside_V.long() + words.ends_outside_V.long()
        classes = class_V.tolist()
        automata = [[_automaton(t, tuple(classes[token] for token in _tokens(t))) for t in row] for row in terms]

        tables = (
            _table([[a.tokens for a in row] for row in automata], 1, NO_TOKEN),
            _table([[a.following for a in row] for row in automata], 2),
            _table([[a.distance for a in row] for row in automata], 1),
            _table([[a.advancing for a in row] for row in automata], 2, NO_TOKEN),
            _table([[[t.length] for t in row] for row in terms], 1)[:, :, 0],
            _table([[[len(t.phrases[0].tokens)] for t in row] for row in terms], 1)[:, :, 0],
        )
        banks = min(MAX_BANKS, 1 + int(tables[-1].sum(1).max()))
        own, following, distance, advancing, length, count = (table.to(device) for table in tables)
        return cls(class_V.to(device), own, following, distance, advancing, length, count, banks)

    def start(self) -> Tensor:
        """Return state_SWC of the first step, with W = 1."""
        return torch.zeros_like(self.length_SC).unsqueeze(1)

    def forbid_end(self, logits_NV: Tensor, eos_id: int, state_BWC: Tensor, sentence_B: Tensor) -> Tensor:
        """Write -inf, in place, for EOS after each hypothesis that would lack a term.

        Return the logits of EOS (N) that were replaced, and -inf for the other hypotheses.
        """
        eos_BW = torch.full(state_BWC.shape[:2], eos_id, device=logits_NV.device)
        lacks_BW = (self._distance(self._next(state_BWC, eos_BW, sentence_B), sentence_B) > 0).any(-1)
        end_N = logits_NV[:, eos_id].masked_fill(~lacks_BW.flatten(), _DEAD)
        logits_NV[:, eos_id].masked_fill_(lacks_BW.flatten(), _DEAD)
        return end_N

    def candidates(
        self, live_lp_BW: Tensor, logits_NV: Tensor, norm_N1: Tensor, top: tuple[Tensor, Tensor],
        end_N: Tensor, state_BWC: Tensor, sentence_B: Tensor,
    ) -> Candidates:  # fmt: skip
        """Return the candidates of each sentence: the best tokens of each row, and those that advance a term.

        Args:
            top: the largest logits of each row and their tokens.
            end_N: the result of `forbid_end`. If the model would end an output that lacks terms, only tokens that
                advance a term may follow: after its end, a model writes more and more text instead.
        """
        B, W = live_lp_BW.shape
        more_NA = self._advancing(logits_NV, state_BWC, sentence_B)
        earlier_NM = torch.cat([top[1], more_NA], dim=1)
        same_NAM = more_NA.unsqueeze(2) == earlier_NM.unsqueeze(1)
        repeated_NA = same_NAM.tril(top[1].shape[1] - 1).any(-1)  # a token counts once per row
        logit_NA = logits_NV.gather(1, more_NA.clamp(min=0)).masked_fill(repeated_NA | (more_NA == NO_TOKEN), _DEAD)
        logit_NM = torch.cat([top[0], logit_NA], dim=1)
        lp_BWM = live_lp_BW.unsqueeze(-1) + (logit_NM - norm_N1).view(B, W, -1)
        token_BX = earlier_NM.clamp(min=0).view(B, -1)
        parent_BX = torch.arange(W, device=token_BX.device).repeat_interleave(lp_BWM.shape[-1]).expand(B, -1)
        before_BXC = state_BWC.repeat_interleave(lp_BWM.shape[-1], dim=1)
        found = Candidates(lp_BWM.flatten(1), parent_BX, token_BX, self._next(before_BXC, token_BX, sentence_B))
        distance_BXC, before_BXC = (self._distance(s, sentence_B) for s in (found.state_BXC, before_BXC))
        ends_BW = (end_N > top[0][:, 0]).view(B, W)
        return found.keep(~ends_BW.gather(1, parent_BX) | (distance_BXC < before_BXC).any(-1))

    def drop_late(self, found: Candidates, n: int, max_len_B: Tensor, sentence_B: Tensor) -> Candidates:
        """Return the candidates; those of length n that cannot get all terms within `max_len_B` have -inf."""
        distance_BXC = self._distance(found.state_BXC, sentence_B)
        missing_BXC = distance_BXC > 0
        length_B1C = self.length_SC[sentence_B].unsqueeze(1)
        # The term with most tokens is finished first. The tokens of the others may be lost meanwhile.
        ahead_BX = (missing_BXC * (length_B1C - distance_BXC)).amax(-1) if missing_BXC.shape[-1] else 0
        needed_BX = (missing_BXC * length_B1C).sum(-1) - ahead_BX
        late_BX = missing_BXC.any(-1) & (n + needed_BX > max_len_B.unsqueeze(1))
        return found.keep(~late_BX)

    def complete(self, found: Candidates, sentence_B: Tensor) -> Tensor:
        """Return True for each candidate that has all terms."""
        return (self._distance(found.state_BXC, sentence_B) == 0).all(-1)

    def choose(self, found: Candidates, beam: int, sentence_B: Tensor) -> Candidates:
        """Return the best candidate of each bank, and the `beam` - 1 best others."""
        bank_BX = self._bank(found.state_BXC, sentence_B)
        in_bank_BGX = bank_BX.unsqueeze(1) == torch.arange(self.banks, device=bank_BX.device).view(1, -1, 1)
        first_lp_BGP, first_BGP = found.lp_BX.unsqueeze(1).masked_fill(~in_bank_BGX, _DEAD).topk(PER_BANK)
        first_lp_BK, first_BK = first_lp_BGP.flatten(1), first_BGP.flatten(1)
        first = found.pick(first_BK)._replace(lp_BX=first_lp_BK)
        if beam == 1:
            return first
        taken_BX = torch.zeros_like(bank_BX).scatter_add(1, first_BK, (first_lp_BK > _DEAD).long()) > 0
        rest_BX = F.pad(found.lp_BX.masked_fill(taken_BX, _DEAD), (0, beam), value=_DEAD)
        rest_lp_BK, rest_BK = rest_BX.topk(beam - 1)
        rest = found.pick(rest_BK.clamp(max=bank_BX.shape[1] - 1))._replace(lp_BX=rest_lp_BK)
        return Candidates(*(torch.cat(pair, dim=1) for pair in zip(first, rest, strict=True)))

    def _advancing(self, logits_NV: Tensor, state_BWC: Tensor, sentence_B: Tensor) -> Tensor:
        """Return the tokens that advance a term of each row, and the best token that begins outside a word."""
        table_BCQA = self.advancing_SCQA[sentence_B]
        index_BWC11 = state_BWC.permute(0, 2, 1).unsqueeze(-1).expand(-1, -1, -1, table_BCQA.shape[-1])
        tokens_BCWA = table_BCQA.gather(2, index_BWC11)
        tokens_NA = tokens_BCWA.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
        outside_N1 = logits_NV.masked_fill(self.class_V < 2, _DEAD).argmax(-1, keepdim=True)
        return torch.cat([tokens_NA, outside_N1], dim=1)

    def _next(self, state_BXC: Tensor, token_BX: Tensor, sentence_B: Tensor) -> Tensor:
        """Return the states after one token of each hypothesis."""
        own_B1CU = self.symbol_SCU[sentence_B].unsqueeze(1)
        numbers_U = torch.arange(1, own_B1CU.shape[-1] + 1, device=token_BX.device)
        own_BXC = ((token_BX[:, :, None, None] == own_B1CU) * numbers_U).sum(-1)
        symbol_BXC = torch.where(own_BXC > 0, own_BXC + _CLASSES - 1, self.class_V[token_BX].unsqueeze(-1))
        table_BCQY = self.following_SCQY[sentence_B]
        flat_BXC = state_BXC * table_BCQY.shape[-1] + symbol_BXC
        return table_BCQY.flatten(2).gather(2, flat_BXC.transpose(1, 2)).transpose(1, 2)

    def _distance(self, state_BXC: Tensor, sentence_B: Tensor) -> Tensor:
        return self.distance_SCQ[sentence_B].gather(2, state_BXC.transpose(1, 2)).transpose(1, 2)

    def _bank(self, state_BXC: Tensor, sentence_B: Tensor) -> Tensor:
        """Return the bank of each hypothesis. A term has all its tokens before the one that ends its last word."""
        length_B1C, tokens_B1C = (table_SC[sentence_B].unsqueeze(1) for table_SC in (self.length_SC, self.tokens_SC))
        found_BX = torch.minimum(length_B1C - self._distance(state_BXC, sentence_B), tokens_B1C).sum(-1)
        total_B1 = tokens_B1C.sum(-1)
        last_B1 = total_B1.clamp(max=MAX_BANKS - 1)
        return found_BX * last_B1 // total_B1.clamp(min=1)


def _table(rows: Sequence[Sequence[Sequence[int] | Sequence[Sequence[int]]]], dimensions: int, fill: int = 0) -> Tensor:
    """Return a tensor of all rows; cells that a row lacks have the value `fill`."""
    cells = [[torch.tensor(values) for values in row] for row in rows]
    sizes = [[1] * dimensions, *(list(values.shape) for row in cells for values in row)]
    shape = len(rows), max(map(len, rows)), *map(max, zip(*sizes, strict=True))
    table = torch.full(shape, fill)
    for s, row in enumerate(cells):
        for c, values in enumerate(row):
            table[s, c][tuple(slice(size) for size in values.shape)] = values
    return table
