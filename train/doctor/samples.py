"""Seeded samples of corpora and prepared data, because the doctor has no time to read all of a large corpus."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_pipeline.config import DataConfig
from data_pipeline.examples import Batch
from data_pipeline.micro_batches import PADDING_ROW, permutation
from data_pipeline.sources.corpus import load_corpora
from data_pipeline.sources.hub import NoSuchSplit
from data_pipeline.sources.names import Role, corpus_value
from data_pipeline.sources.running_text import open_text
from data_pipeline.token_store import TokenStore
from data_pipeline.tokenizers import TextTokenizer
from train.config import RunConfig
from train.doctor.pairs import Texts
from train.setup import Setup

if TYPE_CHECKING:  # slow to import
    from datasets import Dataset

BLOCK = 500
"""Number of consecutive lines in a block."""
MOST_LINES = 20_000
"""Lines that are checked closely. From a larger corpus, blocks of `BLOCK` lines are drawn."""
MOST_HASHES = 5_000_000
"""Pairs that are compared with each other and with the held-out corpora. From a larger corpus, blocks are drawn."""
MOST_TOKENS = 20_000_000
"""Tokens of text that are read, and tokens that are counted to find rare subwords."""
TEXTS = 1000
"""Texts in the round trip through the vocabulary."""
LONG_LINE = 40
"""Characters from which a repeated line of a stream counts as a repetition."""
PROBE_TOKENS = 256
"""Largest number of source or target positions in the batch that the model overfits on."""


def line_blocks(dataset: "Dataset", most: int, seed: int) -> Iterator[tuple[int, Texts]]:
    """Yield blocks of consecutive pairs with the number of their first line, counted from 0, in corpus order.

    Yield all blocks if the corpus has at most `most` lines, otherwise a random sample of about `most` lines.
    """
    starts = np.arange(0, len(dataset), BLOCK)
    if len(dataset) > most:
        starts = np.sort(starts[permutation(len(starts), seed, "doctor")[: max(1, most // BLOCK)]])
    for start in starts.tolist():
        rows = dataset[start : start + BLOCK]
        yield start, ([text or "" for text in rows["source"]], [text or "" for text in rows["target"]])


def held_out(config: RunConfig, role: Role, work: Path) -> Texts | None:
    """Return the unfiltered validation or test pairs; None if the settings and `data.train` have none."""
    value = corpus_value(config.data, role)
    if value is None:
        return None
    try:
        dataset = load_corpora(value, config.data, role, work)
    except NoSuchSplit:
        return None
    return join(line_blocks(dataset, MOST_LINES, config.data.seed))


def join(blocks: Iterable[tuple[int, Texts]]) -> Texts:
    """Return the texts of all blocks."""
    sources, targets = zip(*(texts for _, texts in blocks), strict=True)
    return list(chain.from_iterable(sources)), list(chain.from_iterable(targets))


def sample_sentences(setup: Setup) -> list[str]:
    """Return random validation sentences of both languages."""
    sources, targets = setup.prepared.valid_text()
    order = permutation(len(sources), setup.config.data.seed, "doctor")[: TEXTS // 2].tolist()
    return [column[i] for column in (sources, targets) for i in order]


def sample_lines(setup: Setup) -> list[str]:
    """Return random lines from the start of the training text."""
    documents = raw_documents(setup.config.data, "train", 20 * TEXTS)
    lines = (line for document in documents for line in document.split("\n") if line.strip())
    first = list(islice(lines, 20 * TEXTS))
    return [first[i] for i in permutation(len(first), setup.config.data.seed, "doctor")[:TEXTS].tolist()]


def small_batch(setup: Setup) -> Batch:
    """Return up to eight examples of the first update, truncated to `PROBE_TOKENS` source and target positions."""
    full = max(setup.plan.update(0).bucket_batches, key=lambda batch: int((batch.indices != PADDING_ROW).sum()))
    longest = max(full.src_len, full.tgt_len)
    indices = full.indices[full.indices != PADDING_ROW][: max(1, min(8, PROBE_TOKENS // longest))]
    batch = setup.prepared.train.batch(replace(full, indices=indices))
    inputs = tuple(x[:, :PROBE_TOKENS] for x in batch.inputs)
    return Batch(inputs, batch.labels_BL[:, :PROBE_TOKENS])


def decoded_documents(tokenizer: TextTokenizer, ids: TokenStore, seed: int) -> Iterator[str]:
    """Yield documents of prepared text in random order, up to `MOST_TOKENS` tokens."""
    left = MOST_TOKENS
    for i in permutation(len(ids), seed, "doctor").tolist():
        if left <= 0:
            return
        left -= len(ids[i])
        yield tokenizer.decode_text(ids[i].tolist())


def raw_documents(data: DataConfig, role: Role, most: int) -> Iterator[str]:
    """Yield documents as the corpus has them, up to `most` segments; none if `role` has no corpus."""
    value = corpus_value(data, role)
    if value is None:
        return
    with tempfile.TemporaryDirectory() as work:
        try:
            segments = islice(open_text(value, data, role, Path(work))(), most)
        except NoSuchSplit:
            return
        document: list[str] = []
        for segment in segments:
            document.append(segment.text)
            if segment.ends_document:
                yield "".join(document)
                document = []
        if document:
            yield "".join(document)


def comparable_texts(documents: Iterable[str], layout: str) -> Iterator[str]:
    """Yield what is checked for repetitions: complete documents, or the long lines of a stream."""
    for document in documents:
        if layout == "documents":
            yield document
        else:
            yield from (line for line in document.split("\n") if len(line.strip()) >= LONG_LINE)
