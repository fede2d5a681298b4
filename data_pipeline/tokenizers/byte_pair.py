"""GPT-2's byte-pair encoding (Radford et al. 2019, section 2.2), run by Hugging Face's library `tokenizers`.

The vocabulary contains all 256 bytes, so no text needs an unknown token. The file is a `tokenizer.json` of that
library. It contains the vocabulary and the merges, so a model folder needs no network.
"""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import InputError
from common.files import read_json, read_small, write_bytes, write_text
from common.text_input import read_lines

END = "<|endoftext|>"
RANKS_TYPE = "byte-pairs"
"""The "type" of the JSON files that earlier versions wrote. They are still read."""
HUB_NAME = "openai-community/gpt2"
GPT2_VOCAB_SIZE = 50257

PART = 1 << 14
"""Characters after which a text may be split, so that its parts are encoded in parallel."""
_LINE_END = re.compile(r"(?<=[!-~])(?=\n)")

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_NAMES = {byte: chr(byte) for byte in _PRINTABLE} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}
"""The character that stands for each byte in GPT-2's vocab.json and merges.txt."""

_SETTINGS = {
    ("model", "type"): "BPE",
    ("model", "dropout"): None,
    ("model", "byte_fallback"): False,
    ("model", "ignore_merges"): False,
    ("model", "continuing_subword_prefix"): "",
    ("model", "end_of_word_suffix"): "",
    ("pre_tokenizer", "type"): "ByteLevel",
    ("pre_tokenizer", "add_prefix_space"): False,
    ("pre_tokenizer", "use_regex"): True,
}
"""Settings of a tokenizer.json that decide how text is tokenized, with GPT-2's values."""

Vocabulary = dict[str, int]
Merges = list[tuple[str, str]]


