"""Tokenizers: interfaces for language modelling and for translation, and the functions that read all their files."""

from pathlib import Path
from typing import Protocol, Self

from common.errors import InputError
from common.files import read_small
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, json_type
from data_pipeline.tokenizers.sentence_piece_pair import TYPE, SentencePiecePair


class TextTokenizer(Protocol):
    """Text to ids and back, without loss: for language modelling."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, which are 0 to vocab_size - 1."""

    @property
    def end_id(self) -> int | None:
        """Token that ends a document. None: the vocabulary has no such token."""

    @property
    def document_start(self) -> int:
        """Token before a document: `end_id`, or a line break if that is None."""

    @property
    def first_subword(self) -> int:
        """First id of a subword; special tokens and bytes have the ids before it."""

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """Return the ids of the text, without other tokens before or after it.

        Raises InputError if the vocabulary lacks a character of the text.

        Args:
            continues_line: the text follows another text in the same line.
        """

    def decode_text(self, ids: list[int]) -> str:
        """Return the text of any ids, and exactly the text that was encoded if they come from `encode_text`."""

    def save(self, folder: Path | str) -> None:
        """Write `folder/tokenizer.model`, byte for byte the file that this tokenizer was read from."""


class TranslationTokenizer(Protocol):
    """Source to ids, and ids to target: for translation."""

    normalize_unicode: bool
    vocab_size: int
    pieces: list[str]
    tag: list[int]
    """Ids at the start of each source that is not empty, from `for_target`; [] otherwise."""
    encodes_all: bool
    """False: `encode` returns UNK_ID for characters that the vocabulary does not have."""

    def for_target(self, language: str) -> Self:
        """Return a tokenizer whose `encode` begins each source with the tag of this language.

        Raises InputError if the vocabulary has no such tag.
        """

    def normalize(self, text: str) -> str:
        """Return the text that is encoded."""

    def encode(self, texts: list[str], threads: int = 1) -> list[list[int]]:
        """Return the ids of each source, with EOS_ID at the end."""

    def encode_target(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each target, with EOS_ID at the end."""

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Return the text of each target. PAD_ID, BOS_ID and EOS_ID give no text."""

    def decode_text(self, ids: list[int]) -> str:
        """Return the text of any ids, with all spaces between words."""


def open_translation_tokenizer(file: Path | str, normalize_unicode: bool = True) -> Tokenizer | SentencePiecePair:
    """Return the tokenizer in `file`. The content of the file decides its kind. Raises as `open_tokenizer`."""
    if json_type(read_small(Path(file))) == TYPE:
        return SentencePiecePair(file)
    return Tokenizer(file, normalize_unicode)


def open_tokenizer(file: Path | str) -> TextTokenizer:
    """Return the tokenizer in `file`. The content of the file decides its kind.

    Raises FileNotFoundError if there is no such file, and InputError if it is damaged or of an unknown kind.
    """
    data = read_small(Path(file))
    match json_type(data):
        case "characters":
            return CharTokenizer(file)
        case "byte-pairs":
            return BytePairTokenizer(file)
        case None if data.startswith(b"\n"):  # the first field of every SentencePiece model
            return Tokenizer(file)
        case other:
            found = f"it is JSON of the type {other!r}" if other else "it is neither SentencePiece nor JSON with a type"
            raise InputError(
                f"{file} is not a tokenizer of a known kind: {found}. Give a SentencePiece model, JSON of the type "
                f"'characters', or a tokenizer.json of GPT-2's byte pairs."
            )
