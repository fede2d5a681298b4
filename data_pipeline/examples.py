"""Examples of a split, and how they become tensors. Only this file makes padding, shifts targets and sets labels.

`SentencePairs`, `TokenStream` and `Documents` have the same methods. A label is the next token. Tokens of a prompt and
padding are not predicted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.micro_batches import PADDING_ROW, AnyInts, MicroBatch, batch_by_length
from data_pipeline.subword_sampling import SubwordSampler
from data_pipeline.token_store import TokenStore
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, Tokenizer

IGNORE = -100
"""Label of a position that is not predicted; `torch.nn.functional.cross_entropy` skips it."""

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Batch:
    """Tensors of one micro-batch: `model(*inputs)` returns the logits that `labels_BL` are compared with."""

    inputs: tuple[Tensor, ...]
    labels_BL: Tensor
    dropout_seed: int = 0

    def ready_for(self, device: torch.device) -> "Batch":
        """Return the batch in pinned memory if `device` is a GPU, so that `to(device)` does not wait for the copy."""
        if device.type != "cuda":
            return self
        return Batch(tuple(x.pin_memory() for x in self.inputs), self.labels_BL.pin_memory(), self.dropout_seed)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on another device."""
        inputs = tuple(x.to(device, non_blocking=True) for x in self.inputs)
        return Batch(inputs, self.labels_BL.to(device, non_blocking=True), self.dropout_seed)


@dataclass(frozen=True)
class SentencePairs:
    """Sentence pairs; sequence i of `tgt` translates sequence i of `src`."""

    src: TokenStore
    tgt: TokenStore
    sampler: SubwordSampler | None = None
    """Source of the ids of micro-batches with a `draw`. None: all micro-batches have the ids of `src` and `tgt`."""
    sizes: tuple[int, ...] = ()
    """Number of pairs of each direction, one direction after the other. (): there is one direction."""
    predicted = None
    """All target tokens are predicted."""

    @classmethod
    def open(cls, folder: Path, split: str, sizes: tuple[int, ...] = ()) -> "SentencePairs":
        """Open the pairs that two `TokenStoreWriter`s wrote to `folder/split.src` and `folder/split.tgt`."""
        return cls(TokenStore(folder / f"{split}.src"), TokenStore(folder / f"{split}.tgt"), None, sizes)

    def with_sampler(self, tokenizer: Tokenizer, config: DataConfig) -> "SentencePairs":
        """Return the same pairs, whose ids can be drawn again (`data.bpe_dropout` and `data.augment_*`)."""
        return replace(self, sampler=SubwordSampler((self.src, self.tgt), tokenizer, config, self.sizes))

    def __len__(self) -> int:
        return len(self.src)

    @property
    def src_lengths(self) -> AnyInts:
        """Number of source tokens of each pair, EOS included."""
        return self.src.lengths

    @property
    def tgt_lengths(self) -> AnyInts:
        """Number of target tokens of each pair, EOS included."""
        return self.tgt.lengths

    @property
    def predicted_tokens(self) -> int:
        """Number of tokens that the loss counts."""
        return int(self.tgt_lengths.sum())

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        """Token stores with the ids."""
        return self.src, self.tgt

    def check_lengths(self, split: str, max_len: int) -> None:
        """Raise InputError if a sentence is longer than `max_len` tokens. `split` is its name in the message."""
        longest = max(int(self.src_lengths.max()), int(self.tgt_lengths.max()))
        if longest > max_len:
            raise InputError(
                f"a {split} sentence has {longest} tokens but model.max_len is {max_len}. "
                f"Set data.max_length={max_len} or raise model.max_len."
            )

    def micro_batches(self, positions: int, block: int) -> list[MicroBatch]:
        """Return every pair once, in micro-batches of at most `positions` token positions, or one pair."""
        return batch_by_length(self.src_lengths, self.tgt_lengths, positions)

    def batch(self, micro_batch: MicroBatch) -> Batch:
        """Return source (B, M), source mask (B, M), target shifted right (B, L), and labels (B, L).

        A source ends with EOS. The decoder reads BOS and the target without its EOS, and predicts the target with it.
        """
        src, tgt = self._stores_of(micro_batch)
        src_BM = torch.from_numpy(src.table(micro_batch.indices, micro_batch.src_len, PAD_ID))
        labels_BL = torch.from_numpy(tgt.table(micro_batch.indices, micro_batch.tgt_len, IGNORE))
        src_BM[torch.from_numpy(micro_batch.indices == PADDING_ROW), 0] = EOS_ID  # attention needs at least one key
        tgt_BL = _shift_right(labels_BL, BOS_ID, PAD_ID)
        return Batch((src_BM, src_BM != PAD_ID, tgt_BL), labels_BL, micro_batch.dropout_seed)

    def prompts(self, n: int) -> list[list[int]]:
        """Return the sources of the first n pairs."""
        return [self.src[i].tolist() for i in range(min(n, len(self)))]

    def texts(self, micro_batch: MicroBatch, decode: Decode) -> Iterator[tuple[int, dict[str, str]]]:
        """Return the index and the text of each example."""
        src, tgt = self._stores_of(micro_batch)
        for i in _present(micro_batch):
            yield i, {"source": decode(src[i].tolist()), "target": decode(tgt[i].tolist())}

    def _stores_of(self, micro_batch: MicroBatch) -> tuple[TokenStore, ...]:
        if self.sampler is None or micro_batch.draw is None:
            return self.stores
        return self.sampler.stores(micro_batch.draw)


