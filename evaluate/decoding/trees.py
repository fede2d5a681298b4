"""Search in which every output is a tree: one constituent whose leaves are the words of its sentence, in order.

Tokens of a tree open a constituent, close the one that was opened last, or are the leaf of the next word. In some
vocabularies, a leaf is followed by the number of the word after it. Every hypothesis has the state of its tree, so
tokens that make no tree get the score -inf. A constituent is opened only if the rest of the tree still fits: all words,
all closing tokens and EOS. So no hypothesis meets a dead end, and every output is a complete tree, for any model and
any beam. The limit of the length also limits chains of constituents with one child.

Shapes: as in `search`, and A tokens of trees with EOS, R labels, P numbers, D constituents that can be open.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_USED, _DEPTH, _EMPTY, _WAITS, _STACK = range(5)
"""Columns of a state: leaves so far, open constituents, 1 if the last one has no child, 1 if a number must follow. From
`_STACK` on there are the labels of the open constituents, the outermost one first."""
_GROWTH = 16
"""Columns by which the stack of labels grows: an output of n tokens has at most n open constituents."""


@dataclass(frozen=True)
class TreeTokens:
    """The tokens of trees in a vocabulary."""

    opening: tuple[int, ...]
    """The token that opens a constituent of each label."""
    closing: tuple[int, ...]
    """The token that closes it."""
    leaves: tuple[int, ...]
    """The tokens that are a word."""
    numbers: tuple[int, ...] = ()
    """Number n modulo their count follows leaf n, counted from 1; () means that leaves have no numbers."""

    def least_length(self, words: int) -> int:
        """Return the number of tokens of the smallest tree: leaves with their numbers, one constituent, and EOS."""
        return words * (2 if self.numbers else 1) + 3


class TreeTables:
    """The tree tokens as tensors on a device, and the number of words of S sentences."""

    def __init__(self, tokens: TreeTokens, eos_id: int, words: Sequence[int], device: torch.device) -> None:
        groups = tokens.opening, tokens.closing, tokens.leaves, tokens.numbers, (eos_id,)
        self.token_A = torch.tensor([token for group in groups for token in group], device=device)
        self.sizes = tuple(map(len, groups))
        # Tokens that are no tree token have the index of EOS, which changes no state either.
        place = torch.full((int(self.token_A.max()) + 2,), len(self.token_A) - 1)
        place[self.token_A.cpu()] = torch.arange(len(self.token_A))
        self.place_V = place.to(device)
        self.words_S = torch.tensor(words, dtype=torch.int32, device=device)

    def start(self) -> Tensor:
        """Return state_SWC of the first step, with W = 1."""
        return self.words_S.new_zeros(len(self.words_S), 1, _STACK + _GROWTH)

    def apply(self, logits_NV: Tensor, n: int, state_BWC: Tensor, max_len_B: Tensor, sentence_B: Tensor) -> None:
        """Write -inf, in place, for each token that may not be token n of a tree."""
        allowed_NA = self._allowed(n, state_BWC, max_len_B, sentence_B).flatten(0, 1)
        kept_NA = logits_NV[:, self.token_A].masked_fill(~allowed_NA, float("-inf"))
        logits_NV.fill_(float("-inf"))
        logits_NV[:, self.token_A] = kept_NA

    def _allowed(self, n: int, state_BWC: Tensor, max_len_B: Tensor, sentence_B: Tensor) -> Tensor:
        """Return allowed_BWA: True if the token may follow."""
        labels = self.sizes[0]
        depth_BW, left_BW = state_BWC[:, :, _DEPTH], self.words_S[sentence_B].unsqueeze(1) - state_BWC[:, :, _USED]
        inside_BW, done_BW = depth_BW > 0, left_BW == 0
        waits_BW = state_BWC[:, :, _WAITS] > 0
        per_word = 2 if self.sizes[3] else 1
        needed_BW = depth_BW + per_word * left_BW + 2  # after a token that opens: the words, all closing tokens, EOS
        opens_BW = ~done_BW & (n + needed_BW <= max_len_B.unsqueeze(1))
        closes_BW = inside_BW & (state_BWC[:, :, _EMPTY] == 0) & ((depth_BW > 1) | done_BW)
        last_BW1 = (depth_BW - 1).clamp(min=0).long().unsqueeze(-1)
        label_BW1 = state_BWC[:, :, _STACK:].gather(-1, last_BW1)
        closed_BWR = closes_BW.unsqueeze(-1) & (label_BW1 == torch.arange(labels, device=state_BWC.device))
        number_BW1 = (state_BWC[:, :, _USED] % max(1, self.sizes[3])).unsqueeze(-1)
        numbered_BWP = waits_BW.unsqueeze(-1) & (number_BW1 == torch.arange(self.sizes[3], device=state_BWC.device))
        groups = opens_BW, closed_BWR, inside_BW & ~done_BW, None, ~inside_BW & done_BW
        allowed = [
            numbered_BWP
            if group is None
            else (group if group.dim() == 3 else group.unsqueeze(-1)).expand(-1, -1, size) & ~waits_BW.unsqueeze(-1)
            for group, size in zip(groups, self.sizes, strict=True)
        ]
        return torch.cat(allowed, dim=-1)

    def next(self, state_BXC: Tensor, token_BX: Tensor, n: int) -> Tensor:
        """Return the states after token n of each hypothesis."""
        labels, _, leaves, numbers, _ = self.sizes
        place_BX = self.place_V[token_BX.clamp(max=len(self.place_V) - 1)]
        opens_BX = place_BX < labels
        closes_BX = (place_BX >= labels) & (place_BX < 2 * labels)
        is_leaf_BX = (place_BX >= 2 * labels) & (place_BX < 2 * labels + leaves)
        if state_BXC.shape[-1] < _STACK + n:
            state_BXC = F.pad(state_BXC, (0, _GROWTH))
        used_BX, depth_BX, stack_BXD = state_BXC[:, :, _USED], state_BXC[:, :, _DEPTH], state_BXC[:, :, _STACK:]
        top_BX1 = depth_BX.long().unsqueeze(-1)
        label_BX1 = torch.where(opens_BX, place_BX, 0).to(stack_BXD.dtype).unsqueeze(-1)
        # What is above the last open constituent has no meaning, so a label may be written at each token.
        stack_BXD = stack_BXD.scatter(-1, top_BX1.clamp(max=stack_BXD.shape[-1] - 1), label_BX1)
        deeper_BX = (depth_BX + opens_BX.int() - closes_BX.int()).clamp(min=0)
        waits_BX = is_leaf_BX.int() * (numbers > 0)
        columns = used_BX + is_leaf_BX, deeper_BX, opens_BX.int(), waits_BX
        return torch.cat([torch.stack(columns, dim=-1), stack_BXD], dim=-1)
