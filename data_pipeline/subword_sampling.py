"""BPE-dropout and augmentation: other ids for the training pairs in each epoch.

The ids of a pair are a pure function of (seed, epoch, number of the pair, prepared data), so all ranks and all resumed
runs have the same ones. They are drawn from the text that the prepared ids decode to.
"""

import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate, chain
from pathlib import Path
from threading import Event, Lock, Thread, current_thread

import numpy as np

from common.cores import cores_per_rank
from data_pipeline.augmentation import Augmentation
from data_pipeline.config import DataConfig
from data_pipeline.micro_batches import AnyInts, Draw
from data_pipeline.token_store import TokenStore, TokenStoreWriter
from data_pipeline.tokenizers.bpe_dropout import random_numbers
from data_pipeline.tokenizers.sentence_piece import EOS_ID, SPACE_MARK, Tokenizer
from data_pipeline.worker_pool import Workers

Ids = list[int]
Pair = tuple[Ids, Ids]
Flat = tuple[AnyInts, AnyInts]
"""Ids of many sentences, one after the other, and the number of ids of each."""

CHUNK = 1000
"""Sentences that are drawn with one random generator. Another number would change the subwords of all runs."""
CORES_PER_PROCESS = 2
"""Cores of a rank for each process that draws."""
PROCESSES_FROM = 20_000
"""Number of pairs from which processes draw; for fewer, starting them is not worth while."""
KEPT = 3
"""Epochs that stay available: the one of the current update, and the next two, which may be made ahead."""


class SubwordSampler:
    """Draws the ids of each epoch ahead of time, in a thread.

    On a machine with many cores, processes draw the chunks of a large corpus, so that a GPU need not wait for them.

    Args:
        stores: prepared ids of sources and targets.
        sizes: number of pairs of each direction; () for one direction.
    """

    def __init__(
        self,
        stores: tuple[TokenStore, TokenStore],
        tokenizer: Tokenizer,
        config: DataConfig,
        sizes: tuple[int, ...] = (),
    ) -> None:
        self._pairs, self._vocab_size = len(stores[0]), tokenizer.vocab_size
        processes = cores_per_rank() // CORES_PER_PROCESS if self._pairs >= PROCESSES_FROM else 1
        self._workers = Workers(ChunkSampler(stores, tokenizer, config, sizes).sample, processes)
        self._lock = Lock()
        self._made: dict[Draw, Future[tuple[TokenStore, ...]]] = {}
        self._threads: list[Thread] = []
        self._ending = Event()
        weakref.finalize(self, _end, self._ending, self._threads)

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
            made = self._made[draw] = Future()
            # A daemon: the process does not wait for an epoch that nobody needs.
            thread = Thread(target=self._run, args=(draw, made, *self._threads), daemon=True)
            self._threads[:] = [thread]
            thread.start()
            for old in list(self._made)[:-KEPT]:
                del self._made[old]
        return self._made[draw]

    def _run(self, draw: Draw, made: "Future[tuple[TokenStore, ...]]", *before: Thread) -> None:
        for thread in before:
            thread.join()
        try:
            made.set_result(self._make(draw))
        except BaseException as error:
            made.set_exception(error)

    def _make(self, draw: Draw) -> tuple[TokenStore, ...]:
        # The files are deleted at once; their content stays until the memory maps are closed.
        tasks = ((draw, first) for first in range(0, self._pairs, CHUNK))
        with tempfile.TemporaryDirectory() as folder:
            src, tgt = Path(folder, "src"), Path(folder, "tgt")
            with TokenStoreWriter(src, self._vocab_size) as src_out, TokenStoreWriter(tgt, self._vocab_size) as tgt_out:
                for src_ids, tgt_ids in self._workers.map(tasks):
                    if self._ending.is_set():
                        raise RuntimeError("the process ends")
                    src_out.append_flat(*src_ids)
                    tgt_out.append_flat(*tgt_ids)
            return TokenStore(src), TokenStore(tgt)


class ChunkSampler:
    """Draws the ids of a chunk of pairs.

    If a sentence would have more subwords than the longest one of its store, it keeps its prepared subwords; if its
    text is changed, its translation keeps the prepared ones, too. So the largest shapes stay the same, and all pairs
    fit the model and the batches in every epoch.
    """

    def __init__(
        self,
        stores: tuple[TokenStore, TokenStore],
        tokenizer: Tokenizer,
        config: DataConfig,
        sizes: tuple[int, ...] = (),
    ) -> None:
        self._arguments = stores, tokenizer, config, sizes
        self._stores, self._tokenizer = stores, tokenizer
        self._longest = [int(store.lengths.max()) for store in stores]
        self._dropout = tokenizer.bpe_dropout(config.bpe_dropout) if config.bpe_dropout else None
        self._augmentations = [Augmentation(own) for own in config.by_direction()]
        self._ends = list(accumulate(sizes[:-1]))

    def __reduce__(self) -> "tuple[type[ChunkSampler], tuple[object, ...]]":
        # Another process begins without the states of words that this one has computed.
        return ChunkSampler, self._arguments

    def sample(self, task: tuple[Draw, int]) -> tuple[Flat, Flat]:
        """Return the ids of sources and of targets. The task is the epoch and the number of the first pair."""
        src, tgt = zip(*self._sample(*task), strict=True)
        return _flatten(src), _flatten(tgt)

    def _sample(self, draw: Draw, first: int) -> Iterator[Pair]:
        """Yield the ids of `CHUNK` pairs."""
        numbers = range(first, min(first + CHUNK, len(self._stores[0])))
        before = [[store[i].tolist() for i in numbers] for store in self._stores]
        texts = [self._tokenizer.decode(ids) for ids in before]
        random = random_numbers(*draw, first, "augmentation")
        changed = [
            self._augmentations[bisect_right(self._ends, i)].change(source, target, random)
            for i, source, target in zip(numbers, texts[0], texts[1], strict=True)
        ]
        new_texts, drawn = list(zip(*changed, strict=True)), []
        tags = [ids[:1] if ids[0] in self._tokenizer.tags else [] for ids in before[0]]
        without_tags = [ids[len(tag) :] for ids, tag in zip(before[0], tags, strict=True)], before[1]
        for side in (0, 1):
            random = random_numbers(*draw, side, first, "subwords")
            drawn.append(self._encode(new_texts[side], texts[side], without_tags[side], random))
        drawn[0] = [tag + ids for tag, ids in zip(tags, drawn[0], strict=True)]
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


def _end(ending: Event, threads: list[Thread]) -> None:
    """Let the thread delete its files before the process ends."""
    ending.set()
    for thread in threads:
        if thread is not current_thread():
            thread.join(timeout=5)


def _flatten(sentences: Sequence[Ids]) -> Flat:
    lengths = np.fromiter(map(len, sentences), np.int64, count=len(sentences))
    return np.fromiter(chain.from_iterable(sentences), np.int32, count=int(lengths.sum())), lengths
