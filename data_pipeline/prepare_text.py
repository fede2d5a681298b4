"""Create the prepared data of a language model: read, hold out, train the tokenizer, tokenize, write."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.notes import keep_notes
from common.progress_bar import ProgressBar
from data_pipeline.config import DataConfig
from data_pipeline.group_files import GroupFiles
from data_pipeline.sources.columns import quote
from data_pipeline.sources.hub import NoSuchSplit
from data_pipeline.sources.names import corpus_value, find_tokenizer
from data_pipeline.sources.running_text import TextSegment, has_prompts, open_text
from data_pipeline.token_store import TokenStoreWriter
from data_pipeline.tokenizers import TextTokenizer, open_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import train_tokenizer

EXAMPLES = 3
"""Number of texts that the summary shows."""
SHOWN_CHARACTERS = 1000
"""Characters of a segment in which texts to show are looked for."""
GROUP = 1000
"""Largest number of token sequences that are encoded before they are written."""
TOKENS = 1 << 20
"""Number of tokens that are encoded before they are written, if their sequences are long."""
LONGEST_DOCUMENT = 10_000_000
"""Largest number of tokens of a document with `data.layout=documents`."""
Source = Callable[[], Iterator[TextSegment]]
"""Returns the segments of a text from the beginning, each time it is called."""


@dataclass
class Sizes:
    """Amount of text in a split. `characters` counts only characters that are predicted."""

    documents: int = 0
    characters: int = 0
    tokens: int = 0


def prepare_text(config: DataConfig, result: Path, work: Path, files: GroupFiles, quiet: bool) -> None:
    """Write tokenizer, token stores of both splits, and `report.json` to the folder `result`.

    If some tokens belong to prompts, a second token store of each split contains 1 for each predicted token, otherwise
    0. `work` is an empty folder for intermediate files; `files` are not used; `quiet` shows no progress bars and no
    notes. Raises as `prepare`.
    """
    notes: list[str] = []
    train, valid, held_out = _open(config, work, keep_notes(notes, quiet))
    tokenizer = _make_tokenizer(config, train, valid, result / "tokenizer.model")
    values = [value for value in (config.train, corpus_value(config, "valid")) if value is not None]
    masked = any(has_prompts(value, config) for value in values)
    report = {
        name: asdict(_write(tokenizer, source, result / name, masked, config, quiet))
        for name, source in (("train", train), ("valid", valid))
    }
    for name, sizes in report.items():
        if not sizes["characters"]:
            raise InputError(f"data.{name} has no text to predict. Name a corpus with text outside the prompts.")
    more = {"held_out": held_out, "notes": notes, "examples": _first_lines(train)}
    (result / "report.json").write_text(
        json.dumps(report | more, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


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
    examples = [f"text {i}      {quote(text)}" for i, text in enumerate(report.get("examples", []), start=1)]
    held_out = ["the end of data.train is held out for validation: data.valid is not set"] * report["held_out"]
    return "\n".join([counts, *examples, *held_out])


def _first_lines(source: Source) -> list[str]:
    """Return the beginnings of the first lines, or of the first documents if these are longer."""
    lines = (line for segment in source() for line in segment.text[:SHOWN_CHARACTERS].splitlines() if line.strip())
    return list(islice(lines, EXAMPLES))


def _open(config: DataConfig, work: Path, note: Callable[[str], None]) -> tuple[Source, Source, bool]:
    """Return training text, validation text, and True if the second is held out of data.train."""
    source = open_text(config.train, config, "train", work, note)
    value = corpus_value(config, "valid")
    if value is not None:
        try:
            return source, open_text(value, config, "valid", work, note), False
        except NoSuchSplit:
            if config.valid is not None:
                raise
    total = sum(_size(segment, config) for segment in source())
    mark = int(total * (1 - config.valid_part))
    if not 0 < mark < total:
        raise InputError(
            f"data.train is too short to hold out {config.valid_part:.0%} of it for validation. "
            "Set data.valid or add text."
        )
    return (
        lambda: (segment for held_out, segment in _divide(source(), mark, config) if not held_out),
        lambda: (segment for held_out, segment in _divide(source(), mark, config) if held_out),
        True,
    )


def _size(segment: TextSegment, config: DataConfig) -> int:
    """Return the size by which text is held out: 1 at the end of a document, or characters for a stream."""
    return int(segment.ends_document) if config.layout == "documents" else len(segment.text)


def _divide(segments: Iterator[TextSegment], mark: int, config: DataConfig) -> Iterator[tuple[bool, TextSegment]]:
    """Yield (True if held out, segment). The segment that contains the mark is split there."""
    at = 0
    for segment in segments:
        end = at + _size(segment, config)
        if at < mark < end:
            yield False, replace(segment, text=segment.text[: mark - at], ends_document=False)
            yield True, replace(segment, text=segment.text[mark - at :])
        else:
            yield at >= mark, segment
        at = end


def _make_tokenizer(config: DataConfig, train: Source, valid: Source, file: Path) -> TextTokenizer:
    if config.tokenizer is not None:
        tokenizer = open_tokenizer(find_tokenizer(config.tokenizer))
        tokenizer.save(file.parent)
        return tokenizer
    if config.vocab_type == "characters":  # the validation text may add letters: they reveal no text
        return CharTokenizer.learn((segment.text for source in (train, valid) for segment in source()), file)
    if config.vocab_type == "gpt2":
        return BytePairTokenizer.gpt2(file)
    return train_tokenizer(_sample(train, config), file, config.vocab_size, config.vocab_type)


def _sample(train: Source, config: DataConfig) -> Iterator[str]:
    """Return the lines of the training text that are not empty, or about `tokenizer_sentences` of them."""

    def lines() -> Iterator[str]:
        return (line for segment in train() for line in segment.text.split("\n") if line.strip())

    share = config.tokenizer_sentences / max(1, sum(1 for _ in lines()))
    draw = random.Random(config.seed)
    return (line for line in lines() if share >= 1 or draw.random() < share)


def _write(
    tokenizer: TextTokenizer, source: Source, stem: Path, masked: bool, config: DataConfig, quiet: bool
) -> Sizes:
    sizes = Sizes()
    with (
        ExitStack() as writers,
        ProgressBar(f"tokenizing {stem.name}", None, "tokens", show=not quiet) as bar,
    ):
        out = writers.enter_context(TokenStoreWriter(stem, tokenizer.vocab_size))
        mask_file = stem.with_name(f"{stem.name}.predicted")
        mask_out = writers.enter_context(TokenStoreWriter(mask_file, 2)) if masked else None
        sequences: list[list[int]] = []
        masks: list[list[int]] = []
        try:
            waiting = 0
            for ids, mask in _encode(tokenizer, source(), sizes, by_document=config.layout == "documents"):
                sequences.append(ids)
                masks.append(mask)
                waiting += len(ids)
                if len(sequences) == GROUP or waiting > TOKENS:
                    waiting = 0
                    bar.update(_flush(sequences, masks, out, mask_out))
        except ValueError as error:
            raise InputError(f"data.{stem.name}: {error}") from error
        bar.update(_flush(sequences, masks, out, mask_out))
    return sizes


def _flush(
    sequences: list[list[int]], masks: list[list[int]], out: TokenStoreWriter, mask_out: TokenStoreWriter | None
) -> int:
    """Write and clear the sequences and masks. Return the number of tokens."""
    tokens = sum(map(len, sequences))
    out.append(sequences)
    if mask_out is not None:
        mask_out.append(masks)
    sequences.clear()
    masks.clear()
    return tokens


def _encode(
    tokenizer: TextTokenizer, segments: Iterator[TextSegment], sizes: Sizes, by_document: bool
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield ids and mask (1 for a predicted token, otherwise 0) of each document or, for a stream, of each segment.

    Adds to `sizes`.
    """
    ids: list[int] = []
    mask: list[int] = []
    begun = in_line = False
    for segment in segments:
        new = tokenizer.encode_text(segment.text, continues_line=begun and in_line)
        in_line = not segment.text.endswith("\n")
        prompt = len(new) if not segment.predicted else 0
        if segment.ends_document:
            sizes.documents += 1
            new += _end(tokenizer, segment.text)
        ids += new
        mask += [0] * prompt + [1] * (len(new) - prompt)
        sizes.characters += len(segment.text) if segment.predicted else 0
        if segment.ends_document or not by_document:
            sizes.tokens += len(ids)
            yield ids, mask
            ids, mask = [], []
        elif len(ids) > LONGEST_DOCUMENT:
            raise InputError(
                f"a document has more than {LONGEST_DOCUMENT:,} tokens, too many for data.layout=documents. Set "
                "data.layout=stream"
            )
        begun = not segment.ends_document
    sizes.documents += begun  # the last document, if the held-out text begins inside it


def _end(tokenizer: TextTokenizer, text: str) -> list[int]:
    """Return the ids that end a document: the tokenizer's end token, or else a line break if the text has none."""
    if tokenizer.end_id is not None:
        return [tokenizer.end_id]
    return [] if text.endswith("\n") else tokenizer.encode_text("\n")
