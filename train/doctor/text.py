"""What the doctor looks at in text of any kind: repetitions, leaks, and what the vocabulary makes of it."""

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from data_pipeline.tokenizers import TextTokenizer
from data_pipeline.tokenizers.sentence_piece import Tokenizer, normalize
from train.doctor.findings import Finding, graded
from train.doctor.pairs import Texts

Hashes = npt.NDArray[np.int64]


def check_copies(texts: Texts, dropped: bool) -> Finding:
    """Targets that are their source, whatever the case and the punctuation: `dropped` tells whether equal ones are
    left out by `data.drop_copies`."""
    letters = [[_letters(text) for text in side] for side in texts]
    pairs = list(zip(*letters, *texts, strict=True))
    copies = [normalize(source) == normalize(target) for a, b, source, target in pairs if a == b and len(a) > 1]
    left = len(copies) - sum(copies) * dropped
    share, message = left / len(pairs), f"{len(copies) / len(pairs):.2%} of the targets are their source"
    if dropped and any(copies):
        message += f"; {sum(copies) / len(pairs):.2%} are dropped (data.drop_copies)"
    cure = "leave untranslated lines out of the corpus: a model that sees them learns to copy (data.drop_copies=true)"
    if dropped and sum(copies) > 0.1 * len(pairs):
        share = max(share, 0.02)
    return graded("copies", share, 0.01, 0.03, message, cure)


def check_duplicates(hashes: Hashes, dropped: bool, what: str = "pairs") -> Finding:
    """How many pairs (or documents) occurred before; `dropped` tells whether they are left out."""
    share = 1 - len(np.unique(hashes)) / len(hashes)
    message = f"{share:.2%} of the {what} occurred before" + (" and are dropped" if dropped and share else "")
    if dropped:
        return graded("duplicates", share, 0.2, 1.0, message, "see whether a file is named twice")
    return graded("duplicates", share, 0.02, 0.2, message, "set data.drop_duplicates=true, or clean the corpus")


def check_leak(name: str, role: str, held: Hashes, train: Hashes, note: float = 0.005, fault: float = 0.01) -> Finding:
    """How much of the `role` corpus is in the training corpus, case aside."""
    share = float(np.isin(held, train).mean()) if len(held) else 0.0
    message = f"{share:.2%} of {len(held):,} {name} are in the training corpus, too"
    cure = f"take them out of data.train, or name another data.{role}: its figures would be too good"
    return graded(f"{role} leak", share, note, fault, message, cure)


def fold(text: str) -> str:
    """What is compared where case and spaces do not matter."""
    return " ".join(normalize(text).casefold().split())


def hash_pairs(texts: Texts) -> Hashes:
    """One number for each pair; equal for equal ones, in this process."""
    folded = ([fold(text) for text in side] for side in texts)
    return np.fromiter((hash(pair) for pair in zip(*folded, strict=True)), np.int64, count=len(texts[0]))


def hash_texts(texts: Iterable[str]) -> Hashes:
    """One number for each text; equal for equal ones, in this process."""
    return np.array([hash(fold(text)) for text in texts], np.int64)


def _letters(text: str) -> str:
    return "".join(character for character in fold(text) if character.isalnum())


def check_round_trip(tokenizer: TextTokenizer, texts: Sequence[str]) -> Finding:
    """Whether text comes back as it went in: sentences of a translator, running text of a language model."""
    lost = [text for text in texts if not _returns(tokenizer, text)]
    message = f"{len(texts) - len(lost):,} of {len(texts):,} texts come back from the vocabulary as they went in"
    if not lost:
        return Finding("round trip", "ok", message)
    message += f"; not {lost[0][:60]!r}"
    return Finding("round trip", "fault", message, "learn a vocabulary from this text: leave data.tokenizer out")


def check_token_size(tokenizer: TextTokenizer, texts: Sequence[str]) -> Finding:
    """Bytes of UTF-8 a token: few where the vocabulary is too small, so that sequences are long and pieces mean
    little."""
    tokens = sum(len(_encode(tokenizer, text)) for text in texts)
    characters, size = sum(map(len, texts)), sum(len(text.encode()) for text in texts) / max(1, tokens)
    message = (
        f"{size:.2f} bytes ({characters / max(1, tokens):.2f} characters) a token, {tokenizer.vocab_size:,} pieces"
    )
    return graded("token size", 1 / size, 1 / 2.5, 1 / 2.0, message, "raise data.vocab_size: the vocabulary is small")


def check_seldom_pieces(counts: npt.NDArray[np.integer]) -> Finding:
    """Pieces that training hardly sees, and so cannot learn: many where the vocabulary is too large for the text.

    `counts` are the occurrences of each piece but bytes and special ones.
    """
    share = float(np.mean(counts < 10)) if len(counts) else 0.0
    message = f"{share:.0%} of the pieces occur fewer than 10 times in the training text looked at"
    return graded("seldom pieces", share, 0.5, 1.0, message, "lower data.vocab_size, or add text")


def _encode(tokenizer: TextTokenizer, text: str) -> list[int]:
    return tokenizer.encode([text])[0] if isinstance(tokenizer, Tokenizer) else tokenizer.encode_text(text)


def _returns(tokenizer: TextTokenizer, text: str) -> bool:
    try:
        if isinstance(tokenizer, Tokenizer) and "\n" not in text:
            return tokenizer.decode(tokenizer.encode([text])) == [normalize(text)]
        back = tokenizer.decode_text(tokenizer.encode_text(text))
    except ValueError:  # a character that the vocabulary does not have
        return False
    return back in (text, unicodedata.normalize("NFC", text))
