"""Length buckets contain all examples, and each example is in the smallest bucket that holds it."""

import tracemalloc

import numpy as np
import pytest

from data_pipeline.buckets import LengthBucket, add_counts, count_examples, count_lengths, derive_buckets, find_buckets
from tests.data_pipeline.test_batch_plan import make_lengths


def derive(src: np.ndarray, tgt: np.ndarray, max_buckets: int) -> list[LengthBucket]:
    return derive_buckets(count_lengths(src, tgt), max_buckets)


def test_last_bucket_contains_all_and_every_example_fits_its_bucket() -> None:
    buckets = derive(*make_lengths(), 10)
    assert all(buckets[-1].contains(bucket) for bucket in buckets)
    for src_len, tgt_len, bucket in zip(*make_lengths(), find_buckets(buckets, *make_lengths()), strict=True):
        assert LengthBucket(src_len, tgt_len) == LengthBucket(
            min(src_len, buckets[bucket].src_len), min(tgt_len, buckets[bucket].tgt_len)
        )


def test_counts_of_parts_add_up_to_counts_of_all() -> None:
    src, tgt = make_lengths()
    together, parts = count_lengths(src, tgt), [count_lengths(src[i::3], tgt[i::3]) for i in range(3)]
    added = add_counts(parts)
    for name in ("src", "tgt", "count"):
        assert getattr(added, name).tolist() == getattr(together, name).tolist()
    buckets = derive_buckets(together, 10)
    found = np.bincount(find_buckets(buckets, src, tgt), minlength=len(buckets))
    assert found.tolist() == count_examples(buckets, added).tolist()


@pytest.mark.parametrize("max_buckets", [1, 2, 7, 24])
def test_derive_buckets_returns_at_most_max_buckets(max_buckets: int) -> None:
    src, tgt = make_lengths()
    src, tgt = np.append(src, [90, 3]), np.append(tgt, [3, 90])  # no pair has the longest source and target
    buckets = derive(src, tgt, max_buckets)
    assert len(buckets) <= max_buckets
    assert (buckets[-1].src_len, buckets[-1].tgt_len) == (90, 90)


def test_each_example_is_in_smallest_bucket_that_holds_it() -> None:
    src, tgt = make_lengths()
    buckets = derive(src, tgt, 12)
    for src_len, tgt_len, number in zip(src, tgt, find_buckets(buckets, src, tgt), strict=True):
        fitting = [b for b in buckets if b.src_len >= src_len and b.tgt_len >= tgt_len]
        assert buckets[number].src_len + buckets[number].tgt_len == min(b.src_len + b.tgt_len for b in fitting)


def test_derive_buckets_needs_little_memory_for_very_long_pair() -> None:
    src, tgt = (np.append(lengths, 50_001) for lengths in make_lengths())
    tracemalloc.start()
    buckets = derive(src, tgt, 24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22, "less than a table of 50,001 x 50,001"
    longest = [i for i, bucket in enumerate(buckets) if bucket.src_len == 50_001]
    assert np.flatnonzero(np.isin(find_buckets(buckets, src, tgt), longest)).tolist() == [3000]
