"""What the doctor reads of a corpus that may be larger than it has time for: seeded samples, and their text."""

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import PADDING_ROW, MicroBatch, permutation
from data_pipeline.sources.corpus import NoSuchSplit, load_many
from data_pipeline.sources.names import Role, corpus_value
from data_pipeline.sources.running_text import open_text
from data_pipeline.token_store import TokenStore
from data_pipeline.tokenizers import TextTokenizer
from train.config import RunConfig
from train.doctor.pairs import Texts
from train.tasks import Task

if TYPE_CHECKING:  # slow to import
    from datasets import Dataset

BLOCK = 500
"""Consecutive lines that are looked at together."""
MOST_LINES = 20_000
"""Of larger corpora a sample is read closely: stretches of `BLOCK` lines at seeded places."""
MOST_HASHES = 5_000_000
"""Pairs that are compared with one another and with the held-out corpora; of larger corpora a sample."""
MOST_TOKENS = 20_000_000
"""Of running text, and for counting pieces."""
TEXTS = 1000
"""Texts that go through the vocabulary and back."""
LONG_LINE = 40
"""Characters from which a line of running text says something when it occurs again."""
PROBE_TOKENS = 256
"""Token positions on a side of the batch that is learned by heart."""


def stretches(dataset: "Dataset", most: int, seed: int) -> Iterator[tuple[int, Texts]]:
    """Consecutive pairs, `BLOCK` at a time, and the number of their first line, counted from 0, in the order of the
    corpus: all, or about `most` at seeded places."""
    starts = np.arange(0, len(dataset), BLOCK)
    if len(dataset) > most:
        starts = np.sort(starts[permutation(len(starts), seed, "doctor")[: max(1, most // BLOCK)]])
    for start in starts.tolist():
        rows = dataset[start : start + BLOCK]
        yield start, ([text or "" for text in rows["source"]], [text or "" for text in rows["target"]])


def held_out(config: RunConfig, role: Role, work: Path) -> Texts | None:
    """A held-out corpus as it was written; None where none is named and `data.train` brings none."""
    value = corpus_value(config.data, role)
    if value is None:
        return None
    try:
        dataset = load_many(value, config.data, role, work)
    except NoSuchSplit:
        return None
    return join(stretches(dataset, MOST_LINES, config.data.seed))


def join(blocks: Iterable[tuple[int, Texts]]) -> Texts:
    """Stretches in one."""
    sources, targets = zip(*(texts for _, texts in blocks), strict=True)
    return list(chain.from_iterable(sources)), list(chain.from_iterable(targets))


def sample_texts(task: Task) -> list[str]:
    """Some of the text that the vocabulary has to spell: validation sentences, or lines of the training text."""
    prepared = task.prepared
    if task.config.data.task == "language_modelling":
        documents = raw_documents(task.config.data, "train", 20 * TEXTS)
        lines = (line for document in documents for line in document.split("\n") if line.strip())
        first = list(islice(lines, 20 * TEXTS))
        return [first[i] for i in permutation(len(first), task.config.data.seed, "doctor")[:TEXTS].tolist()]
    sources, targets = prepared.valid_text()
    order = permutation(len(sources), task.config.data.seed, "doctor")[: TEXTS // 2].tolist()
    return [side[i] for side in (sources, targets) for i in order]


def small_batch(task: Task) -> Batch:
    """Up to eight rows of the first update, cut to `PROBE_TOKENS` positions on a side."""
    full = max(task.plan.update(0).bucket_batches, key=lambda batch: int((batch.indices != PADDING_ROW).sum()))
    longest = max(full.src_len, full.tgt_len)
    indices = full.indices[full.indices != PADDING_ROW][: max(1, min(8, PROBE_TOKENS // longest))]
    batch = task.prepared.train.batch(MicroBatch(indices, full.src_len, full.tgt_len))
    inputs = tuple(x[:, :PROBE_TOKENS] for x in batch.inputs)
    return Batch(inputs, batch.labels_BL[:, :PROBE_TOKENS])


def decoded(tokenizer: TextTokenizer, ids: TokenStore, seed: int) -> Iterator[str]:
    """Documents of prepared text in random order, up to `MOST_TOKENS`."""
    left = MOST_TOKENS
    for i in permutation(len(ids), seed, "doctor").tolist():
        if left <= 0:
            return
        left -= len(ids[i])
        yield tokenizer.decode_text(ids[i].tolist())


def raw_documents(data: DataConfig, role: Role, most: int) -> Iterator[str]:
    """Documents of running text as they were written, up to `most` pieces; none where `role` has no corpus."""
    value = corpus_value(data, role)
    if value is None:
        return
    with tempfile.TemporaryDirectory() as work:
        try:
            pieces = islice(open_text(value, data, role, Path(work))(), most)
        except NoSuchSplit:
            return
        document: list[str] = []
        for piece in pieces:
            document.append(piece.text)
            if piece.ends:
                yield "".join(document)
                document = []
        if document:
            yield "".join(document)


def units(documents: Iterable[str], layout: str) -> Iterator[str]:
    """What is compared: whole documents, or the long lines of a stream."""
    for document in documents:
        if layout == "documents":
            yield document
        else:
            yield from (line for line in document.split("\n") if len(line.strip()) >= LONG_LINE)
