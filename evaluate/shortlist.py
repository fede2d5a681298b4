"""A shortlist: the target tokens that may translate the tokens of a sentence.

The output layer of a large vocabulary then computes some hundreds of logits instead of all, as in Jean et al. (2015),
section 3.3. Differs from the paper, which computes all. The candidates of a source token are the target tokens with
the highest translation probabilities of IBM Model 1 (Brown et al., 1993, section 4.1). EOS, which ends every source, is
the source token of target tokens that no other one explains.

Letters of the shapes: V vocabulary, C candidates of a token, S tokens of all shortlists, B sentences, N rows.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.errors import InputError, first_line
from common.files import replace_file
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID
from evaluate.decoding.constraints import Constraints
from evaluate.decoding.search import Hypothesis
from evaluate.length_batches import IdPair
from transformer.cache import DecodingState
from transformer.model import Transformer
from transformer.prepacked import PrepackedLinear, can_prepack
from transformer.weights import save_tensors

PAIRS = 100_000
"""Largest number of pairs from which a shortlist is made: 2 GB for lines of 20 tokens."""
ITERATIONS = 5
"""Iterations of expectation maximisation, as usual for IBM Model 1."""
Array = NDArray[np.int64]


class Shortlist:
    """Candidates of each source token."""

    def __init__(self, candidates_VC: Tensor) -> None:
        self.candidates_VC = candidates_VC

    @classmethod
    def load(cls, path: Path, vocab_size: int) -> "Shortlist":
        """Read a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            InputError: the file is damaged or belongs to another vocabulary.
        """
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}. Write one with python -m evaluate.make_shortlist.")
        try:
            found = cls(load_file(path)["candidates"])
        except (SafetensorError, KeyError) as error:
            raise _not_a_shortlist(path, first_line(error)) from error
        if found.candidates_VC.dtype != torch.int64 or found.candidates_VC.dim() != 2:
            raise _not_a_shortlist(path, "candidates is not a matrix of integers")
        if len(found.candidates_VC) != vocab_size:
            raise InputError(
                f"{path} is a shortlist for {len(found.candidates_VC):,} tokens; the model has {vocab_size:,}. "
                "Write a shortlist for this model with python -m evaluate.make_shortlist."
            )
        if not ((found.candidates_VC >= 0) & (found.candidates_VC < vocab_size)).all():
            raise _not_a_shortlist(path, f"a candidate is not from 0 to {vocab_size - 1}")
        return found

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        with replace_file(path) as temporary:
            save_tensors(temporary, {"candidates": self.candidates_VC})

    def of(self, pair: IdPair) -> Tensor:
        """Return the sorted tokens that the output of a sentence may contain: candidates, prefix, terms and EOS."""
        in_terms = (token for term in pair.terms for phrase in term.phrases for token in phrase.tokens)
        more = torch.tensor([EOS_ID, *pair.target, *in_terms])
        return torch.cat([self.candidates_VC[list(pair.source)].flatten(), more]).unique()


@dataclass
class RestrictedState:
    """A decoding state, and the tokens that each row may not use.

    They are those of the row's own sentence, so a sentence does not depend on the other sentences in its batch.
    """

    state: DecodingState
    excluded_NS: Tensor

    def reorder(self, index_N: Tensor, same_sentences: bool = False) -> None:
        """Set row i to the old row index_N[i]."""
        self.state.reorder(index_N, same_sentences=same_sentences)
        if not same_sentences:
            self.excluded_NS = self.excluded_NS[index_N]


class RestrictedOutput:
    """The output layer of a model with the shortlists of its sentences."""

    def __init__(self, shortlist: Shortlist, output: nn.Linear) -> None:
        self.shortlist = shortlist
        self.weight_VD = output.weight.detach()
        self.bias_V = None if output.bias is None else output.bias.detach()

    def search(
        self,
        model: Transformer,
        state: DecodingState,
        batch: list[IdPair],
        constraints: Constraints,
        search: Callable[..., list[list[Hypothesis]]],
    ) -> list[list[Hypothesis]]:
        """Call `search` with the tokens of the batch's shortlists instead of the vocabulary."""
        assert not constraints.leaves  # a parser has no shortlist
        # Forbidden tokens are in every shortlist: as in the whole vocabulary, their probability is lost.
        always = torch.tensor([BOS_ID, *constraints.forbidden_ids])
        shortlists = [torch.cat([self.shortlist.of(pair), always]) for pair in batch]
        ids_S = torch.cat(shortlists).unique()
        place = {token: i for i, token in enumerate(ids_S.tolist())}
        excluded_BS = torch.stack([~torch.isin(ids_S, tokens) for tokens in shortlists])
        device_ids_S = ids_S.to(self.weight_VD.device)

        def step(tokens_N: Tensor, rows: RestrictedState) -> Tensor:
            return model.step(device_ids_S[tokens_N], rows.state).masked_fill_(rows.excluded_NS, -math.inf)

        bias_S = None if self.bias_V is None else self.bias_V[device_ids_S]
        with _output_layer(model, self.weight_VD[device_ids_S], bias_S):
            found = search(
                step,
                RestrictedState(state, excluded_BS.to(device_ids_S.device)),
                constraints=replace(
                    constraints,
                    eos_id=place[EOS_ID],
                    forbidden_ids=[place[token] for token in constraints.forbidden_ids],
                    prefixes=[[place[token] for token in prefix] for prefix in constraints.prefixes],
                    terms=[[term.numbered(place) for term in terms] for terms in constraints.terms],
                    words=constraints.words and constraints.words.select(ids_S),
                ),
                bos_id=place[BOS_ID],
            )
        ids = ids_S.tolist()
        return [[replace(h, tokens=tuple(ids[i] for i in h.tokens)) for h in of_source] for of_source in found]