class BytePairTokenizer:
    """Text to ids and back, with `decode_text(encode_text(x)) == x`.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: the file contains no vocabulary of this kind, or the library `tokenizers` is not installed.
    """

    def __init__(self, file: Path | str) -> None:
        self._bytes = read_small(Path(file))
        self._vocab, self._merges = _read(self._bytes, Path(file))
        self._tokenizer = _make_tokenizer(self._vocab, self._merges)
        self.vocab_size: int = len(self._vocab)
        self.end_id: int | None = self._vocab[END]

    @classmethod
    def from_gpt2_folder(cls, folder: Path, vocab_size: int, out_file: Path) -> "BytePairTokenizer":
        """Write the vocabulary of a GPT-2 folder of `transformers` to `out_file`.

        Reads vocab.json and merges.txt, or tokenizer.json if one of these is missing. If all are missing and the
        model has GPT-2's vocabulary size, downloads GPT-2's vocabulary.

        Args:
            vocab_size: vocabulary size of the model in the folder.

        Raises:
            FileNotFoundError: the folder has no vocabulary.
            InputError: the vocabulary is damaged, not of GPT-2's kind, or of another size.
        """
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            tokenizer = cls._write(*_read_gpt2_files(folder), out_file)
        elif (folder / "tokenizer.json").is_file():
            file = folder / "tokenizer.json"
            tokenizer = cls._write(*_read(read_small(file), file), out_file)
        elif vocab_size == GPT2_VOCAB_SIZE:
            tokenizer = cls.gpt2(out_file)
        else:
            raise FileNotFoundError(
                f"{folder} has no vocabulary. Put vocab.json and merges.txt, or tokenizer.json, next to the weights."
            )
        if tokenizer.vocab_size != vocab_size:
            raise InputError(
                f"the vocabulary in {folder} has {tokenizer.vocab_size} tokens but the model has {vocab_size}. "
                f"Put the vocabulary of this model into the folder."
            )
        return tokenizer

    @classmethod
    def gpt2(cls, out_file: Path) -> "BytePairTokenizer":
        """Write GPT-2's own vocabulary to `out_file`. It comes from the Hugging Face Hub or the Hub's local cache.

        Raises ConnectionError if the download fails.
        """
        from huggingface_hub import hf_hub_download

        try:
            files = [Path(hf_hub_download(HUB_NAME, name)) for name in ("vocab.json", "merges.txt")]
        except OSError as error:  # all errors of the Hub's client are OSErrors
            raise ConnectionError(
                f"GPT-2's vocabulary ({HUB_NAME}) could not be downloaded from the Hugging Face Hub "
                f"({type(error).__name__}). Connect to the network once, set HF_HOME to a cache that contains "
                f"it, or set data.tokenizer to a model folder that was converted from GPT-2."
            ) from error
        return cls._write(*_read_gpt2_files(files[0].parent), out_file)

    @classmethod
    def _write(cls, vocab: Vocabulary, merges: Merges, out_file: Path) -> "BytePairTokenizer":
        write_text(out_file, _make_tokenizer(vocab, merges).to_str() + "\n")
        return cls(out_file)

    def write_gpt2_files(self, folder: Path | str) -> None:
        """Write `folder/vocab.json` and `folder/merges.txt`, which GPT-2's tokenizer in `transformers` reads."""
        vocab = dict(sorted(self._vocab.items(), key=lambda item: item[1]))
        lines = ["#version: 0.2", *(f"{first} {second}" for first, second in self._merges), ""]
        write_text(Path(folder) / "vocab.json", json.dumps(vocab, ensure_ascii=False) + "\n")
        write_text(Path(folder) / "merges.txt", "\n".join(lines))

    @property
    def document_start(self) -> int:
        """The token before a document: the token that ends documents."""
        return self._vocab[END]

    @property
    def first_subword(self) -> int:
        """First id of a subword."""
        return 0

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """Return the ids of the text, which do not depend on `continues_line`.

        The name of the end token, <|endoftext|>, is encoded like any other text. A lone surrogate becomes U+FFFD.
        """
        if not text.isascii():
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        encodings = self._tokenizer.encode_batch_fast(_split(text), add_special_tokens=False)  # uses all CPU cores
        return [token for encoding in encodings for token in encoding.ids]

    def decode_text(self, ids: list[int]) -> str:
        """Return the text of any ids. The end token gives no text, and bytes that are not UTF-8 become U+FFFD."""
        text: str = self._tokenizer.decode([token for token in ids if token != self.end_id])
        return text

    def save(self, folder: Path | str) -> None:
        """Write `folder/tokenizer.model`, byte for byte the file that this tokenizer was read from."""
        write_bytes(Path(folder) / "tokenizer.model", self._bytes)


def _split(text: str) -> list[str]:
    """Return consecutive parts of the text, which together have the tokens of the whole text.

    A part ends before a line break that follows a visible ASCII character. No token contains both, because white space
    can only be at the start of a token.
    """
    ends = [match.start() for start in range(PART, len(text), PART) if (match := _LINE_END.search(text, start))]
    bounds = [0, *sorted(set(ends)), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


def _make_tokenizer(vocab: Vocabulary, merges: Merges) -> Any:
    library = _tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.add_special_tokens([library.AddedToken(END, special=True, normalized=False)])
    tokenizer.encode_special_tokens = True  # so that its name in a text is text
    return tokenizer


def _read(data: bytes, file: Path) -> tuple[Vocabulary, Merges]:
    """Return the vocabulary and the merges in a tokenizer.json, or in a file of RANKS_TYPE."""
    try:
        content = json.loads(data)
        if content.get("type") == RANKS_TYPE:
            vocab, merges = _read_ranks(content)
        else:
            vocab, merges = _read_tokenizer_json(content, file)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file} does not contain a byte-pair vocabulary, or is damaged. Convert the GPT-2 folder again "
            f"(python -m transformer.convert --from gpt2), or prepare the data again."
        ) from error
    _check(vocab, merges, str(file))
    return vocab, merges


