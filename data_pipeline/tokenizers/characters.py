"""A vocabulary of single characters: the simplest tokenizer for language modelling.

Its file is JSON: `{"type": "characters", "characters": "\\n !…"}`. The id of a character is its index there.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import read_small, write_bytes

TYPE = "characters"

CODE_POINTS = 0x110000
"""Number of code points in Unicode."""


class CharTokenizer:
    """Text to ids and back, with `decode_text(encode_text(x)) == x`. There are no special tokens.

    Raises FileNotFoundError if the file does not exist, and InputError if it contains no vocabulary of this kind.
    """

    end_id: int | None = None
    """The vocabulary has only the characters of the text, so no token can mark the end of a document."""

    def __init__(self, file: Path | str) -> None:
        self._bytes = read_small(Path(file))
        self._codes_V = _codes(_read(self._bytes, file))
        self.vocab_size: int = len(self._codes_V)
        self._ids = np.full(CODE_POINTS, -1, dtype=np.int32)  # by code point; -1: not in the vocabulary
        self._ids[self._codes_V] = np.arange(self.vocab_size)

    @classmethod
    def learn(cls, texts: Iterable[str], out_file: Path | str) -> "CharTokenizer":
        """Write the vocabulary of the texts to `out_file`: exactly their characters, sorted by code point.

        A line break is always one of them, because it separates documents. Raises InputError if there is no text, or if
        the text contains a lone surrogate, which a UTF-8 file cannot contain.
        """
        found: set[str] = set()
        for text in texts:
            found.update(text)
        if not found:
            raise InputError("there is no text to collect characters from: all training text is empty")
        characters = "".join(sorted(found | {"\n"}))
        if broken := [c for c in characters if "\ud800" <= c <= "\udfff"]:
            raise InputError(f"the training text contains the lone surrogate {_name(broken[0])}. Repair its encoding.")
        content = json.dumps({"type": TYPE, "characters": characters}, ensure_ascii=False)
        Path(out_file).write_text(content + "\n", encoding="utf-8")
        return cls(out_file)

    @property
    def document_start(self) -> int:
        """Token before a document: a line break, because no character marks the end of a document."""
        return self.encode_text("\n")[0]

    @property
    def first_subword(self) -> int:
        """First id of a subword."""
        return 0

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """Return the id of each character. Raises InputError for a character that is not in the vocabulary.

        The ids do not depend on `continues_line`.
        """
        ids = self._ids[_codes(text)]
        if len(unknown := np.flatnonzero(ids < 0)):
            at = int(unknown[0])
            raise InputError(
                f"the text contains {_name(text[at])} (in {text[max(0, at - 15) : at + 16]!r}), which is not one of "
                f"the {self.vocab_size} characters of the vocabulary. Replace or remove it, or train a model with "
                f"data.vocab_type=bpe, which can encode every text."
            )
        return ids.tolist()

    def decode_text(self, ids: list[int]) -> str:
        """Return the character of each id."""
        return self._codes_V[np.asarray(ids, dtype=np.int64)].tobytes().decode("utf-32-le")

    def save(self, folder: Path | str) -> None:
        """Write `folder/tokenizer.model`, byte for byte the file that this tokenizer was read from."""
        write_bytes(Path(folder) / "tokenizer.model", self._bytes)


def _codes(text: str) -> np.ndarray:
    """Return the code point of each character. Lone surrogates are allowed; the caller must reject them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _name(character: str) -> str:
    return f"{character!r} (U+{ord(character):04X})"


def _read(data: bytes, file: Path | str) -> str:
    try:
        content = json.loads(data)
        characters = content["characters"]
        if content["type"] != TYPE or not characters or len(set(characters)) < len(characters):
            raise ValueError
        characters.encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file} is not a vocabulary of characters, or is damaged. Copy it again, or prepare the data again."
        ) from error
    return str(characters)
