"""Checks of text of any kind: duplicates, leaks into held-out data, and how the vocabulary fits the text."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.errors import InputError
from common.text import compose
from data_pipeline.tokenizers import TextTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize
from train.doctor.findings import Finding, grade
from train.doctor.pairs import Texts

Hashes = npt.NDArray[np.int64]


class Codec(NamedTuple):
    """How a task encodes text and decodes token ids."""

    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    normalise: Callable[[str], str]
    """Returns the text that `decode` should return."""


def sentence_codec(tokenizer: Tokenizer) -> Codec:
    """Return the codec of translation: sentences without white space at either end."""
    return Codec(lambda text: tokenizer.encode([text])[0], lambda ids: tokenizer.decode([ids])[0], tokenizer.normalize)


def text_codec(tokenizer: TextTokenizer) -> Codec:
    """Return the codec of language modelling: text with all its white space."""
    return Codec(tokenizer.encode_text, tokenizer.decode_text, compose)


def check_copies(texts: Texts, dropped: bool) -> Finding:
    """Count the targets that equal their source, apart from case and punctuation.

    Args:
        dropped: True if `data.drop_copies` drops the pairs whose texts are exactly equal.
    """
    letters = [[_letters(text) for text in column] for column in texts]
    pairs = list(zip(*letters, *texts, strict=True))
    copies = [normalize(source) == normalize(target) for a, b, source, target in pairs if a == b and len(a) > 1]
    left = len(copies) - sum(copies) * dropped
    share, message = left / len(pairs), f"{len(copies) / len(pairs):.2%} of the targets are copies of their source"
    if dropped and any(copies):
        message += f"; data.drop_copies drops {sum(copies) / len(pairs):.2%} of the pairs"
    advice = "remove untranslated lines (data.drop_copies=true): a model that is trained on them learns to copy"
    if dropped and sum(copies) > 0.1 * len(pairs):
        share = max(share, 0.02)
    return grade("copies", share, 0.01, 0.03, message, advice)


def check_duplicates(hashes: Hashes, dropped: bool, what: str = "pairs") -> Finding:
    """Count the pairs (or documents) that are repetitions. `dropped` is True if the filters drop repetitions."""
    share = 1 - len(np.unique(hashes)) / len(hashes)
    message = f"{share:.2%} of the {what} are repetitions" + (" and are dropped" if dropped and share else "")
    if dropped:
        return grade("duplicates", share, 0.2, 1.0, message, "check whether a file is named twice")
    return grade("duplicates", share, 0.02, 0.2, message, "set data.drop_duplicates=true, or clean the corpus")


def check_leak(
    name: str, role: str, held: Hashes, train: Hashes, warning: float = 0.005, error: float = 0.01
) -> Finding:
    """Count the examples of a held-out corpus that are in the training corpus too, apart from case."""
    share = float(np.isin(held, train).mean()) if len(held) else 0.0
    message = f"{share:.2%} of {len(held):,} {name} are also in the training corpus"
    advice = f"remove them from data.train, or choose another data.{role}: its scores would be too good"
    return grade(f"{role} leak", share, warning, error, message, advice)


def fold(text: str) -> str:
    """Return the text in lower case, with single spaces."""
    return " ".join(normalize(text).casefold().split())


def hash_pairs(texts: Texts) -> Hashes:
    """Return a hash for each pair. Equal pairs have equal hashes within one process."""
    folded = ([fold(text) for text in column] for column in texts)
    return np.fromiter((hash(pair) for pair in zip(*folded, strict=True)), np.int64, count=len(texts[0]))


def hash_texts(texts: Iterable[str]) -> Hashes:
    """Return a hash for each text. Equal texts have equal hashes within one process."""
    return np.array([hash(fold(text)) for text in texts], np.int64)


def _letters(text: str) -> str:
    return "".join(character for character in fold(text) if character.isalnum())


def check_round_trip(codec: Codec, texts: Sequence[str]) -> Finding:
    """Check that encoding and decoding a text returns the text."""
    lost = [text for text in texts if not _returns(codec, text)]
    message = f"{len(texts) - len(lost):,} of {len(texts):,} texts are unchanged after encoding and decoding"
    if not lost:
        return Finding("round trip", "ok", message)
    message += f"; one that is not: {lost[0][:60]!r}"
    return Finding(
        "round trip", "error", message, "leave data.tokenizer out, so that a vocabulary is trained on this text"
    )


def check_token_size(codec: Codec, texts: Sequence[str], vocab_size: int) -> Finding:
    """Check the mean size of a token. If tokens are short, the vocabulary is too small and sequences are long."""
    tokens = max(1, sum(len(codec.encode(text)) for text in texts))
    size = sum(len(text.encode()) for text in texts) / tokens
    message = (
        f"{size:.2f} bytes ({sum(map(len, texts)) / tokens:.2f} characters) per token; "
        f"the vocabulary has {vocab_size:,} tokens"
    )
    advice = "raise data.vocab_size: the vocabulary is too small for this text"
    return grade("token size", 1 / size, 1 / 2.5, 1 / 2.0, message, advice)


def check_rare_subwords(counts: npt.NDArray[np.integer]) -> Finding:
    """Count the subwords that are too rare to be trained. Many are rare if the vocabulary is too large for the text.

    Args:
        counts: number of occurrences of each subword, without bytes and special tokens.
    """
    share = float(np.mean(counts < 10)) if len(counts) else 0.0
    message = f"{share:.0%} of the subwords occur fewer than 10 times in the training text that was read"
    return grade("rare subwords", share, 0.5, 1.0, message, "lower data.vocab_size, or add text")


def _returns(codec: Codec, text: str) -> bool:
    try:
        return codec.decode(codec.encode(text)) in (text, codec.normalise(text))
    except InputError:  # the vocabulary lacks a character
        return False
