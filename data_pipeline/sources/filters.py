"""Which pairs are left out, and how many for which reason."""

import hashlib
from collections.abc import Mapping
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from data_pipeline.config import DataConfig

RATIO_SLACK = 8  # tokens: "Ja ." for a sentence of ten words is a translation, not a fault of alignment
LONGEST_PIECE = 16  # characters; SentencePiece's default, which bounds a text's tokens from below

Flags = npt.NDArray[np.uint8]
Counts = dict[str, int]


class Verdict(IntEnum):
    """What becomes of a pair: kept, or dropped by the first filter that it fails, so that the counts add up."""

    KEPT = 0
    EMPTY = 1
    COPY = 2
    DUPLICATE = 3
    HELD_OUT = 4
    TOO_LONG = 5
    RATIO = 6


LABELS = {
    Verdict.EMPTY: "a side is empty",
    Verdict.COPY: "target is the source",
    Verdict.DUPLICATE: "occurred before",
    Verdict.HELD_OUT: "held out",
    Verdict.TOO_LONG: "too long",
    Verdict.RATIO: "length ratio",
    Verdict.KEPT: "kept",
}


def judge_text(source: str, target: str, config: DataConfig) -> Verdict:
    """What normalised text alone decides: empty sides, copies, and lengths that no tokenizer could bring under
    `max_length` (so that a line of a megabyte never reaches it)."""
    if config.drop_empty and not (source and target):
        return Verdict.EMPTY
    if config.drop_copies and source == target:
        return Verdict.COPY
    if hopelessly_long(source, target, config.max_length):
        return Verdict.TOO_LONG
    return Verdict.KEPT


def hopelessly_long(source: str, target: str, max_length: int | None) -> bool:
    """Whether a side has so many characters that it must have more than `max_length` tokens, EOS included."""
    return max_length is not None and max(len(source), len(target)) > LONGEST_PIECE * (max_length - 1)


def judge_lengths(
    src: npt.NDArray[np.integer], tgt: npt.NDArray[np.integer], max_length: int | None, max_ratio: float | None
) -> Flags:
    """The `Verdict` of each pair by its token counts, EOS included."""
    longer, shorter = np.maximum(src, tgt), np.minimum(src, tgt)
    flags = np.zeros(len(longer), np.uint8)
    if max_ratio is not None:
        flags[longer > max_ratio * shorter + RATIO_SLACK] = Verdict.RATIO
    if max_length is not None:
        flags[longer > max_length] = Verdict.TOO_LONG
    return flags


def pair_hash(source: str, target: str) -> int:
    """64 bits that tell pairs apart: among 4.5 million, two differing ones agree once in two million corpora."""
    text = f"{source}\0{target}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def mark_duplicates(flags: Flags, hashes: npt.NDArray[np.uint64]) -> None:
    """Sets `DUPLICATE` at every pair still kept whose hash occurred before, at an earlier kept pair."""
    kept = np.flatnonzero(flags == Verdict.KEPT)
    first = np.unique(hashes[kept], return_index=True)[1]
    repeated = np.ones(len(kept), bool)
    repeated[first] = False
    flags[kept[repeated]] = Verdict.DUPLICATE


def count(flags: Flags) -> Counts:
    """`read`, one entry for each reason that dropped something, and `kept`."""
    found = np.bincount(flags, minlength=len(Verdict))
    return {"read": len(flags)} | {LABELS[verdict]: int(found[verdict]) for verdict in LABELS}


def table(report: Mapping[str, Counts]) -> str:
    """The counts of each part (training, validation) side by side, one line for each reason."""
    rows = [["pairs", *report]]
    for label in ("read", *LABELS.values()):
        rows.append([label, *(f"{counts.get(label, 0):,}" for counts in report.values())])
    width = max(len(cell) for row in rows for cell in row)
    return "\n".join(row[0].ljust(width) + "".join(cell.rjust(width + 2) for cell in row[1:]) for row in rows)
