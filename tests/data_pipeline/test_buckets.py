"""Length buckets contain all examples, and each example is in the smallest bucket that holds it."""

import tracemalloc

import numpy as np
import pytest

from data_pipeline.buckets import derive_buckets
from tests.data_pipeline.test_batch_plan import make_lengths


def test_buckets_contain_every_example_once_and_last_contains_all() -> None:
    buckets = derive_buckets(*make_lengths(), 10)
    assert sorted(np.concatenate([bucket.indices for bucket in buckets]).tolist()) == list(range(3000))
    assert all(buckets[-1].contains(bucket) for bucket in buckets)
    for bucket in buckets:
        assert (make_lengths()[0][bucket.indices] <= bucket.src_len).all()
        assert (make_lengths()[1][bucket.indices] <= bucket.tgt_len).all()


@pytest.mark.parametrize("max_buckets", [1, 2, 7, 24])
def test_derive_buckets_returns_at_most_max_buckets(max_buckets: int) -> None:
    src, tgt = make_lengths()
    src, tgt = np.append(src, [90, 3]), np.append(tgt, [3, 90])  # no pair has the longest source and target
    buckets = derive_buckets(src, tgt, max_buckets)
    assert len(buckets) <= max_buckets
    assert (buckets[-1].src_len, buckets[-1].tgt_len) == (90, 90)


def test_each_example_is_in_smallest_bucket_that_holds_it() -> None:
    src, tgt = make_lengths()
    buckets = derive_buckets(src, tgt, 12)
    for bucket in buckets:
        for i in bucket.indices.tolist():
            fitting = [b for b in buckets if b.src_len >= src[i] and b.tgt_len >= tgt[i]]
            assert bucket.src_len + bucket.tgt_len == min(b.src_len + b.tgt_len for b in fitting)


def test_derive_buckets_needs_little_memory_for_very_long_pair() -> None:
    src, tgt = (np.append(lengths, 50_001) for lengths in make_lengths())
    tracemalloc.start()
    buckets = derive_buckets(src, tgt, 24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22, "less than a table of 50,001 x 50,001"
    assert [bucket.indices.tolist() for bucket in buckets if bucket.src_len == 50_001] == [[3000]]
