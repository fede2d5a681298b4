"""Score existing translations by forced decoding: the whole target in one pass, as in training."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from common.errors import InputError
from common.strings import string_list
from data_pipeline.tokenizers import TranslationTokenizer
from data_pipeline.tokenizers.sentence_piece import EOS_ID, UNK_ID
from evaluate.decoding.search import check_finite
from evaluate.length_batches import IdPair, fits_forced, map_batches
from evaluate.translation import LineTooLong
from evaluate.translator import Translator

Result = TypeVar("Result")
Ids = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a target, given its source."""

    tokens: tuple[int, ...]
    """Token ids of the target."""
    token_log_probs: tuple[float, ...]
    """Natural log of the probability of each token, given the source and the tokens before it."""

    @property
    def log_prob(self) -> float:
        """Natural log of the probability of the target; 0 if it has no tokens."""
        return math.fsum(self.token_log_probs)

    def details(self, tokenizer: TranslationTokenizer) -> list[dict[str, str | int | float]]:
        """Return text, id and log-probability of each token."""
        texts = token_texts(tokenizer, self.tokens)
        return [
            {"text": text, "id": token, "log_prob": log_prob}
            for text, token, log_prob in zip(texts, self.tokens, self.token_log_probs, strict=True)
        ]


class Scorer:
    """Scores targets with the model, tokenizer and limits of a translator.

    Results do not depend on the order of the pairs. Other pairs of a batch change them by rounding only.
    """

    def __init__(self, translator: Translator) -> None:
        self.translator = translator

    def score(self, sources: Iterable[str], targets: Iterable[str], progress: bool = False) -> list[Score]:
        """Score each target, with the EOS that ends it, as a translation of its source. Return the scores in order.

        The tokenizer splits the texts. A search may have produced the same text from other tokens: score those with
        `score_ids`. An empty target is EOS alone; the translation of an empty source has no tokens.

        Raises:
            InputError: the lists differ in length, or a target is not empty but its source is.
            LineTooLong: a line is longer than the model supports.
        """
        sources, targets = string_list(sources, "sources"), string_list(targets, "targets")
        if len(sources) != len(targets):
            raise InputError(f"there are {len(sources)} sources but {len(targets)} targets. Give each source a target.")
        source_ids = _encode("source", sources, self.translator.encode)
        target_ids = _encode("target", targets, self.translator.encode_target)
        ended = [ids or [EOS_ID] * bool(source) for source, ids in zip(source_ids, target_ids, strict=True)]
        return self.score_ids(source_ids, ended, progress)

    def score_ids(self, sources: Ids, targets: Ids, progress: bool = False) -> list[Score]:
        """Score targets given as `Translation.tokens`, with sources as `Translator.encode` returns them.

        For an output of a search, the result equals the search's own log-probability, except for rounding.
        """
        self.translator.ids.require("token scores")
        return self._map(self._scores, sources, targets, Score((), ()), progress)

    def cross_attention(self, sources: Ids, targets: Ids) -> list[Tensor]:
        """Return the cross-attention weights of each pair, on the CPU. Arguments are those of `score_ids`.

        The shape is (layers, heads, target tokens, source tokens); without target tokens it is (1, 1, 0, 0). Row l of
        a head contains the weights on the source tokens, of sum 1, from which target token l is predicted (section
        3.2.3).
        """
        self.translator.ids.require("attention")
        compute = self.translator.backend.cross_attention
        return self._map(compute, sources, targets, torch.empty(1, 1, 0, 0), progress=False)

    def _map(
        self,
        compute: Callable[[list[IdPair]], list[Result]],
        sources: Ids,
        targets: Ids,
        empty: Result,
        progress: bool,
    ) -> list[Result]:
        """Return the result of each pair, in order; `empty` for a target without tokens."""
        pairs = [IdPair(tuple(source), tuple(target)) for source, target in zip(sources, targets, strict=True)]
        for number, pair in enumerate(pairs, 1):
            _check(pair, number, self.translator.max_len)
        fits = fits_forced(self.translator.config.batch_tokens, self.translator.tokenizer.vocab_size)
        return map_batches(
            compute,
            pairs,
            fits,
            lambda pair: len(pair.target),
            skip=lambda pair: not pair.target,
            skipped=empty,
            progress=progress,
            what="scoring",
        )

    def _scores(self, batch: list[IdPair]) -> list[Score]:
        found = self.translator.backend.token_log_probs(batch)
        scores = [Score(pair.target, tuple(log_probs)) for pair, log_probs in zip(batch, found, strict=True)]
        check_finite(all(math.isfinite(score.log_prob) for score in scores))
        return scores


def token_texts(tokenizer: TranslationTokenizer, ids: Sequence[int]) -> list[str]:
    """Return the text of each token, with the space before a word; "" for EOS, U+FFFD for a part of a character."""
    # The tokenizer removes a space at the beginning of a text, so each text begins with another token.
    return [tokenizer.decode_text([UNK_ID, token])[1:] for token in ids]


def _encode(name: str, lines: list[str], encode: Callable[[list[str]], list[list[int]]]) -> list[list[int]]:
    try:
        return encode(lines)
    except LineTooLong as error:
        raise LineTooLong(f"{name} {error}", error.index) from error


def _check(pair: IdPair, number: int, max_len: int) -> None:
    for name, ids in (("source", pair.source), ("target", pair.target)):
        if len(ids) > max_len:
            raise LineTooLong(f"{name} {number} has {len(ids)} tokens; the model supports {max_len}", number - 1)
    if pair.target and not pair.source:
        raise InputError(f"line {number} has a target but its source is empty. Remove the pair.")
