"""Every rank gets the same number of micro-batches of the same update."""

import numpy as np
import pytest

from data_pipeline.block_plan import BlockPlan
from data_pipeline.micro_batches import (
    PADDING_ROW,
    MicroBatch,
    batch_by_length,
    choose_split,
    key,
    largest_micro_batch,
    most_positions,
    permutation,
)
from tests.data_pipeline.test_batch_plan import make_lengths, make_plan


def indices_of(batches: list[MicroBatch]) -> list[int]:
    return sorted(i for batch in batches for i in batch.indices.tolist() if i != PADDING_ROW)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8, 16, 32])
def test_ranks_have_equal_numbers_of_micro_batches_of_same_update(world_size: int) -> None:
    plan = make_plan()
    split = choose_split(plan.shapes, plan.per_update, world_size, micro_tokens=None)
    for k in (0, plan.updates_per_epoch - 1):  # the last update may have fewer bucket batches
        update = plan.update(k)
        batches = update.micro_batches(split, world_size)
        assert len({len(batches[rank::world_size]) for rank in range(world_size)}) == 1
        assert indices_of(batches) == indices_of(list(update.bucket_batches))


def test_split_changes_no_index_if_it_does_not_divide_rows() -> None:
    plan = BlockPlan(1003, 8, tokens_per_update=96, per_update=1, seed=1)  # 12 rows per bucket batch
    whole = indices_of(list(plan.update(3).bucket_batches))
    for world_size, micro_tokens in ((1, None), (2, None), (8, None), (1, 16)):
        split = choose_split(plan.shapes, plan.per_update, world_size, micro_tokens)
        batches = plan.update(3).micro_batches(split, world_size)
        assert len(batches) % world_size == 0
        assert indices_of(batches) == whole
        assert all(len(batch.indices) <= len(largest_micro_batch(plan.shapes, split).indices) for batch in batches)


def test_choose_split_returns_smallest_split_that_fits_and_gives_work() -> None:
    plan = make_plan()

    def choose(world_size: int, micro_tokens: int | None) -> int:
        return choose_split(plan.shapes, plan.per_update, world_size, micro_tokens)

    assert choose(1, None) == 1
    assert choose(8, None) == 2
    assert choose(32, None) == 8
    assert choose(1, plan.batch_positions // 2) == 2
    assert choose(1, plan.batch_positions // 4) == 4


def test_choose_split_rejects_too_many_ranks_and_too_small_micro_tokens() -> None:
    plan = make_plan()
    with pytest.raises(ValueError, match=r"33 devices are too many: .* for at most 32"):
        choose_split(plan.shapes, plan.per_update, 33, None)
    smallest = most_positions(plan.shapes, 8)
    with pytest.raises(ValueError, match=rf"micro_tokens=10 is too small .* Set batches.micro_tokens={smallest}"):
        choose_split(plan.shapes, plan.per_update, 1, 10)
    assert choose_split(plan.shapes, plan.per_update, 1, smallest) == 8


def test_largest_micro_batch_is_as_large_as_any_micro_batch() -> None:
    plan = make_plan()
    for split in (1, 4):
        largest = largest_micro_batch(plan.shapes, split)
        assert (largest.indices == PADDING_ROW).all()
        batches = [b for k in range(plan.updates_per_epoch) for b in plan.update(k).micro_batches(split, 1)]
        sizes = [len(b.indices) * (b.src_len + b.tgt_len) for b in batches]
        assert len(largest.indices) * (largest.src_len + largest.tgt_len) == max(sizes)
        assert most_positions(plan.shapes, split) == max(batch.positions for batch in batches)


def test_micro_batch_numbers_do_not_depend_on_world_size() -> None:
    update = make_plan().update(0)
    one = {(b.bucket_batch, b.number): b for b in update.micro_batches(2, 1)}
    for batch in update.micro_batches(2, 3):
        if same := one.get((batch.bucket_batch, batch.number)):
            assert same.indices.tolist() == batch.indices.tolist()
            assert same.dropout_seed == batch.dropout_seed
        else:
            assert (batch.indices == PADDING_ROW).all()


def test_dropout_seeds_of_micro_batches_differ() -> None:
    plan = make_plan()
    batches = [batch for k in range(3) for batch in plan.update(k).micro_batches(4, 3)]
    assert len({batch.dropout_seed for batch in batches}) == len(batches)
    assert all(0 <= batch.dropout_seed < 2**32 for batch in batches)


def test_batch_by_length_returns_every_example_once_in_bounded_batches() -> None:
    src, tgt = make_lengths(500)
    batches = batch_by_length(src, tgt, 256)
    assert indices_of(batches) == list(range(500))
    for batch in batches:
        assert batch.src_len == src[batch.indices].max()
        assert batch.positions <= 256


def test_batch_by_length_returns_single_example_if_it_is_too_long() -> None:
    batches = batch_by_length(np.array([5, 300]), np.array([6, 2]), 256)
    assert sorted((batch.indices.tolist(), batch.src_len) for batch in batches) == [([0], 5), ([1], 300)]


def test_key_and_permutation_equal_recorded_values() -> None:
    assert key(1, 2, "blocks") == 0xFB34EFFD7B44179BC114E914D3993C0D
    assert permutation(8, 1, 2).tolist() == [5, 6, 3, 1, 2, 4, 0, 7]
