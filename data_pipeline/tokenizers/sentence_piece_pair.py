"""Two SentencePiece models, one per language, with one vocabulary: the tokenizer of Marian and OPUS-MT models."""

import base64
import json
from copy import copy
from pathlib import Path
from typing import Any, Self

import sentencepiece

from common.directions import language_tag
from common.errors import InputError
from common.files import read_json, read_small, write_bytes, write_json, write_text
from common.text import replace_surrogates
from data_pipeline.tokenizers.sentence_piece import BOS_ID, EOS_ID, PAD_ID, SPACE_MARK, UNK_ID, Tokenizer

TYPE = "sentencepiece-pair"
START = "<decoder_start>"
"""Name of BOS_ID, which no SentencePiece model contains."""
SPECIAL = ("<pad>", "<unk>", START, "</s>")


class SentencePiecePair:
    """Text to ids and back. Unlike `Tokenizer`, `encode` returns UNK_ID for a character that the vocabulary lacks.

    The file is JSON with both models and the pieces in the order of their ids. The models normalise text themselves, so
    only white space at both ends and lone surrogates change before.

    Raises InputError if the file is damaged.
    """

    normalize_unicode = False
    encodes_all = False

    def __init__(self, file: Path | str) -> None:
        try:
            content = json.loads(read_small(Path(file)))
            self.models: tuple[bytes, bytes] = (_bytes(content["source"]), _bytes(content["target"]))
            self.pieces: list[str] = [str(piece) for piece in content["pieces"]]
            self._source, self._target = map(_open, self.models)
        except (ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
            raise InputError(
                f"{file} does not contain two SentencePiece models, or is damaged. Copy it again."
            ) from error
        self.vocab_size = len(self.pieces)
        self._ids = {piece: token for token, piece in enumerate(self.pieces)}
        self.tag: list[int] = []
        if tuple(self.pieces[: len(SPECIAL)]) != SPECIAL or len(self._ids) != self.vocab_size:
            raise InputError(f"{file} has other special tokens than {', '.join(SPECIAL)}, or has a piece twice")

    def for_target(self, language: str) -> Self:
        """Return a tokenizer whose `encode` begins each source with the code of this language, such as `>>fra<<`.

        Raises InputError if the vocabulary has no such code.
        """
        if language_tag(language) not in self._ids:
            raise InputError(f"the vocabulary has no code {language_tag(language)} for translations to {language}")
        changed = copy(self)
        changed.tag = [self._ids[language_tag(language)]]
        return changed

    def encode(self, texts: list[str], threads: int = 1) -> list[list[int]]:
        """Return the ids of each source, with EOS_ID at the end. A language code such as `>>fra<<` is one token."""
        encoded = self._encode(self._source, texts, threads)
        return [[*self.tag, *ids] if ids != [EOS_ID] else ids for ids in encoded] if self.tag else encoded

    def encode_target(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each target, with EOS_ID at the end."""
        return self._encode(self._target, texts, 1)

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Return the text of each target. PAD_ID, BOS_ID and EOS_ID give no text."""
        special = {PAD_ID, BOS_ID, EOS_ID}
        rows = [[self.pieces[token] for token in row if token not in special] for row in ids]
        return [str(self._target.decode_pieces(row)).replace(SPACE_MARK, " ").strip() for row in rows]

    def decode_text(self, ids: list[int]) -> str:
        """Return the pieces of any ids as text, with all spaces. UNK_ID becomes U+FFFD."""
        texts = {PAD_ID: "", BOS_ID: "", EOS_ID: "", UNK_ID: "\ufffd"}
        return "".join(texts.get(token, self.pieces[token]) for token in ids).replace(SPACE_MARK, " ")

    def normalize(self, text: str) -> str:
        """Return the text that the SentencePiece models get."""
        return replace_surrogates(text).strip()

    def save(self, folder: Path | str) -> None:
        """Write `folder/tokenizer.model`."""
        _write(Path(folder) / "tokenizer.model", self.models, self.pieces)

    def _encode(self, model: Any, texts: list[str], threads: int) -> list[list[int]]:
        split = [self._split_code(self.normalize(text)) for text in texts]
        found: list[list[str]] = model.encode([text for _, text in split], out_type=str, num_threads=threads)
        return [
            [*code, *(self._ids.get(piece, UNK_ID) for piece in pieces), EOS_ID]
            for (code, _), pieces in zip(split, found, strict=True)
        ]

    def _split_code(self, text: str) -> tuple[list[int], str]:
        """Return the id of the language code at the start of the text, and the text after it."""
        code, mark, rest = text.partition("<<")
        if not (text.startswith(">>") and mark):
            return [], text
        return [self._ids.get(code + mark, UNK_ID)], rest


def import_marian_tokenizer(folder: Path, special: tuple[int, int, int], out_file: Path) -> list[int | None]:
    """Write the tokenizer of transformers' `MarianTokenizer` to `out_file`, with the special ids of this project.

    Args:
        folder: contains source.spm, target.spm and vocab.json.
        special: Marian's ids of padding, of the first token of the decoder and of the end of a sentence. The first two
            may be equal.

    Returns:
        Marian's id of each of our ids; None for a padding token that Marian's vocabulary does not have.

    Raises:
        FileNotFoundError: a file is missing.
        InputError: a file is damaged, or the ids do not belong to this vocabulary.
    """
    pad, start, end = special
    pieces = _read_vocab(folder / "vocab.json")
    first = [None if pad == start else pad, pieces.index("<unk>"), start, end]
    if pieces[end] != "</s>" or pieces[pad] != "<pad>" or len({*first}) != len(first):
        raise InputError(f"{folder}: pad_token_id, decoder_start_token_id or eos_token_id does not fit vocab.json")
    ids = [*first, *(token for token in range(len(pieces)) if token not in first)]
    names = [*SPECIAL, *(pieces[token] for token in ids[len(SPECIAL) :] if token is not None)]
    _write(out_file, (_read_model(folder / "source.spm"), _read_model(folder / "target.spm")), names)
    SentencePiecePair(out_file)
    return ids


def export_marian_tokenizer(
    tokenizer: Tokenizer | SentencePiecePair, folder: Path, languages: tuple[str, str] | None
) -> None:
    """Write the files that transformers' `MarianTokenizer` reads. Ids stay the same."""
    for name, model in zip(("source.spm", "target.spm"), tokenizer.models, strict=True):
        write_bytes(folder / name, model)
    write_json(folder / "vocab.json", {piece: token for token, piece in enumerate(tokenizer.pieces)})
    names = dict(zip(("source_lang", "target_lang"), languages or (), strict=False))
    special = {"pad_token": PAD_ID, "unk_token": UNK_ID, "bos_token": BOS_ID, "eos_token": EOS_ID}
    tokens = {name: tokenizer.pieces[token] for name, token in special.items()}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "MarianTokenizer"} | names | tokens)


def _read_vocab(file: Path) -> list[str]:
    """Return the pieces in the order of their ids."""
    vocab = read_json(file)
    if not isinstance(vocab, dict) or sorted(map(str, vocab.values())) != sorted(map(str, range(len(vocab)))):
        raise InputError(f"{file} must contain each id from 0 to the number of pieces once")
    if missing := {"<unk>", "</s>", "<pad>"} - vocab.keys():
        raise InputError(f"{file} has no {min(missing)}")
    return sorted(vocab, key=lambda piece: int(vocab[piece]))


def _read_model(file: Path) -> bytes:
    model = read_small(file)
    try:
        _open(model)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{file} is not a SentencePiece model, or is damaged. Copy it again.") from error
    return model


def _write(file: Path, models: tuple[bytes, bytes], pieces: list[str]) -> None:
    source, target = (base64.b64encode(model).decode() for model in models)
    content = {"type": TYPE, "source": source, "target": target, "pieces": pieces}
    write_text(file, json.dumps(content, ensure_ascii=False) + "\n")


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


def _open(model: bytes) -> Any:
    if not model:
        raise ValueError("an empty model")
    return sentencepiece.SentencePieceProcessor(model_proto=model)