@contextmanager
def _output_layer(model: Transformer, weight_SD: Tensor, bias_S: Tensor | None) -> Iterator[None]:
    """Let the model compute the logits of these rows only."""
    before = model.output
    layer = nn.Linear(weight_SD.size(1), weight_SD.size(0), bias=bias_S is not None, device="meta")
    layer.weight = nn.Parameter(weight_SD, requires_grad=False)
    if bias_S is not None:
        layer.bias = nn.Parameter(bias_S, requires_grad=False)
    setattr(model, "output", PrepackedLinear(layer) if can_prepack(weight_SD) else layer)  # noqa: B010
    try:
        yield
    finally:
        model.output = before


def _not_a_shortlist(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a shortlist: {reason}. Write one with python -m evaluate.make_shortlist.")


def train_shortlist(pairs: list[tuple[list[int], list[int]]], vocab_size: int, candidates: int) -> Shortlist:
    """Return the shortlist of training pairs, given as token ids.

    Only `PAIRS` pairs are used, at equal distances.
    """
    pairs = pairs[:: max(1, -(-len(pairs) // PAIRS))]
    keys: list[Array] = []
    slots: list[Array] = []  # one slot per target token of a pair: the sum over its possible source tokens is 1
    filled = 0
    for source, target in pairs:
        s, t = np.unique(np.array(source, np.int64)), np.unique(np.array(target, np.int64))
        keys.append((s[:, None] * vocab_size + t).ravel())
        slots.append(np.tile(np.arange(filled, filled + len(t)), len(s)))
        filled += len(t)
    slot = np.concatenate(slots)
    known, place = np.unique(np.concatenate(keys), return_inverse=True)
    s, t = known // vocab_size, known % vocab_size
    probability = np.ones(len(known))
    for _ in range(ITERATIONS):
        share = probability[place]
        share /= np.bincount(slot, share)[slot]
        expected = np.bincount(place, share)
        probability = expected / np.bincount(s, expected)[s]
    order = np.lexsort((-probability, s))
    rank = np.arange(len(order)) - np.searchsorted(s, s[order])
    best, rank = order[rank < candidates], rank[rank < candidates]
    table_VC = np.full((vocab_size, candidates), EOS_ID)
    table_VC[s[best], rank] = t[best]
    return Shortlist(torch.from_numpy(table_VC))
