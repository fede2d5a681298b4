"""Create the prepared data of a language model: read, hold out, train the tokenizer, tokenize, write."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import InputError
from data_pipeline.config import DataConfig
from data_pipeline.sources.corpus import NoSuchSplit
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.sources.running_text import Piece, has_given_parts, open_text
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import train_tokenizer

AT_ONCE = 1000  # documents that are encoded before they are written
Source = Callable[[], Iterator[Piece]]


@dataclass
class Sizes:
    """How much text there is. Characters are those that are predicted."""

    documents: int = 0
    characters: int = 0
    tokens: int = 0


def prepare_text(config: DataConfig, result: Path, work: Path, threads: int, quiet: bool) -> None:
    """Write tokenizer, token stores of both splits, and `report.json` to the folder `result`.

    If some tokens belong to prompts, a second token store of each split contains 1 for each predicted token, otherwise
    0. `work` is an empty folder for intermediate files; `threads` is not used; `quiet` shows no progress bars. Raises
    as `prepare`.
    """
    train, valid, held_out = _open(config, work)
    tokenizer = _vocabulary(config, train, valid, result / "tokenizer.model")
    values = [value for value in (config.train, corpus_value(config, "valid")) if value is not None]
    masked = any(has_given_parts(value, config) for value in values)
    report = {
        name: asdict(_write(tokenizer, source, result / name, masked, config, quiet))
        for name, source in (("train", train), ("valid", valid))
    }
    for name, sizes in report.items():
        if not sizes["characters"]:
            raise InputError(f"there is no text to predict in data.{name}")
    (result / "report.json").write_text(json.dumps(report | {"held_out": held_out}, indent=1) + "\n")


def describe_text(report: dict[str, Any]) -> str:
    """Return the numbers of training and validation tokens in words."""
    return f"{report['train']['tokens']:,} training and {report['valid']['tokens']:,} validation tokens"


def summarise_text(report: dict[str, Any]) -> str:
    """Return a table of documents, characters and tokens, and a sentence if the end of the text was held out."""
    counts = "\n".join(
        f"{split:<11} {sizes['documents']:>12,} documents {sizes['characters']:>14,} characters to predict "
        f"{sizes['tokens']:>14,} tokens"
        for split, sizes in ((split, report[split]) for split in ("train", "valid"))
    )
    if not report["held_out"]:
        return counts
    return f"{counts}\nthe end of data.train is held out for validation: data.valid is not set"


def _open(config: DataConfig, work: Path) -> tuple[Source, Source, bool]:
    """Training and validation text, and whether the second is the end of what data.train names."""
    source = open_text(config.train, config, "train", work)
    value = corpus_value(config, "valid")
    if value is not None:
        try:
            return source, open_text(value, config, "valid", work), False
        except NoSuchSplit:
            if config.valid is not None:
                raise
    total = sum(_measure(piece, config) for piece in source())
    mark = int(total * (1 - config.valid_part))
    if not 0 < mark < total:
        raise InputError(f"data.train is too short to hold {config.valid_part:.0%} of it out for validation")
    return (
        lambda: (piece for is_held_out, piece in _divide(source(), mark, config) if not is_held_out),
        lambda: (piece for is_held_out, piece in _divide(source(), mark, config) if is_held_out),
        True,
    )


def _measure(piece: Piece, config: DataConfig) -> int:
    """What the held-out part is measured in: documents where they stay whole, otherwise characters."""
    return int(piece.ends) if config.layout == "documents" else len(piece.text)


def _divide(pieces: Iterator[Piece], mark: int, config: DataConfig) -> Iterator[tuple[bool, Piece]]:
    """The pieces before the mark, and those after it; the one across it is cut."""
    at = 0
    for piece in pieces:
        end = at + _measure(piece, config)
        if at < mark < end:
            yield False, replace(piece, text=piece.text[: mark - at], ends=False)
            yield True, replace(piece, text=piece.text[mark - at :])
        else:
            yield at >= mark, piece
        at = end


def _vocabulary(config: DataConfig, train: Source, valid: Source, file: Path) -> TextTokenizer:
    if config.tokenizer is not None:
        tokenizer = open_tokenizer(find_tokenizer(config.tokenizer))
        tokenizer.save(file.parent)
        return tokenizer
    if config.vocab_type == "characters":  # an alphabet: that a letter exists gives nothing away
        return CharTokenizer.learn((piece.text for source in (train, valid) for piece in source()), file)
    if config.vocab_type == "gpt2":
        return BytePairTokenizer.gpt2(file)
    return train_tokenizer(_sample(train, config), file, config.vocab_size, config.vocab_type)


def _sample(train: Source, config: DataConfig) -> Iterator[str]:
    """The lines of the training text that hold something, or about `tokenizer_sentences` of them."""

    def lines() -> Iterator[str]:
        return (line for piece in train() for line in piece.text.split("\n") if line.strip())

    share = config.tokenizer_sentences / max(1, sum(1 for _ in lines()))
    draw = random.Random(config.seed)
    return (line for line in lines() if share >= 1 or draw.random() < share)


def _write(
    tokenizer: TextTokenizer, source: Source, stem: Path, masked: bool, config: DataConfig, quiet: bool
) -> Sizes:
    sizes = Sizes()
    with (
        ExitStack() as writers,
        tqdm(desc=f"tokenising {stem.name}", unit=" tokens", unit_scale=True, disable=quiet) as bar,
    ):
        out = writers.enter_context(TokenStoreWriter(stem, tokenizer.vocab_size))
        mask_file = stem.with_name(f"{stem.name}.predicted")
        mask_out = writers.enter_context(TokenStoreWriter(mask_file, 2)) if masked else None
        rows: list[list[int]] = []
        masks: list[list[int]] = []
        try:
            for ids, mask in _encode(tokenizer, source(), sizes, whole=config.layout == "documents"):
                rows.append(ids)
                masks.append(mask)
                if len(rows) == AT_ONCE:
                    bar.update(_flush(rows, masks, out, mask_out))
        except ValueError as error:
            raise InputError(f"data.{stem.name}: {error}") from error
        bar.update(_flush(rows, masks, out, mask_out))
    return sizes


def _flush(
    rows: list[list[int]], masks: list[list[int]], out: TokenStoreWriter, mask_out: TokenStoreWriter | None
) -> int:
    tokens = sum(map(len, rows))
    out.append(rows)
    if mask_out is not None:
        mask_out.append(masks)
    rows.clear()
    masks.clear()
    return tokens


def _encode(
    tokenizer: TextTokenizer, pieces: Iterator[Piece], sizes: Sizes, whole: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """Ids, and 1 where one is predicted: a row for each document where they stay whole, otherwise for each piece."""
    ids: list[int] = []
    mask: list[int] = []
    begun = in_line = False
    for piece in pieces:
        new = tokenizer.encode_text(piece.text, continues_line=begun and in_line)
        in_line = not piece.text.endswith("\n")
        given = len(new) if not piece.predicted else 0
        if piece.ends:
            sizes.documents += 1
            new += _end(tokenizer, piece.text)
        ids += new
        mask += [0] * given + [1] * (len(new) - given)
        sizes.characters += len(piece.text) if piece.predicted else 0
        if piece.ends or not whole:
            sizes.tokens += len(ids)
            yield ids, mask
            ids, mask = [], []
        begun = not piece.ends
    sizes.documents += begun  # the last one, cut where the held-out part begins


def _end(tokenizer: TextTokenizer, text: str) -> list[int]:
    """What closes a document: the vocabulary's own token for it, or else the end of its last line."""
    if tokenizer.end_id is not None:
        return [tokenizer.end_id]
    return [] if text.endswith("\n") else tokenizer.encode_text("\n")
