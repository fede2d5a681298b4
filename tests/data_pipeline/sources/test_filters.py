"""Each filter drops what it names, nothing else, and the counts add up."""

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.filters import (
    LABELS,
    LONGEST_PIECE,
    RATIO_SLACK,
    Verdict,
    count,
    hopelessly_long,
    judge_lengths,
    judge_text,
    mark_duplicates,
    pair_hash,
    table,
)


def lengths(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        ("a house", "ein Haus", Verdict.KEPT),
        ("", "ein Haus", Verdict.EMPTY),
        ("a house", "", Verdict.EMPTY),
        ("Berlin", "Berlin", Verdict.COPY),
        ("Berlin", "berlin", Verdict.KEPT),
        ("x" * 100_000, "y", Verdict.TOO_LONG),
    ],
)
def test_text_alone_decides_about_empty_sides_copies_and_absurd_lengths(
    source: str, target: str, verdict: Verdict
) -> None:
    assert judge_text(source, target, DataConfig()) == verdict


def test_each_text_filter_can_be_switched_off() -> None:
    config = DataConfig(drop_empty=False, drop_copies=False, max_length=None)
    for pair in [("", "x"), ("x", "x"), ("x" * 100_000, "y")]:
        assert judge_text(*pair, config) == Verdict.KEPT


def test_the_guard_on_characters_never_drops_what_the_token_limit_would_keep() -> None:
    longest_that_fits = "x" * LONGEST_PIECE * 9  # nine pieces of the greatest length, and EOS
    assert not hopelessly_long(longest_that_fits, "y", max_length=10)
    assert hopelessly_long("y", longest_that_fits + "x", max_length=10)


def test_the_length_limit_counts_eos_and_looks_at_both_sides() -> None:
    flags = judge_lengths(lengths(5, 6, 5), lengths(5, 5, 6), max_length=5, max_ratio=None)
    assert flags.tolist() == [Verdict.KEPT, Verdict.TOO_LONG, Verdict.TOO_LONG]


def test_the_ratio_spares_short_sentences_and_works_both_ways() -> None:
    limit = 3 * 4 + RATIO_SLACK
    flags = judge_lengths(lengths(2, 4, 4, limit + 1), lengths(9, limit, limit + 1, 4), None, max_ratio=3.0)
    assert flags.tolist() == [Verdict.KEPT, Verdict.KEPT, Verdict.RATIO, Verdict.RATIO]


def test_both_length_filters_can_be_switched_off() -> None:
    assert not judge_lengths(lengths(1, 9000), lengths(5000, 1), None, None).any()


def test_only_the_first_of_equal_pairs_is_kept() -> None:
    flags = np.zeros(5, np.uint8)
    mark_duplicates(flags, np.array([7, 3, 7, 7, 4], np.uint64))
    assert flags.tolist() == [0, 0, Verdict.DUPLICATE, Verdict.DUPLICATE, 0]


def test_a_dropped_pair_does_not_make_its_like_a_duplicate() -> None:
    flags = np.array([Verdict.TOO_LONG, 0, 0], np.uint8)
    mark_duplicates(flags, np.array([5, 5, 5], np.uint64))
    assert flags.tolist() == [Verdict.TOO_LONG, 0, Verdict.DUPLICATE]


def test_the_hash_tells_where_the_source_ends() -> None:
    assert len({pair_hash("ab", "c"), pair_hash("a", "bc"), pair_hash("c", "ab"), pair_hash("abc", "")}) == 4
    assert pair_hash("ab", "c") == pair_hash("ab", "c") < 2**64


def test_the_counts_add_up_and_the_table_shows_them_all() -> None:
    flags = np.array([0, 0, Verdict.EMPTY, Verdict.RATIO, Verdict.RATIO], np.uint8)
    counts = count(flags)
    assert counts["read"] == 5 == sum(counts[label] for label in LABELS.values())
    lines = table({"train": counts, "valid": count(np.zeros(1234, np.uint8))}).splitlines()
    assert [line.split()[-2:] for line in lines[:2]] == [["train", "valid"], ["5", "1,234"]]
    assert len(lines) == 2 + len(LABELS)
    assert len({len(line) for line in lines}) == 1, "columns line up"


@pytest.mark.parametrize("bad", [{"max_length": 1}, {"max_ratio": 0.5}, {"vocab_size": 0}, {"valid_pairs": 0}])
def test_limits_that_would_drop_everything_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"data.{next(iter(bad))} is"):
        DataConfig(**bad)  # type: ignore[arg-type]
