"""BPE-dropout: other subwords for the training pairs in each epoch.

The subwords of a pair are a pure function of (seed, epoch, number of the pair, prepared data), so all ranks and all
resumed runs have the same ones. They are drawn from the text that the prepared ids decode to.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from data_pipeline.micro_batches import AnyInts, Draw
from data_pipeline.token_store import TokenStore, TokenStoreWriter
from data_pipeline.tokenizers.bpe_dropout import random_numbers
from data_pipeline.tokenizers.sentence_piece import EOS_ID, SPACE_MARK, Tokenizer

CHUNK = 1000
"""Sentences that are drawn with one random generator. Another number would change the subwords of all runs."""
KEPT = 3
"""Epochs that stay available: the one of the current update, and the next two, which may be made ahead."""


class SubwordSampler:
    """Draws the subwords of each epoch ahead of time, in a thread.

    If a sentence would have more subwords than the longest one of its store, it keeps its prepared subwords. So the
    largest shapes stay the same, and all pairs fit the model and the batches in every epoch.

    Args:
        stores: prepared ids of sources and targets.
        dropout: `data.bpe_dropout`.
    """

    def __init__(self, stores: tuple[TokenStore, ...], tokenizer: Tokenizer, dropout: float) -> None:
        self._stores, self._tokenizer, self._dropout = stores, tokenizer, tokenizer.bpe_dropout(dropout)
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._lock = Lock()
        self._made: dict[Draw, Future[tuple[TokenStore, ...]]] = {}

    def stores(self, draw: Draw) -> tuple[TokenStore, ...]:
        """Return the ids of an epoch, and begin to make those of the next one."""
        seed, epoch = draw
        with self._lock:
            found = self._begin(draw)
            self._begin((seed, epoch + 1))
        return found.result()

    def lengths(self, draw: Draw) -> tuple[AnyInts, AnyInts]:
        """Return the tokens of each source and each target of an epoch."""
        src, tgt = self.stores(draw)
        return src.lengths, tgt.lengths

    def _begin(self, draw: Draw) -> "Future[tuple[TokenStore, ...]]":
        if draw not in self._made:
            self._made[draw] = self._pool.submit(self._make, draw)
            for old in list(self._made)[:-KEPT]:
                del self._made[old]
        return self._made[draw]

    def _make(self, draw: Draw) -> tuple[TokenStore, ...]:
        # The files are deleted at once; their content stays until the memory maps are closed.
        with tempfile.TemporaryDirectory() as folder:
            return tuple(self._sample(store, Path(folder, str(i)), (*draw, i)) for i, store in enumerate(self._stores))

    def _sample(self, store: TokenStore, stem: Path, parts: tuple[int, ...]) -> TokenStore:
        longest = int(store.lengths.max())
        with TokenStoreWriter(stem, self._tokenizer.vocab_size) as out:
            for first in range(0, len(store), CHUNK):
                before = [store[i].tolist() for i in range(first, min(first + CHUNK, len(store)))]
                random = random_numbers(*parts, first, "subwords")
                drawn = [
                    self._draw(text, ids, random)
                    for text, ids in zip(self._tokenizer.decode(before), before, strict=True)
                ]
                out.append(ids if len(ids) <= longest else old for ids, old in zip(drawn, before, strict=True))
        return TokenStore(stem)

    def _draw(self, text: str, ids: list[int], random: Iterator[float]) -> list[int]:
        if SPACE_MARK in text:  # stands for itself here
            return ids
        return [*self._dropout.encode((" " + text).replace(" ", SPACE_MARK), random), EOS_ID]