@dataclass(frozen=True)
class TokenStream:
    """All documents one after the other. An example is a block; its index is the position of its first token."""

    ids: TokenStore
    mask: TokenStore | None = None
    """1 for a token that is predicted, 0 for a token of a prompt. None: all tokens are predicted."""
    sampler = None
    sizes = ()

    @classmethod
    def open(cls, folder: Path, split: str) -> "TokenStream":
        """Open the stores that `TokenStoreWriter`s wrote to `folder/split` and, if any, `folder/split.predicted`."""
        return cls(*_open_text(folder, split))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def src_lengths(self) -> AnyInts:
        """Number of tokens of each document."""
        return self.ids.lengths

    @property
    def tgt_lengths(self) -> AnyInts:
        """Number of tokens of each document."""
        return self.ids.lengths

    @property
    def predicted(self) -> AnyInts | None:
        """For each token of the stream, 1 if it is predicted, otherwise 0. None: all are predicted."""
        return None if self.mask is None else self.mask.flat

    @property
    def predicted_tokens(self) -> int:
        """Number of tokens that the loss counts. The first token of the stream is never predicted."""
        return len(self.ids.flat) - 1 if self.mask is None else int(self.mask.flat[1:].sum(dtype=np.int64))

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        """Token stores with the ids."""
        return (self.ids,)

    def check_lengths(self, split: str, max_len: int) -> None:
        """Accept all lengths: a stream is divided into blocks."""

    def micro_batches(self, positions: int, block: int) -> list[MicroBatch]:
        """Return consecutive blocks that predict every token once, in micro-batches of at most `positions` tokens.

        A micro-batch has at least one block. The last block may be short.
        """
        starts = np.arange(0, len(self.ids.flat) - 1, block)
        rows = max(1, positions // block)
        return [MicroBatch(starts[first : first + rows], block, block) for first in range(0, len(starts), rows)]

    def batch(self, micro_batch: MicroBatch) -> Batch:
        """Return tokens (B, L) and labels (B, L)."""
        ids, starts = self.ids.flat, micro_batch.indices[:, None]
        at = starts + np.arange(micro_batch.tgt_len + 1)
        real = (starts != PADDING_ROW) & (at < len(ids))
        at = np.where(real, at, 0)
        tokens = np.where(real, ids[at], 0).astype(np.int64)
        predicted = real[:, 1:] if self.mask is None else real[:, 1:] & (self.mask.flat[at[:, 1:]] == 1)
        labels = np.where(predicted, tokens[:, 1:], IGNORE)
        inputs = (torch.from_numpy(tokens[:, :-1].copy()),)
        return Batch(inputs, torch.from_numpy(labels), micro_batch.dropout_seed)

    def prompts(self, n: int) -> list[list[int]]:
        """Return one empty prompt: generation from a stream can start anywhere."""
        return [[]]

    def texts(self, micro_batch: MicroBatch, decode: Decode) -> Iterator[tuple[int, dict[str, str]]]:
        """Return the index and the text of each block."""
        for i in _present(micro_batch):
            yield i, {"text": decode(self.ids.flat[i : i + micro_batch.tgt_len + 1].tolist())}


@dataclass(frozen=True)
class Documents:
    """Each document in a row of its own, from its beginning.

    Each row starts with `start_id`, the token that ends the previous document of a stream. So the first token of a
    document is predicted too, if it is not part of a prompt. Text generation must add `start_id` before each prompt.
    """

    ids: TokenStore
    mask: TokenStore | None
    """1 for a token that is predicted, 0 for a token of a prompt. None: all tokens are predicted."""
    start_id: int
    sampler = None
    sizes = ()

    @classmethod
    def open(cls, folder: Path, split: str, start_id: int) -> "Documents":
        """Open the stores that `TokenStoreWriter`s wrote to `folder/split` and, if any, `folder/split.predicted`."""
        return cls(*_open_text(folder, split), start_id)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def src_lengths(self) -> AnyInts:
        """Number of tokens of each document."""
        return self.ids.lengths

    @property
    def tgt_lengths(self) -> AnyInts:
        """Number of tokens of each document."""
        return self.ids.lengths

    @cached_property
    def predicted(self) -> AnyInts:
        """Number of predicted tokens of each document."""
        lengths = self.ids.lengths.astype(np.int64)
        if self.mask is None:
            return lengths
        before = np.concatenate([[0], self.mask.flat.cumsum(dtype=np.int64)])
        ends = lengths.cumsum()
        return before[ends] - before[ends - lengths]

    @property
    def predicted_tokens(self) -> int:
        """Number of tokens that the loss counts."""
        return int(self.predicted.sum())

    @property
    def stores(self) -> tuple[TokenStore, ...]:
        """Token stores with the ids."""
        return (self.ids,)

    def check_lengths(self, split: str, max_len: int) -> None:
        """Raise InputError if a document is longer than `max_len` tokens. `split` is its name in the message."""
        if (longest := int(self.ids.lengths.max())) > max_len:
            raise InputError(
                f"a {split} document has {longest} tokens but a row has {max_len} (batches.block, model.max_len). "
                "Raise both, or set data.layout=stream, which divides documents."
            )

    def micro_batches(self, positions: int, block: int) -> list[MicroBatch]:
        """Return every document once, in micro-batches of at most `positions` token positions, or one document."""
        return batch_by_length(self.ids.lengths, self.ids.lengths, positions)

    def batch(self, micro_batch: MicroBatch) -> Batch:
        """Return tokens (B, L) and labels (B, L)."""
        ids_BL = torch.from_numpy(self.ids.table(micro_batch.indices, micro_batch.tgt_len, IGNORE))
        tokens_BL = _shift_right(ids_BL, self.start_id, padding_id=0)
        labels_BL = ids_BL
        if self.mask is not None:
            mask_BL = torch.from_numpy(self.mask.table(micro_batch.indices, micro_batch.tgt_len, 0))
            labels_BL = ids_BL.where(mask_BL == 1, IGNORE)
        return Batch((tokens_BL,), labels_BL, micro_batch.dropout_seed)

    def prompts(self, n: int) -> list[list[int]]:
        """Return the tokens before the first predicted token, for each of the first n documents."""
        first = range(min(n, len(self)))
        return [self.ids[i][: int(self._is_predicted(i).argmax())].tolist() for i in first]

    def texts(self, micro_batch: MicroBatch, decode: Decode) -> Iterator[tuple[int, dict[str, str]]]:
        """Return the index and the text of each document."""
        for i in _present(micro_batch):
            yield i, {"text": decode(self.ids[i].tolist())}

    def _is_predicted(self, i: int) -> npt.NDArray[np.bool_]:
        return np.ones(len(self.ids[i]), bool) if self.mask is None else self.mask[i] == 1


Examples = SentencePairs | TokenStream | Documents


def _open_text(folder: Path, split: str) -> tuple[TokenStore, TokenStore | None]:
    return TokenStore(folder / split), TokenStore.open_if_present(folder / f"{split}.predicted")


def _shift_right(ids_BL: Tensor, start_id: int, padding_id: int) -> Tensor:
    """Return what the model reads to predict `ids_BL`: `start_id`, then the ids without the last one of each row.

    Positions without an id contain `IGNORE` in `ids_BL` and `padding_id` in the result.
    """
    tokens_BL = torch.full_like(ids_BL, padding_id)
    tokens_BL[:, 0] = start_id
    tokens_BL[:, 1:] = ids_BL[:, :-1].where(ids_BL[:, 1:] != IGNORE, padding_id)
    return tokens_BL


def _present(micro_batch: MicroBatch) -> list[int]:
    """Return the indices without those of padding rows."""
    return [i for i in micro_batch.indices.tolist() if i != PADDING_ROW]
