"""Limits on an output: forbidden tokens, a minimum length, a prefix, terms, the form of a tree.

Shapes: N rows of the decoder, S sentences, B sentences still searched, T tokens of the longest prefix, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import InputError
from evaluate.decoding.terms import NO_TOKEN, Term, TermTables, WordEnds
from evaluate.decoding.trees import TreeTables, TreeTokens


@dataclass(frozen=True)
class Constraints:
    """Rules for the next token. Forbidden tokens get a score of -inf; other scores do not change."""

    eos_id: int
    forbidden_ids: Sequence[int] = ()
    """Tokens that are never produced. Their probability is lost; it is not given to other tokens."""
    min_len: int = 1
    """Smallest number of tokens in an output, EOS included."""
    prefixes: Sequence[Sequence[int]] = ()
    """Tokens that begin the output of each sentence; () means that no sentence has a prefix."""
    terms: Sequence[Sequence[Term]] = ()
    """Terms that the output of each sentence contains; () means that no sentence has terms."""
    words: WordEnds | None = None
    """Needed if there are terms."""
    leaves: Sequence[int] = ()
    """Number of words of the tree that the output of each sentence is; () means that outputs are not trees. Trees have
    neither prefixes nor terms."""
    trees: TreeTokens | None = None
    """Needed if outputs are trees."""

    def check(self, max_lens: Sequence[int]) -> None:
        """Raise InputError if the output of a sentence cannot have the required length, prefix or terms.

        Args:
            max_lens: largest number of tokens in the output of each sentence, EOS included.
        """
        if not 1 <= self.min_len <= min(max_lens):
            raise InputError(f"min_len is {self.min_len}; it must be from 1 to the max_len of every sentence")
        assert len(self.prefixes) in (0, len(max_lens))
        for prefix, max_len in zip(self.prefixes, max_lens, strict=False):
            if len(prefix) >= max_len:
                raise InputError(f"a prefix has {len(prefix)} tokens; an output of {max_len} tokens must be longer")
            if {self.eos_id, *self.forbidden_ids} & set(prefix):
                raise InputError("a prefix contains EOS or a forbidden token")
        assert len(self.terms) in (0, len(max_lens))
        prefixes = self.prefixes or [()] * len(max_lens)
        for terms, prefix, max_len in zip(self.terms, prefixes, max_lens, strict=False):
            if (needed := len(prefix) + sum(term.length for term in terms)) > max_len:
                raise InputError(f"the terms of a sentence need {needed} tokens; its output has at most {max_len}")
        if self.leaves and self.min_len > 1:
            raise InputError(
                f"min_len is {self.min_len}; it must be 1 for trees, whose words decide their smallest length"
            )
        assert not self.leaves or (len(self.leaves) == len(max_lens) and not any(self.prefixes) and not any(self.terms))
        for words, max_len in zip(self.leaves, max_lens, strict=False):
            assert words > 0
            assert self.trees is not None
            if (needed := self.trees.least_length(words)) > max_len:
                raise InputError(f"the tree of {words} words needs {needed} tokens; its output has at most {max_len}")

    def tables(self, device: torch.device) -> TermTables | TreeTables | None:
        """Return the tables of the terms or of the trees; None if there are neither."""
        if self.leaves:
            assert self.trees is not None
            return TreeTables(self.trees, self.eos_id, self.leaves, device)
        if not any(self.terms):
            return None
        assert self.words is not None
        return TermTables.build(self.terms, self.words, device)

    def prefix_table(self, device: torch.device) -> Tensor:
        """Return prefix_ST: row s is the prefix of sentence s, filled with `NO_TOKEN`."""
        width = max(map(len, self.prefixes), default=0)
        rows = [[*prefix, *[NO_TOKEN] * (width - len(prefix))] for prefix in self.prefixes]
        return torch.tensor(rows, dtype=torch.long, device=device).reshape(len(rows), width)

    def apply(self, logp_NV: Tensor, n: int, prefix_ST: Tensor, sentence_B: Tensor) -> None:
        """Write -inf, in place, for each token that may not be token n of an output.

        Args:
            logp_NV: log-probabilities or logits; each sentence has N / B consecutive rows.
            n: position in the output, from 1.
            prefix_ST: the result of `prefix_table`.
            sentence_B: row in `prefix_ST` of each sentence that is still searched.
        """
        for token in self.forbidden_ids:
            logp_NV[:, token] = float("-inf")
        if n < self.min_len:
            logp_NV[:, self.eos_id] = float("-inf")
        if n <= prefix_ST.shape[1]:
            forced_B = prefix_ST[sentence_B, n - 1]
            forced_N1 = forced_B.repeat_interleave(len(logp_NV) // len(forced_B)).unsqueeze(1)
            others_NV = torch.arange(logp_NV.shape[1], device=logp_NV.device) != forced_N1
            logp_NV.masked_fill_(others_NV & (forced_N1 != NO_TOKEN), float("-inf"))
