"""BPE-dropout and augmentation: other ids for the training pairs in each epoch.

The ids of a pair are a pure function of (seed, epoch, number of the pair, prepared data), so all ranks and all resumed
runs have the same ones. They are drawn from the text that the prepared ids decode to.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from data_pipeline.augmentation import Augmentation
from data_pipeline.config import DataConfig
from data_pipeline.micro_batches import AnyInts, Draw
from data_pipeline.token_store import TokenStore, TokenStoreWriter
from data_pipeline.tokenizers.bpe_dropout import random_numbers
from data_pipeline.tokenizers.sentence_piece import EOS_ID, SPACE_MARK, Tokenizer

Ids = list[int]
Pair = tuple[Ids, Ids]

CHUNK = 1000
"""Sentences that are drawn with one random generator. Another number would change the subwords of all runs."""
KEPT = 3
"""Epochs that stay available: the one of the current update, and the next two, which may be made ahead."""


class SubwordSampler:
    """Draws the ids of each epoch ahead of time, in a thread.

    If a sentence would have more subwords than the longest one of its store, it keeps its prepared subwords; if its
    text is changed, its translation keeps the prepared ones, too. So the largest shapes stay the same, and all pairs
    fit the model and the batches in every epoch.

    Args:
        stores: prepared ids of sources and targets.
    """

    def __init__(self, stores: tuple[TokenStore, TokenStore], tokenizer: Tokenizer, config: DataConfig) -> None:
        self._stores, self._tokenizer = stores, tokenizer
        self._longest = [int(store.lengths.max()) for store in stores]
        self._dropout = tokenizer.bpe_dropout(config.bpe_dropout) if config.bpe_dropout else None
        self._augmentation = Augmentation(config)
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
        size = self._tokenizer.vocab_size
        with tempfile.TemporaryDirectory() as folder:
            src, tgt = Path(folder, "src"), Path(folder, "tgt")
            with TokenStoreWriter(src, size) as src_out, TokenStoreWriter(tgt, size) as tgt_out:
                for first in range(0, len(self._stores[0]), CHUNK):
                    src_ids, tgt_ids = zip(*self._sample(draw, first), strict=True)
                    src_out.append(src_ids)
                    tgt_out.append(tgt_ids)
            return TokenStore(src), TokenStore(tgt)

    def _sample(self, draw: Draw, first: int) -> Iterator[Pair]:
        """Yield the ids of `CHUNK` pairs."""
        numbers = range(first, min(first + CHUNK, len(self._stores[0])))
        before = [[store[i].tolist() for i in numbers] for store in self._stores]
        texts = [self._tokenizer.decode(ids) for ids in before]
        random = random_numbers(*draw, first, "augmentation")
        changed = [self._augmentation.change(*pair, random) for pair in zip(texts[0], texts[1], strict=True)]
        new_texts, drawn = list(zip(*changed, strict=True)), []
        for side in (0, 1):
            random = random_numbers(*draw, side, first, "subwords")
            drawn.append(self._encode(new_texts[side], texts[side], before[side], random))
        for i in range(len(numbers)):
            new, old = ((ids[0][i], ids[1][i]) for ids in (drawn, before))
            yield self._limit(new, old, changed[i] == (texts[0][i], texts[1][i]))

    def _encode(self, new: Sequence[str], old: list[str], ids: list[Ids], random: Iterator[float]) -> list[Ids]:
        """Return the ids of the new texts of one side. Without BPE-dropout, equal texts keep their ids."""
        if self._dropout is not None:
            texts = (a if a == b else self._tokenizer.normalize(a) for a, b in zip(new, old, strict=True))
            return [self._draw(text, random) for text in texts]
        encoded = iter(self._tokenizer.encode([a for a, b in zip(new, old, strict=True) if a != b]))
        return [row if a == b else next(encoded) for a, b, row in zip(new, old, ids, strict=True)]

    def _draw(self, text: str, random: Iterator[float]) -> Ids:
        assert self._dropout is not None
        if SPACE_MARK in text:  # stands for itself here
            return self._tokenizer.encode([text])[0]
        return [*self._dropout.encode((" " + text).replace(" ", SPACE_MARK), random), EOS_ID]

    def _limit(self, new: Pair, old: Pair, same_texts: bool) -> Pair:
        """Return the new ids, or the old ids for sides (of changed texts: for pairs) that are too long."""
        src_fits, tgt_fits = (len(ids) <= longest for ids, longest in zip(new, self._longest, strict=True))
        if same_texts:
            return new[0] if src_fits else old[0], new[1] if tgt_fits else old[1]
        return new if src_fits and tgt_fits else old
