"""What a model thinks of a translation that is given: forced decoding, the whole target at once as in training."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import InputError
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, UNK_ID, Tokenizer
from evaluate.decoding.search import log_probs
from evaluate.eval_mode import eval_mode
from evaluate.length_batches import Pair, batches, pad, places
from evaluate.translator import LineTooLong, Translator
from transformer.attention import MultiHeadAttention
from transformer.model import Transformer

MAX_LOGITS = 2**25  # numbers: a batch has a logit for each word of the vocabulary at each token of its targets

Result = TypeVar("Result")
Ids = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Score:
    """A target as the model sees it."""

    tokens: tuple[int, ...]
    """Its ids."""
    token_log_probs: tuple[float, ...]
    """Natural log of the probability of each, given the source and the tokens before it."""

    @property
    def log_prob(self) -> float:
        """Natural log of the probability of all of them; 0 where there is none."""
        return math.fsum(self.token_log_probs)

    def details(self, tokenizer: Tokenizer) -> list[dict[str, str | int | float]]:
        """The text, id and log-probability of each token."""
        texts = token_texts(tokenizer, self.tokens)
        return [
            {"text": text, "id": token, "log_prob": log_prob}
            for text, token, log_prob in zip(texts, self.tokens, self.token_log_probs, strict=True)
        ]


class Scorer:
    """Scores targets with the model, tokenizer and limits of a translator.

    Results do not depend on the order of the pairs, and on their company only as far as rounding does.
    """

    def __init__(self, translator: Translator) -> None:
        self.translator = translator

    def score(self, sources: list[str], targets: list[str], progress: bool = False) -> list[Score]:
        """The score of each target as a translation of its source, with the EOS that ends it, in order.

        A text need not have the tokens that a search gave it: `score_ids` scores those. An empty target is EOS
        alone; the translation of an empty source is empty, without any token.

        Raises ValueError for lists of different length and for a target whose source is empty, and LineTooLong, a
        ValueError, for a line longer than the model takes.
        """
        if len(sources) != len(targets):
            raise InputError(f"there are {len(sources)} sources and {len(targets)} targets: each source needs its own")
        source_ids, target_ids = self._encode("source", sources), self._encode("target", targets)
        ended = [ids or [EOS_ID] * bool(source) for source, ids in zip(source_ids, target_ids, strict=True)]
        return self.score_ids(source_ids, ended, progress)

    def score_ids(self, sources: Ids, targets: Ids, progress: bool = False) -> list[Score]:
        """The same for sources as `Translator.encode` gives them and targets as `Translation.tokens` are.

        What a search reported as the log-probability of its output comes out again, except for rounding.
        """
        return self._each(sources, targets, self._score, Score((), ()), progress)

    def cross_attention(self, sources: Ids, targets: Ids) -> list[Tensor]:
        """Where the decoder looks: for each pair (layers, heads, target tokens, source tokens), on the CPU.

        Row l of a head are its weights, of sum 1, on the tokens of the source while it predicts token l of the
        target (section 3.2.3). Takes what `score_ids` takes.
        """
        config = self.translator.model.config
        nothing = torch.empty(config.n_layers, config.n_heads, 0, 0)
        return self._each(sources, targets, self._attend, nothing, progress=False)

    def _encode(self, side: str, lines: list[str]) -> list[list[int]]:
        try:
            return self.translator.encode(lines)
        except LineTooLong as error:
            raise LineTooLong(f"{side} {error}", error.index) from error

    def _each(
        self,
        sources: Ids,
        targets: Ids,
        compute: Callable[[list[Pair]], list[Result]],
        nothing: Result,
        progress: bool,
    ) -> list[Result]:
        """What `compute` makes of each pair, in order; `nothing` for one whose target has no token."""
        pairs = [Pair(tuple(source), tuple(target)) for source, target in zip(sources, targets, strict=True)]
        model, most = self.translator.model, self.translator.config.batch_tokens
        for number, pair in enumerate(pairs, 1):
            _check(pair, number, model)
        words = model.config.vocab_size

        def fits(rows: int, source_tokens: int, target_tokens: int) -> bool:
            return rows * (source_tokens + target_tokens) <= most and rows * target_tokens * words <= MAX_LOGITS

        where = places(pairs)
        results = [nothing] * len(pairs)
        with eval_mode(model), tqdm(total=len(pairs), unit="line", disable=not progress) as bar:
            for batch in batches((pair for pair in where if pair.target), fits, lambda pair: len(pair.target)):
                for pair, result in zip(batch, compute(batch), strict=True):
                    for place in where[pair]:
                        results[place] = result
                    bar.update(len(where[pair]))
        return results

    @torch.inference_mode()
    def _score(self, batch: list[Pair]) -> list[Score]:
        logp_BLV = log_probs(self._logits(batch))
        token_BL1 = pad([pair.target for pair in batch]).to(logp_BLV.device).unsqueeze(-1)
        rows = logp_BLV.gather(-1, token_BL1).squeeze(-1).tolist()
        scores = [Score(pair.target, tuple(row[: len(pair.target)])) for pair, row in zip(batch, rows, strict=True)]
        if not all(math.isfinite(score.log_prob) for score in scores):
            raise InputError("the model's scores are NaN or infinite: training diverged or weights are damaged")
        return scores

    @torch.inference_mode()
    def _attend(self, batch: list[Pair]) -> list[Tensor]:
        with _looks(self.translator.model) as looks:
            self._logits(batch)
        layers = [weights_BHLM.cpu() for weights_BHLM in looks]
        return [
            torch.stack([weights_BHLM[b, :, : len(pair.target), : len(pair.source)] for weights_BHLM in layers])
            for b, pair in enumerate(batch)
        ]

    def _logits(self, batch: list[Pair]) -> Tensor:
        """The logits (B, L, V) of each token of the targets."""
        device = self.translator.device
        src_BM = pad([pair.source for pair in batch]).to(device)
        tgt_BL = pad([(BOS_ID, *pair.target[:-1]) for pair in batch]).to(device)
        return self.translator.model(src_BM, src_BM != PAD_ID, tgt_BL)


def token_texts(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """What each token spells, the space before a word included; "" for EOS and U+FFFD for a part of a character."""
    # Of a text that starts with it, a space before the first word is taken away: so it starts with something else.
    return [tokenizer.decode_text([UNK_ID, token])[1:] for token in ids]


def _check(pair: Pair, number: int, model: Transformer) -> None:
    limit = model.config.max_len
    for side, ids in (("source", pair.source), ("target", pair.target)):
        if len(ids) > limit:
            raise LineTooLong(f"{side} {number} has {len(ids)} tokens and the model takes at most {limit}", number - 1)
    if pair.target and not pair.source:
        raise InputError(f"line {number} has a target but its source is empty: remove the pair")


@contextmanager
def _looks(model: Transformer) -> Iterator[list[Tensor]]:
    """A list that receives the weights (B, H, L, M) of each cross-attention, layer by layer, while the model runs."""
    looks: list[Tensor] = []

    def look(attention: MultiHeadAttention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        looks.append(attention.weights(*args, mask=kwargs["mask"]))

    attentions = [model.get_submodule(f"decoder.blocks.{i}.cross_attention") for i in range(model.config.n_layers)]
    hooks = [attention.register_forward_pre_hook(look, with_kwargs=True) for attention in attentions]
    try:
        yield looks
    finally:
        for hook in hooks:
            hook.remove()
