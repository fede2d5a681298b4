"""A tokenizer of running text, whatever its kind: what the GPT mode asks of it, and how its file is opened."""

from pathlib import Path
from typing import Protocol

from common.errors import InputError
from data_pipeline.tokenizers import byte_pair
from data_pipeline.tokenizers import characters as char_tokenizer
from data_pipeline.tokenizers.byte_pair import BytePairTokenizer
from data_pipeline.tokenizers.characters import CharTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, json_type


class TextTokenizer(Protocol):
    """Running text to ids and back."""

    @property
    def vocab_size(self) -> int:
        """Ids are 0 … vocab_size - 1."""

    @property
    def end_id(self) -> int | None:
        """The token that ends a document; None where the vocabulary has none."""

    @property
    def document_start(self) -> int:
        """What stands before a document: the token that ends one, or else a line break."""

    def encode_text(self, text: str, goes_on: bool = False) -> list[int]:
        """Nothing is lost and nothing is added at either end. Raises ValueError at an unknown character.

        `goes_on`: the text follows another one in the middle of its line.
        """

    def decode_text(self, ids: list[int]) -> str:
        """The text that was encoded; of any other ids, what they stand for."""

    def save(self, folder: Path | str) -> None:
        """Writes `folder/tokenizer.model`, byte for byte the file this tokenizer was read from."""


def open_tokenizer(file: Path | str) -> TextTokenizer:
    """The tokenizer in `file`, whose kind its content says.

    Raises FileNotFoundError where the file is missing, ValueError where it is of no known kind or damaged.
    """
    data = Path(file).read_bytes()
    match json_type(data):
        case char_tokenizer.TYPE:
            return CharTokenizer(file)
        case byte_pair.TYPE:
            return BytePairTokenizer(file)
        case None if data.startswith(b"\n"):  # the first field of every SentencePiece model
            return Tokenizer(file)
        case other:
            found = f"its type is {other!r}" if other else "its content is something else"
            raise InputError(
                f"{file} is no tokenizer this project can read: {found}, where it knows SentencePiece models and JSON "
                f"of the types {char_tokenizer.TYPE!r} and {byte_pair.TYPE!r}"
            )
