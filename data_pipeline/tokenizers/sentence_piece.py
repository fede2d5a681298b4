"""Section 5.1: one SentencePiece vocabulary for both languages. Only this file defines the special ids."""

import io
import json
import re
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import sentencepiece

from common.directions import language_tag
from common.errors import InputError
from common.files import read_small, write_bytes
from common.text import compose, replace_surrogates, unify
from data_pipeline.tokenizers.bpe_dropout import BpeDropout

PAD_ID, UNK_ID, BOS_ID, EOS_ID = 0, 1, 2, 3

SPACE_MARK = "\u2581"
"""Character that SentencePiece writes for a space."""
TRAIN_CHARACTERS = 1000
"""Characters of a line that are used for training. SentencePiece skips lines of more than 4,192 bytes."""
TRAIN_THREADS = 16
"""A constant, because the model file contains it, and because the sums of unigram training depend on it."""


def normalize(text: str, unicode: bool = True) -> str:
    """Return the text as it is encoded: `unify`, without white space at its start and end.

    All parts of the project use this form. The rules of SentencePiece itself are switched off, because they change text
    ("…" to "...", a tab to a space). With `unicode` False, only the white space at both ends and lone surrogates change
    (`data.normalize_unicode`).
    """
    return (unify(text) if unicode else replace_surrogates(text)).strip()


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


class VocabularySizeError(InputError):
    """The text does not allow this vocabulary size."""

    def __init__(self, message: str, possible: int) -> None:
        super().__init__(message)
        self.possible = possible
        """The nearest size that the text allows."""


