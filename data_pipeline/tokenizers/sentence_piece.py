"""Section 5.1: one SentencePiece vocabulary for both languages. The only home of the special ids."""

import io
import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

import sentencepiece

from common.errors import InputError

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3

SPACE_MARK = "\u2581"  # SentencePiece writes a space as this character
TRAIN_CHARACTERS = 1000  # of a line are learned from; SentencePiece leaves out lines over 4,192 bytes
TRAIN_THREADS = 16  # a constant, not the machine's: it is recorded in the model and moves unigram's sums

_SURROGATE = re.compile("[\ud800-\udfff]")


def normalize(text: str) -> str:
    """Unicode NFC without white space at either end: the text as every part of the project sees it.

    SentencePiece's own rules rewrite text ("…" to "...", a tab to a space) and are switched off.
    Half a surrogate pair, which no UTF-8 file can hold but JSON and a command line can, becomes U+FFFD.
    """
    return _compose(text).strip()


def _compose(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))


def json_type(data: bytes) -> str | None:
    """Return the type of a tokenizer file that is JSON, or None if the bytes are something else.

    A tokenizer.json of Hugging Face's `tokenizers` has the type "byte-pairs", all other files name their type.
    """
    if not data.startswith(b"{"):
        return None
    try:
        content = json.loads(data)
        return "byte-pairs" if "model" in content else str(content["type"])
    except (ValueError, KeyError, RecursionError):
        return None


