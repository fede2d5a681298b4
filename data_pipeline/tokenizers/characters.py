"""A vocabulary of single characters: the smallest tokenizer of running text, and it needs no library.

Its file is JSON: `{"type": "characters", "characters": "\\n !…"}`; the id of a character is its place there.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.errors import InputError

TYPE = "characters"

CODE_POINTS = 0x110000  # Unicode has no more


class CharTokenizer:
    """Running text to ids and back: `decode_text(encode_text(x)) == x`. No id is reserved.

    Raises FileNotFoundError where the file is missing, ValueError where it is no such vocabulary.
    """

    end_id: int | None = None
    """The vocabulary is the characters of the text, so none of them can mark its end."""

    def __init__(self, file: Path | str) -> None:
        self._bytes = Path(file).read_bytes()
        self._codes_V = _codes(_read(self._bytes, file))
        self.vocab_size: int = len(self._codes_V)
        self._ids = np.full(CODE_POINTS, -1, dtype=np.int32)  # by code point; -1: not in the vocabulary
        self._ids[self._codes_V] = np.arange(self.vocab_size)

    @classmethod
    def learn(cls, texts: Iterable[str], out_file: Path | str) -> "CharTokenizer":
        """Writes the vocabulary of the training texts to `out_file`: exactly their characters, sorted by code
        point. "\\n" is always one of them, because it joins documents.

        Raises ValueError where there is no text, or it has half a surrogate pair, which no file can hold.
        """
        found: set[str] = set()
        for text in texts:
            found.update(text)
        if not found:
            raise InputError("there is no text to learn characters from: every training text is empty")
        characters = "".join(sorted(found | {"\n"}))
        if broken := [c for c in characters if "\ud800" <= c <= "\udfff"]:
            raise InputError(f"the training text has {_name(broken[0])}, half of a surrogate pair: repair its encoding")
        content = json.dumps({"type": TYPE, "characters": characters}, ensure_ascii=False)
        Path(out_file).write_text(content + "\n", encoding="utf-8")
        return cls(out_file)

    @property
    def document_start(self) -> int:
        """What stands before a document: a line break, since no character marks its end."""
        return self.encode_text("\n")[0]

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """The id of each character, wherever the text stands. Raises ValueError at the first that is unknown."""
        ids = self._ids[_codes(text)]
        if len(unknown := np.flatnonzero(ids < 0)):
            at = int(unknown[0])
            raise InputError(
                f"the text has {_name(text[at])} (in {text[max(0, at - 15) : at + 16]!r}), which is not one of the "
                f"{self.vocab_size} characters of the vocabulary: take it out or replace it, or train with a "
                f"vocabulary that spells every text in bytes"
            )
        return ids.tolist()

    def decode_text(self, ids: list[int]) -> str:
        """The character of each id."""
        return self._codes_V[np.asarray(ids, dtype=np.int64)].tobytes().decode("utf-32-le")

    def save(self, folder: Path | str) -> None:
        """Writes `folder/tokenizer.model`, byte for byte the file this tokenizer was read from."""
        (Path(folder) / "tokenizer.model").write_bytes(self._bytes)


def _codes(text: str) -> np.ndarray:
    """The code point of each character. A lone surrogate is one too: it is for the caller to refuse."""
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no vocabulary of characters, or it is damaged: prepare the data again") from error
    return str(characters)