class Tokenizer:
    """Text to ids and back: `decode(encode([x])) == [self.normalize(x)]`, and `encode` never returns UNK_ID.

    `encode` and `decode` are for sentences and remove white space around them. `encode_text` and `decode_text` are for
    language modelling and keep all white space.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: the file is damaged, not a SentencePiece model, or has other special ids.
    """

    end_id: int | None = EOS_ID
    """Token that ends a document."""
    encodes_all = True

    def __init__(self, model_file: Path | str, normalize_unicode: bool = True) -> None:
        self.normalize_unicode = normalize_unicode
        self._bytes = read_small(Path(model_file))
        if kind := json_type(self._bytes):
            raise InputError(f"{model_file} is a tokenizer of the type {kind}. This needs one SentencePiece model.")
        if not self._bytes:
            raise InputError(f"{model_file} is not a SentencePiece model: the file is empty")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=self._bytes)
            self.vocab_size: int = self._model.vocab_size()
            self.pieces: list[str] = self._model.id_to_piece(list(range(self.vocab_size)))
        except (RuntimeError, UnicodeDecodeError) as error:
            raise InputError(f"{model_file} is not a SentencePiece model, or is damaged. Copy it again.") from error
        special = (self._model.pad_id(), self._model.unk_id(), self._model.bos_id(), self._model.eos_id())
        self._byte_ids = [self._model.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        if special != (PAD_ID, UNK_ID, BOS_ID, EOS_ID) or UNK_ID in self._byte_ids:
            raise InputError(
                f"{model_file} was not trained by this project: the ids of pad, unk, bos and eos must be "
                f"{(PAD_ID, UNK_ID, BOS_ID, EOS_ID)}, not {special}, and the vocabulary must contain all bytes"
            )
        self.tag: list[int] = []

    def for_target(self, language: str) -> Self:
        """Return a tokenizer whose `encode` begins each source with the tag of this language.

        Raises InputError if the vocabulary has no such tag.
        """
        tag = self._model.piece_to_id(language_tag(language))
        if tag not in self.tags:
            known = ", ".join(self.pieces[tag] for tag in self.tags) or "none"
            raise InputError(
                f"the vocabulary has no tag {language_tag(language)} for translations to {language}; its tags: "
                f"{known}. Use a vocabulary that was trained with these directions, or leave out data.tokenizer"
            )
        changed = copy(self)
        changed.tag = [tag]
        return changed

    @cached_property
    def tags(self) -> range:
        """Ids of the tags of target languages. No text is encoded as one of them."""
        first = EOS_ID + 1
        count = sum(map(self._model.is_control, range(first, min(self._byte_ids))))
        return range(first, first + count)  # SentencePiece puts them before words that are never split

    def encode(self, texts: list[str], threads: int = 1) -> list[list[int]]:
        """Return the ids of each source, with EOS_ID at the end. The text is normalised first.

        Training and translation use only this method. With `for_target`, the tag is the first id, except of an empty
        text.
        """
        encoded = self._encode([self.normalize(text) for text in texts], add_eos=True, threads=threads)
        return [[*self.tag, *ids] if ids != [EOS_ID] else ids for ids in encoded] if self.tag else encoded

    def encode_target(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each target, with EOS_ID at the end. Both languages have one vocabulary."""
        return self._encode([self.normalize(text) for text in texts], add_eos=True, threads=1)

    @property
    def models(self) -> tuple[bytes, bytes]:
        """Content of the SentencePiece files of source and target, which are the same."""
        return self._bytes, self._bytes

    def bpe_dropout(self, dropout: float) -> BpeDropout:
        """Return BPE-dropout with these subwords. Raises InputError if they are not those of byte-pair encoding."""
        first, ids = self.first_subword, {piece: token for token, piece in enumerate(self.pieces)}
        scores = {piece: self._model.get_score(first + i) for i, piece in enumerate(self.pieces[first:])}
        if not all(score.is_integer() for score in scores.values()):
            raise InputError("data.bpe_dropout needs a vocabulary of byte-pair encoding, but this one is unigram")

        def encode_symbol(symbol: str) -> list[int]:
            return [ids[symbol]] if symbol in scores else self._bytes_of(symbol)

        return BpeDropout(
            scores, encode_symbol, dropout, {SPACE_MARK + word: i for word, i in self.whole_words.items()}
        )

    def normalize(self, text: str) -> str:
        """Return the text as `encode` encodes it."""
        return normalize(text, self.normalize_unicode)

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Return the text of each sequence. PAD_ID, BOS_ID and EOS_ID give no text.

        A translation model can predict bytes that are not UTF-8. They become U+FFFD.
        """
        special = {PAD_ID, BOS_ID, EOS_ID}
        texts: list[str] = self._model.decode([[i for i in row if i not in special] for row in ids])
        return texts

    @property
    def document_start(self) -> int:
        """Token before a document: the token that ends documents."""
        return EOS_ID

    @property
    def first_subword(self) -> int:
        """First id of a subword, after the special tokens, tags, the words that are never split, and the bytes."""
        return max(self._byte_ids) + 1

    @property
    def whole_words(self) -> dict[str, int]:
        """Words that are never split, such as the brackets of trees, with their ids."""
        ids = (token for token in range(EOS_ID + 1, min(self._byte_ids)) if token not in self.tags)
        return {self.pieces[token].removeprefix(SPACE_MARK): token for token in ids}

    def encode_text(self, text: str, continues_line: bool = False) -> list[int]:
        """Return the ids of a text, without other tokens before or after it.

        `decode_text` returns the text in Unicode NFC, with all its white space and line breaks. SentencePiece encodes
        each line separately and puts a space before it. A line break is encoded as its byte.

        Args:
            continues_line: the text follows another text in the same line, so no space is put before it.
        """
        first, *lines = compose(text).split("\n")
        ids = self._encode_rest_of_line(first) if continues_line else self._encode([first], add_eos=False, threads=1)[0]
        for line in self._encode(lines, add_eos=False, threads=1):
            ids.append(self._byte_ids[ord("\n")])
            ids += line
        return ids

    def decode_text(self, ids: list[int]) -> str:
        """Return the text of any consecutive ids. PAD_ID, BOS_ID and EOS_ID give no text.

        UNK_ID and bytes that are not UTF-8, such as an incomplete character at the start or end, become U+FFFD. The
        space that SentencePiece puts before each line is removed. So if the ids start in the middle of a line, the
        space before the first word is lost.
        """
        table = self._piece_bytes
        text = b"".join([table[token] for token in ids])
        return text.replace(b"\n ", b"\n").removeprefix(b" ").decode("utf-8", errors="replace")

    def save(self, folder: Path | str) -> None:
        """Write `folder/tokenizer.model`, byte for byte the file that this tokenizer was read from."""
        write_bytes(Path(folder) / "tokenizer.model", self._bytes)

    @cached_property
    def _piece_bytes(self) -> list[bytes]:
        """Return the bytes that each id stands for in `decode_text`."""
        table = [piece.replace(SPACE_MARK, " ").encode() for piece in self.pieces]
        for byte, token in enumerate(self._byte_ids):
            table[token] = bytes([byte])
        table[PAD_ID] = table[BOS_ID] = table[EOS_ID] = b""
        table[UNK_ID] = "\ufffd".encode()
        return table

    def _encode(self, texts: list[str], add_eos: bool, threads: int) -> list[list[int]]:
        """Return the ids of each text, which is not normalised."""
        encoded: list[list[int]] = self._model.encode(texts, out_type=int, add_eos=add_eos, num_threads=threads)
        for row, text in enumerate(texts):
            if SPACE_MARK in text:
                encoded[row] = self._encode_space_mark(text, add_eos)
        return encoded

    def _encode_rest_of_line(self, text: str) -> list[int]:
        # SentencePiece puts its space before an unknown character. It becomes bytes, which are removed again.
        unused = self._unused(text)
        ids, mark = self._encode([unused + text], add_eos=False, threads=1)[0], self._bytes_of(unused)
        end = next(i for i in range(len(ids)) if ids[i : i + len(mark)] == mark) + len(mark)
        return ids[end:]

    def _unused(self, text: str) -> str:
        """Return a character that is neither in the vocabulary nor in the text."""
        return next(c for c in map(chr, range(0xE000, 0xF900)) if self._is_unknown(c) and c not in text)

    def _encode_space_mark(self, text: str, add_eos: bool) -> list[int]:
        # SentencePiece would read the character as a space. Encode an unknown character instead, which becomes bytes,
        # and replace the bytes.
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
    texts: Iterator[str],
    out_file: Path,
    vocab_size: int,
    model_type: Literal["bpe", "unigram"] = "bpe",
    normalize_unicode: bool = True,
    whole_words: Sequence[str] = (),
    languages: Sequence[str] = (),
) -> Tokenizer:
    """Train a tokenizer with exactly `vocab_size` subwords and write it to `out_file`. Equal texts give equal bytes.

    A character that is too rare for the vocabulary is encoded as bytes, so UNK_ID is never needed.

    Raises InputError if the texts are empty, or if the vocabulary size is too large or too small for them. Exceptions
    of the iterator `texts` are raised unchanged.

    Args:
        texts: training text only, no validation or test text.
        whole_words: words that are one subword each, with the space before them.
        languages: target languages of a model of several directions. The vocabulary gets a tag for each.
    """
    model = io.BytesIO()
    failed: list[BaseException] = []
    # Without such words or tags the options are omitted, because the model file contains them.
    symbols: dict[str, Any] = {
        "user_defined_symbols": [SPACE_MARK + word for word in whole_words],
        "control_symbols": list(map(language_tag, languages)),
    }
    symbols = {name: values for name, values in symbols.items() if values}
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts, normalize_unicode, failed),
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
            **symbols,
        )
    except RuntimeError as error:
        if failed:
            raise failed[0] from None
        raise _explain(str(error), vocab_size) from error
    out_file.write_bytes(model.getvalue())
    return Tokenizer(out_file, normalize_unicode)