def _read_tokenizer_json(content: dict[str, Any], file: Path) -> tuple[Vocabulary, Merges]:
    model = content["model"]
    for (section, name), value in _SETTINGS.items():
        found = content[section].get(name, value)
        if found != value and not (found is None and not value):  # null stands for "" and false
            raise InputError(
                f"{file} does not tokenize text as GPT-2 does: {section}.{name} is {found!r}, not {value!r}. "
                f"Only GPT-2's byte-pair encoding is supported."
            )
    if content.get("normalizer") is not None:
        raise InputError(
            f"{file} does not tokenize text as GPT-2 does: it has a normalizer. "
            f"Only GPT-2's byte-pair encoding is supported."
        )
    added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    if not all(len(merge) == 2 and all(isinstance(name, str) and name for name in merge) for merge in merges):
        raise ValueError("a merge that does not have two tokens")
    return dict(model["vocab"]) | added, merges


def _check(vocab: Vocabulary, merges: Merges, source: str) -> None:
    """Raise InputError if the vocabulary is not exactly bytes, merges and the end token, or its ids have a gap."""
    if not all(isinstance(token, int) for token in vocab.values()):
        raise InputError(f"the vocabulary in {source} must give each token a whole number as its id")
    names = {*BYTE_NAMES.values(), *(first + second for first, second in merges), END}
    if odd := sorted((names ^ vocab.keys()) | ({part for merge in merges for part in merge} - vocab.keys())):
        raise InputError(
            f"the vocabulary and the merges in {source} do not belong together: {len(odd)} tokens, such as {odd[0]!r}, "
            f"are only in one of them. The vocabulary must contain the 256 bytes, the result of every merge and {END}, "
            f"and nothing else."
        )
    if set(vocab.values()) != set(range(len(vocab))):
        raise InputError(f"the ids of the vocabulary in {source} must be 0 to {len(vocab) - 1}, each exactly once")


def _read_gpt2_files(folder: Path) -> tuple[Vocabulary, Merges]:
    vocab_json, merges_txt = folder / "vocab.json", folder / "merges.txt"
    vocab, merges = _read_vocab(vocab_json), _read_merges(merges_txt)
    _check(vocab, merges, f"{vocab_json} and {merges_txt}")
    return vocab, merges


def _read_vocab(file: Path) -> Vocabulary:
    vocab = read_json(file)
    if not isinstance(vocab, dict):
        raise InputError(f"{file} is not GPT-2's vocab.json: it must be one JSON object that gives each token its id")
    return vocab


def _read_merges(file: Path) -> Merges:
    merges = []
    for number, line in enumerate(read_lines(file), start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        first, space, second = line.partition(" ")
        if not (first and space and second) or " " in second:
            raise InputError(f"{file}, line {number}: {line!r} must be the two tokens of a merge, separated by a space")
        merges.append((first, second))
    return merges


def _read_ranks(content: dict[str, Any]) -> tuple[Vocabulary, Merges]:
    """Read `{"type": RANKS_TYPE, "ranks": [tokens in base64, in the order of their ids], "special": {END: id}}`.

    The file has no merges: each token is the merge of the two tokens that all earlier merges leave of it.
    """
    tokens = [base64.b64decode(token, validate=True) for token in content["ranks"]]
    end_id = int(content["special"].pop(END))
    if content["special"]:
        raise ValueError("a second special token")
    ids = [i for i in range(len(tokens) + 1) if i != end_id]
    ranks = dict(zip(tokens, ids, strict=True))
    merges = [_last_merge(token, ranks) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
    return {_name(token): rank for token, rank in ranks.items()} | {END: end_id}, merges


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> tuple[str, str]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        rank, i = min((ranks.get(a + b, ranks[token]), i) for i, (a, b) in enumerate(pairwise(parts)))
        if rank >= ranks[token]:
            raise ValueError(f"{_name(token)!r} is not a merge of two earlier tokens")
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return _name(parts[0]), _name(parts[1])


def _name(token: bytes) -> str:
    return "".join(BYTE_NAMES[byte] for byte in token)


def _tokenizers() -> ModuleType:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError("GPT-2's byte pairs need the package tokenizers: pip install tokenizers") from error
    return tokenizers
