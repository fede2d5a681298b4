"""Each filter drops what it names, nothing else, and the counts add up."""

import numpy as np
import pytest

from data_pipeline.config import DataConfig
from data_pipeline.sources.filters import (
    LABELS,
    LONGEST_SUBWORD,
    RATIO_SLACK,
    FilterReason,
    count_reasons,
    exceeds_every_tokenizer,
    filter_lengths,
    filter_text,
    find_first,
    find_ranked,
    format_counts,
    mark_duplicates,
    pair_hash,
)


def lengths(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        ("a house", "ein Haus", FilterReason.KEPT),
        ("", "ein Haus", FilterReason.EMPTY),
        ("a house", "", FilterReason.EMPTY),
        ("Berlin", "Berlin", FilterReason.COPY),
        ("Berlin", "berlin", FilterReason.KEPT),
        ("x" * 100_000, "y", FilterReason.TOO_LONG),
    ],
)
def test_filter_text_finds_empty_text_copies_and_extreme_lengths(
    source: str, target: str, reason: FilterReason
) -> None:
    assert filter_text(source, target, DataConfig()) == reason


def test_filter_text_keeps_all_pairs_if_filters_are_off() -> None:
    config = DataConfig(drop_empty=False, drop_copies=False, max_length=None)
    for pair in [("", "x"), ("x", "x"), ("x" * 100_000, "y")]:
        assert filter_text(*pair, config) == FilterReason.KEPT


def test_exceeds_every_tokenizer_allows_longest_text_that_fits() -> None:
    longest_that_fits = "x" * LONGEST_SUBWORD * 9  # nine pieces of the greatest length, and EOS
    assert not exceeds_every_tokenizer(longest_that_fits, "y", max_length=10)
    assert exceeds_every_tokenizer("y", longest_that_fits + "x", max_length=10)


def test_filter_lengths_checks_source_and_target_with_eos() -> None:
    flags = filter_lengths(lengths(5, 6, 5), lengths(5, 5, 6), max_length=5, max_ratio=None)
    assert flags.tolist() == [FilterReason.KEPT, FilterReason.TOO_LONG, FilterReason.TOO_LONG]


def test_filter_lengths_checks_ratio_in_both_directions_with_slack() -> None:
    limit = 3 * 4 + RATIO_SLACK
    flags = filter_lengths(lengths(2, 4, 4, limit + 1), lengths(9, limit, limit + 1, 4), None, max_ratio=3.0)
    assert flags.tolist() == [FilterReason.KEPT, FilterReason.KEPT, FilterReason.RATIO, FilterReason.RATIO]


def test_filter_lengths_keeps_all_pairs_if_limits_are_none() -> None:
    assert not filter_lengths(lengths(1, 9000), lengths(5000, 1), None, None).any()


def test_mark_duplicates_keeps_first_of_equal_pairs() -> None:
    flags = np.zeros(5, np.uint8)
    mark_duplicates(flags, np.array([7, 3, 7, 7, 4], np.uint64))
    assert flags.tolist() == [0, 0, FilterReason.DUPLICATE, FilterReason.DUPLICATE, 0]


def test_mark_duplicates_does_not_depend_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(1).integers(0, 400, 1000).astype(np.uint64)
    expected, flags = np.zeros(1000, np.uint8), np.zeros(1000, np.uint8)
    flags[::7] = expected[::7] = FilterReason.COPY
    mark_duplicates(expected, hashes)
    monkeypatch.setattr("data_pipeline.sources.filters.ROWS_AT_ONCE", 64)
    mark_duplicates(flags, hashes)
    assert flags.tolist() == expected.tolist()


def test_mark_duplicates_ignores_dropped_pairs() -> None:
    flags = np.array([FilterReason.TOO_LONG, 0, 0], np.uint8)
    mark_duplicates(flags, np.array([5, 5, 5], np.uint64))
    assert flags.tolist() == [FilterReason.TOO_LONG, 0, FilterReason.DUPLICATE]


def test_pair_hash_separates_source_and_target() -> None:
    assert len({pair_hash("ab", "c"), pair_hash("a", "bc"), pair_hash("c", "ab"), pair_hash("abc", "")}) == 4
    assert pair_hash("ab", "c") == pair_hash("ab", "c") < 2**64


def test_count_reasons_adds_up_and_format_counts_shows_each_count() -> None:
    flags = np.array([0, 0, FilterReason.EMPTY, FilterReason.RATIO, FilterReason.RATIO], np.uint8)
    counts = count_reasons(flags)
    assert counts["read"] == 5 == sum(counts[label] for label in LABELS.values())
    lines = format_counts({"train": counts, "valid": count_reasons(np.zeros(1234, np.uint8))}).splitlines()
    assert [line.split()[-2:] for line in lines[:2]] == [["train", "valid"], ["5", "1,234"]]
    assert len(lines) == 2 + len(LABELS)
    assert len({len(line) for line in lines}) == 1, "columns line up"


@pytest.mark.parametrize("bad", [{"max_length": 1}, {"max_ratio": 0.5}, {"vocab_size": 0}, {"valid_pairs": 0}])
def test_data_config_rejects_limits_that_drop_every_pair(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"data.{next(iter(bad))} is"):
        DataConfig(**bad)  # type: ignore[arg-type]


def test_format_counts_prints_labels_of_earlier_versions() -> None:
    lines = format_counts({"train": {"read": 3, "a side is empty": 1, "kept": 2}}).splitlines()
    assert [line.split() for line in lines] == [
        ["pairs", "train"], ["read", "3"], ["a", "side", "is", "empty", "1"], ["kept", "2"]
    ]  # fmt: skip


def test_find_first_equals_first_indices_with_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.sources.filters.ROWS_AT_ONCE", 7)
    reasons = np.random.default_rng(1).integers(0, 4, 100).astype(np.uint8)
    for reason in FilterReason:
        for n in (0, 3, 99):
            assert find_first(reasons, reason, n).tolist() == np.flatnonzero(reasons == reason)[:n].tolist()


def test_find_ranked_equals_indices_of_marked_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_pipeline.sources.filters.ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(1)
    marked = rng.random(100) < 0.5
    ranks = rng.choice(int(marked.sum()), 20, replace=False)
    assert find_ranked(marked, ranks).tolist() == np.flatnonzero(marked)[np.sort(ranks)].tolist()
