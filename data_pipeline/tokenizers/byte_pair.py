"""GPT-2's byte pairs (Radford et al. 2019, section 2.2): merges of bytes, so no text is unknown. tiktoken runs them.

The file is JSON and complete, so a model folder needs no network:
`{"type": "byte-pairs", "pattern": …, "ranks": [tokens in base64, in order of their ids], "special": {name: id}}`.
A token was made by merging two tokens before it, so the merges need not be stored: `merges_of` finds them.
"""

import base64
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import InputError

TYPE = "byte-pairs"
END = "<|endoftext|>"

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # no merge crosses a match

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_NAMES = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
"""The characters that stand for bytes in GPT-2's vocab.json and merges.txt."""

Ranks = dict[bytes, int]


class BytePairTokenizer:
    """Running text to ids and back: `decode_text(encode_text(x)) == x`.

    Raises FileNotFoundError where the file is missing, ValueError where it is no such vocabulary or tiktoken is
    not installed.
    """

    def __init__(self, file: Path | str) -> None:
        self._bytes = Path(file).read_bytes()
        pattern, self._ranks, self._special = _read(self._bytes, file)
        self._encoding: Any = _tiktoken().Encoding(
            "byte-pairs", pat_str=pattern, mergeable_ranks=self._ranks, special_tokens=self._special
        )
        self.vocab_size: int = len(self._ranks) + len(self._special)
        self.end_id: int | None = self._special[END]

    @classmethod
    def gpt2(cls, out_file: Path | str) -> "BytePairTokenizer":
        """Writes GPT-2's vocabulary, which tiktoken downloads once, to `out_file`.

        Raises ConnectionError where the download fails.
        """
        try:
            encoding = _tiktoken().get_encoding("gpt2")
        except OSError as error:
            raise ConnectionError(
                f"tiktoken could not download GPT-2's vocabulary ({type(error).__name__}): let TIKTOKEN_CACHE_DIR name "
                f"a folder it was downloaded to before, or convert a GPT-2 folder that has vocab.json and merges.txt"
            ) from error
        _write(out_file, encoding._mergeable_ranks, encoding._special_tokens)
        return cls(out_file)

    @classmethod
    def from_gpt2_files(
        cls, vocab_json: Path | str, merges_txt: Path | str, out_file: Path | str
    ) -> "BytePairTokenizer":
        """Writes the vocabulary of GPT-2's two files, as Hugging Face keeps them, to `out_file`.

        Raises ValueError where they do not belong together, or tiktoken, which knows no merges but only the
        order of the tokens, would merge otherwise.
        """
        vocab, merges = _read_vocab(vocab_json), _read_merges(merges_txt)
        names = [*BYTE_NAMES.values(), *(first + second for first, second in merges)]
        if set(names) | {END} != set(vocab):
            odd = sorted((set(names) | {END}) ^ set(vocab))
            raise InputError(
                f"{vocab_json} and {merges_txt} do not belong together: {len(odd)} tokens, such as {odd[0]!r}, are in "
                f"one of them only (256 bytes, every merge and {END} must be in the vocabulary, and nothing else)"
            )
        bytes_of = {name: byte for byte, name in BYTE_NAMES.items()}
        ranks = {bytes(bytes_of[c] for c in name): vocab[name] for name in names}
        try:
            same = merges_of(ranks) == merges
        except ValueError:
            same = False
        if not same:
            raise InputError(f"the tokens of {vocab_json} are not numbered in the order of the merges in {merges_txt}")
        _write(out_file, ranks, {END: vocab[END]})
        return cls(out_file)

    def vocab_and_merges(self) -> tuple[dict[str, int], list[str]]:
        """What GPT-2's vocab.json holds, and the lines of its merges.txt after the first, `#version: 0.2`."""
        vocab = {_name(token): rank for token, rank in self._ranks.items()} | self._special
        merges = [f"{first} {second}" for first, second in merges_of(self._ranks)]
        return dict(sorted(vocab.items(), key=lambda item: item[1])), merges

    @property
    def document_start(self) -> int:
        """What stands before a document: the end of the one before it."""
        return self._special[END]

    def encode_text(self, text: str, goes_on: bool = False) -> list[int]:
        """The ids of the text, wherever it stands. The name of a special token, such as <|endoftext|>, is text like
        any other; half a surrogate pair becomes U+FFFD.

        Raises ValueError where tiktoken cannot divide the text, as with a million blanks in a row.
        """
        try:
            ids: list[int] = self._encoding.encode_ordinary(text)
        except BaseException as error:  # how a failure in Rust arrives; its class cannot be imported
            if type(error).__name__ != "PanicException":
                raise
            raise InputError(
                f"tiktoken cannot divide a text of {len(text)} characters: does it have a run of a million blanks? "
                f"Shorten the run"
            ) from error
        return ids

    def decode_text(self, ids: list[int]) -> str:
        """The text of any stretch of ids. Special tokens are left out; bytes that are no UTF-8, such as half a
        character at either end, become U+FFFD."""
        special = self._special.values()
        text: str = self._encoding.decode([token for token in ids if token not in special], errors="replace")
        return text

    def save(self, folder: Path | str) -> None:
        """Writes `folder/tokenizer.model`, byte for byte the file this tokenizer was read from."""
        (Path(folder) / "tokenizer.model").write_bytes(self._bytes)