class Tokenizer:
    """Raw text to ids and back: `decode(encode([x])) == [normalize(x)]`, and `UNK_ID` never occurs.

    `encode` and `decode` are for sentences, which lose the white space around them; `encode_text` and
    `decode_text` are for running text, which keeps all of its own.

    Raises FileNotFoundError where the file is missing, ValueError where it is no SentencePiece model or its
    special ids are not this project's.
    """

    end_id: int | None = EOS_ID

    def __init__(self, model_file: Path | str) -> None:
        self._bytes = Path(model_file).read_bytes()
        if kind := json_type(self._bytes):
            raise InputError(
                f"{model_file} is a tokenizer of running text ({kind}), not for sentence pairs: "
                f"translation needs a SentencePiece model"
            )
        if not self._bytes:
            raise InputError(f"{model_file} is not a SentencePiece model: it is empty")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=self._bytes)
        except RuntimeError as error:
            raise InputError(f"{model_file} is not a SentencePiece model") from error
        self.vocab_size: int = self._model.vocab_size()
        special = (self._model.pad_id(), self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        self._byte_ids = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        if special != (PAD_ID, UNK_ID, BOS_ID, EOS_ID) or UNK_ID in self._byte_ids:
            raise InputError(
                f"{model_file} was not made by this project: its pad, unk, bos and eos are {special} instead "
                f"of {(PAD_ID, UNK_ID, BOS_ID, EOS_ID)}, or it has no byte fallback"
            )

    def encode(self, texts: list[str], threads: int = 1) -> list[list[int]]:
        """The ids of each text, ending in `EOS_ID`; the text is normalised first.

        Training and translating use this and nothing else.
        """
        return self._encode([normalize(text) for text in texts], add_eos=True, threads=threads)

    def decode(self, ids: list[list[int]]) -> list[str]:
        """The text of each sequence; `PAD_ID`, `BOS_ID` and `EOS_ID` are left out. Bytes that are no UTF-8 (a
        model can emit them) become U+FFFD."""
        special = {PAD_ID, BOS_ID, EOS_ID}
        texts: list[str] = self._model.decode([[i for i in row if i not in special] for row in ids])
        return texts

    @property
    def document_start(self) -> int:
        """What stands before a document of running text: the end of the one before it."""
        return EOS_ID

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """The ids of running text, nothing added at either end: `decode_text` gives it back in Unicode NFC, its
        white space and line ends included.

        SentencePiece encodes the lines, each on its own; "\\n" between them is its byte. It puts a space before
        each; before a text that goes on in the middle of a line there is none.
        """
        first, *lines = _compose(text).split("\n")
        ids = self._encode_rest_of_line(first) if continues_line else self._encode([first], add_eos=False, threads=1)[0]
        for line in self._encode(lines, add_eos=False, threads=1):
            ids.append(self._byte_ids[ord("\n")])
            ids += line
        return ids

    def decode_text(self, ids: list[int]) -> str:
        """The running text of any stretch of ids. `PAD_ID`, `BOS_ID` and `EOS_ID` are left out; `UNK_ID` and bytes
        that are no UTF-8, such as half a character at either end, become U+FFFD.

        SentencePiece puts a space before a line, which is taken away again. So a stretch that starts in the
        middle of a line loses the space before its first word.
        """
        pieces = self._piece_bytes
        text = b"".join([pieces[token] for token in ids])
        return text.replace(b"\n ", b"\n").removeprefix(b" ").decode("utf-8", errors="replace")

    def save(self, folder: Path | str) -> None:
        """Writes `folder/tokenizer.model`, byte for byte the file this tokenizer was read from."""
        (Path(folder) / "tokenizer.model").write_bytes(self._bytes)

    @cached_property
    def _piece_bytes(self) -> list[bytes]:
        """What each id stands for in running text."""
        pieces: list[str] = self._model.id_to_piece(list(range(self.vocab_size)))
        table = [piece.replace(SPACE_MARK, " ").encode() for piece in pieces]
        for byte, token in enumerate(self._byte_ids):
            table[token] = bytes([byte])
        table[PAD_ID] = table[BOS_ID] = table[EOS_ID] = b""
        table[UNK_ID] = "\ufffd".encode()
        return table

    def _encode(self, texts: list[str], add_eos: bool, threads: int) -> list[list[int]]:
        """The ids of each text as it stands."""
        encoded: list[list[int]] = self._model.encode(texts, out_type=int, add_eos=add_eos, num_threads=threads)
        for row, text in enumerate(texts):
            if SPACE_MARK in text:
                encoded[row] = self._encode_space_mark(text, add_eos)
        return encoded

    def _encode_rest_of_line(self, text: str) -> list[int]:
        # SentencePiece's space comes before an unknown character, which falls back to bytes and joins with nothing.
        unused = self._unused(text)
        ids, mark = self._encode([unused + text], add_eos=False, threads=1)[0], self._bytes_of(unused)
        end = next(i for i in range(len(ids)) if ids[i : i + len(mark)] == mark) + len(mark)
        return ids[end:]

    def _unused(self, text: str) -> str:
        """A character that neither the vocabulary nor the text has."""
        return next(c for c in map(chr, range(0xE000, 0xF900)) if self._is_unknown(c) and c not in text)

    def _encode_space_mark(self, text: str, add_eos: bool) -> list[int]:
        # SentencePiece would take the character for a space. So encode in its place an unknown character,
        # which falls back to bytes, and exchange the bytes.
        unused = self._unused(text)
        ids: list[int] = self._model.encode(text.replace(SPACE_MARK, unused), out_type=int, add_eos=add_eos)
        wrong, right = self._bytes_of(unused), self._bytes_of(SPACE_MARK)
        out: list[int] = []
        for token in ids:
            out.append(token)
            if out[-len(wrong) :] == wrong:
                out[-len(wrong) :] = right
        return out

    def _is_unknown(self, character: str) -> bool:
        return bool(self._model.piece_to_id(character) == UNK_ID)

    def _bytes_of(self, character: str) -> list[int]:
        return [self._byte_ids[byte] for byte in character.encode()]


def train_tokenizer(
    texts: Iterator[str], out_file: Path, vocab_size: int, model_type: Literal["bpe", "unigram"] = "bpe"
) -> Tokenizer:
    """Learns a vocabulary of exactly `vocab_size` pieces from `texts`, which must be training text only, and
    writes it to `out_file`. The same texts give the same bytes.

    A character too rare for the vocabulary is spelled in bytes, so no text needs an unknown piece.
    Raises ValueError where the texts are empty or the size is too large or too small for them, and whatever
    `texts` raises.
    """
    model = io.BytesIO()
    failed: list[BaseException] = []
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, failed),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocab_size,
            pad_id=PAD_ID,
            unk_id=UNK_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            byte_fallback=True,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            num_threads=TRAIN_THREADS,
            minloglevel=2,
        )
    except RuntimeError as error:
        if failed:
            raise failed[0] from None
        raise InputError(_explain(str(error), vocab_size)) from error
    out_file.write_bytes(model.getvalue())
    return Tokenizer(out_file)


def _lines(texts: Iterator[str], failed: list[BaseException]) -> Iterator[str]:
    """What is learned from. An exception also goes to `failed`: SentencePiece would keep only its name."""
    try:
        for text in texts:
            yield normalize(text)[:TRAIN_CHARACTERS]
    except GeneratorExit:  # SentencePiece has read enough
        raise
    except BaseException as error:
        failed.append(error)
        raise


def _explain(message: str, vocab_size: int) -> str:
    if found := re.search(r"size too high.*<= (\d+)", message):
        return (
            f"data.vocab_size is {vocab_size}, but this training text gives at most {found[1]} pieces: "
            f"set it to {found[1]} or less, or add text"
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"data.vocab_size is {vocab_size}, but 256 bytes, the special ids and the characters of this "
            f"training text already need {found[1]}: set it to {found[1]} or more"
        )
    if "sentences_.empty()" in message:
        return "there is no text to learn a vocabulary from: every training sentence is empty"
    return f"SentencePiece could not learn a vocabulary of {vocab_size} pieces: {message.strip()}"
