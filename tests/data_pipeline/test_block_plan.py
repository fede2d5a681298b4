"""Which blocks of the stream form update k depends only on text, seed and k."""

import numpy as np
import pytest

from data_pipeline.block_plan import BlockPlan

BLOCK = 8
RECORDED = [25, 89, 33, 17, 81, 57, 49, 65, 73, 41, 9, 17]


def make_plan(tokens: int, seed: int = 1) -> BlockPlan:
    return BlockPlan(tokens, BLOCK, tokens_per_update=32, per_update=2, seed=seed)


def make_starts(tokens: int, steps: range, seed: int = 1) -> list[int]:
    plan = make_plan(tokens, seed)
    return [start for k in steps for batch in plan.update(k).bucket_batches for start in batch.indices.tolist()]


def test_blocks_of_epoch_do_not_overlap_and_omit_less_than_two_blocks() -> None:
    blocks = make_plan(1003).blocks
    epoch = make_starts(1003, range(blocks))[:blocks]
    covered = sorted(p for start in epoch for p in range(start, start + BLOCK))
    assert len(covered) == len(set(covered))
    assert 1002 - len(covered) < 2 * BLOCK
    assert covered[-1] < 1002, "every position has a label"


def test_epochs_divide_text_at_different_positions() -> None:
    blocks = make_plan(1003).blocks
    every = make_starts(1003, range(4 * blocks))
    epochs = [every[e * blocks : (e + 1) * blocks] for e in range(4)]
    assert len({epoch[0] % BLOCK for epoch in epochs}) > 1
    assert all(len({start % BLOCK for start in epoch}) == 1 for epoch in epochs)


def test_block_update_depends_only_on_seed_and_step() -> None:
    plan, again = make_plan(500), make_plan(500)
    late = plan.update(200)
    for k in (0, 7, 199):
        for a, b in zip(again.update(k).bucket_batches, plan.update(k).bucket_batches, strict=True):
            assert a.indices.tolist() == b.indices.tolist()
    for a, b in zip(again.update(200).bucket_batches, late.bucket_batches, strict=True):
        assert a.indices.tolist() == b.indices.tolist()
    assert make_starts(500, range(5), seed=2) != make_starts(500, range(5))


def test_block_plan_equals_recorded_starts() -> None:
    """If these numbers change, BLOCKS_VERSION must change too, because old runs could not be resumed."""
    assert make_starts(101, range(3)) == RECORDED


def test_block_plan_rejects_text_shorter_than_block() -> None:
    with pytest.raises(ValueError, match=r"has 8 tokens, but a block of 8 needs 9. Add text, or lower model.max_len"):
        make_plan(8)


def test_block_plan_accepts_text_of_exactly_one_block() -> None:
    assert set(make_starts(9, range(3))) == {0}


def test_block_update_counts_predicted_tokens() -> None:
    predicted = np.random.default_rng(0).integers(0, 2, 500).astype(np.uint8)
    plan = BlockPlan(500, BLOCK, tokens_per_update=160, per_update=2, seed=1, predicted=predicted)
    for k in range(6):
        update = plan.update(k)
        starts = [start for batch in update.bucket_batches for start in batch.indices.tolist()]
        assert update.predicted_tokens == sum(int(predicted[start + 1 : start + BLOCK + 1].sum()) for start in starts)