def merges_of(ranks: Ranks) -> list[tuple[str, str]]:
    """The merges that a vocabulary was learned by, in order, in the characters of merges.txt: the two parts that
    all merges before a token leave of it. Raises ValueError where they leave more than two."""
    merges = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) == 1:
            continue
        parts = _merge(token, ranks)
        if len(parts) != 2:
            raise InputError(f"the token {_name(token)!r} is not a merge of two tokens before it")
        merges.append((_name(parts[0]), _name(parts[1])))
    return merges


def _merge(token: bytes, ranks: Ranks) -> list[bytes]:
    """What is left of a token's bytes after every merge of lower rank; the lowest is made first, then the leftmost."""
    parts = [token[i : i + 1] for i in range(len(token))]
    limit = ranks[token]
    while True:
        rank, i = min((ranks.get(a + b, limit), i) for i, (a, b) in enumerate(pairwise(parts)))
        if rank >= limit:
            return parts
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def _name(token: bytes) -> str:
    return "".join(BYTE_NAMES[byte] for byte in token)


def _read(data: bytes, file: Path | str) -> tuple[str, Ranks, dict[str, int]]:
    """The pattern, the rank of each token and the special tokens of a file."""
    try:
        content = json.loads(data)
        pattern, special = str(content["pattern"]), dict(content["special"])
        tokens = [base64.b64decode(token, validate=True) for token in content["ranks"]]
        size = len(tokens) + len(special)
        ids = [i for i in range(size) if i not in special.values()]
        ranks = dict(zip(tokens, ids, strict=True))
        complete = END in special and len(ranks) == len(tokens) and {bytes([byte]) for byte in range(256)} <= set(ranks)
        if content["type"] != TYPE or not complete:
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is no vocabulary of byte pairs, or it is damaged: write it again from GPT-2's vocabulary"
        ) from error
    return pattern, ranks, special


def _write(file: Path | str, ranks: Ranks, special: dict[str, int]) -> None:
    """Raises ValueError where the ids leave a gap: each must be the id of one token."""
    if sorted([*ranks.values(), *special.values()]) != list(range(len(ranks) + len(special))):
        raise InputError(f"the ids of the vocabulary must be 0 … {len(ranks) + len(special) - 1}, each once")
    tokens = [base64.b64encode(token).decode() for token in sorted(ranks, key=ranks.__getitem__)]
    content = {"type": TYPE, "pattern": GPT2_PATTERN, "ranks": tokens, "special": special}
    Path(file).write_text(json.dumps(content) + "\n", encoding="utf-8")


def _read_vocab(file: Path | str) -> dict[str, int]:
    try:
        vocab = json.loads(Path(file).read_bytes())
    except ValueError as error:
        raise InputError(f"{file} is not JSON: it should be GPT-2's vocab.json") from error
    if not isinstance(vocab, dict) or not all(isinstance(token, int) for token in vocab.values()):
        raise InputError(f"{file} should be GPT-2's vocab.json: one JSON object that gives each token its id")
    return vocab


def _read_merges(file: Path | str) -> list[tuple[str, str]]:
    merges = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").split("\n"), start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        first, space, second = line.partition(" ")
        if not (first and space and second) or " " in second:
            raise InputError(f"{file}, line {number}: {line!r} should be the two tokens of a merge, divided by a space")
        merges.append((first, second))
    return merges


def _tiktoken() -> ModuleType:
    try:
        import tiktoken
    except ImportError as error:
        raise InputError('GPT-2\'s byte pairs need tiktoken: pip install "paper-transformer[gpt2]"') from error
    return tiktoken