def _lines(texts: Iterator[str], normalize_unicode: bool, failed: list[BaseException]) -> Iterator[str]:
    """Yield the start of each text. An exception is stored in `failed`, because SentencePiece keeps only its name."""
    try:
        for text in texts:
            yield normalize(text, normalize_unicode)[:TRAIN_CHARACTERS]
    except GeneratorExit:  # SentencePiece has read enough
        raise
    except BaseException as error:
        failed.append(error)
        raise


def _explain(message: str, vocab_size: int) -> InputError:
    if found := re.search(r"size too high.*<= (\d+)", message):
        return VocabularySizeError(
            f"data.vocab_size is {vocab_size}, but this training text gives at most {found[1]} subwords. "
            f"Set data.vocab_size={found[1]} or lower, or add text.",
            possible=int(found[1]),
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return VocabularySizeError(
            f"data.vocab_size is {vocab_size}, but the 256 bytes, the special tokens and the characters of this "
            f"training text already need {found[1]}. Set data.vocab_size={found[1]} or higher.",
            possible=int(found[1]),
        )
    if "sentences_.empty()" in message:
        return InputError("there is no text to train a tokenizer on: all training text is empty")
    return InputError(f"SentencePiece could not train a tokenizer with data.vocab_size={vocab_size}: {message.strip()}")
