"""An update depends only on lengths, seed and step. The hardware only splits it."""

import hashlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from data_pipeline.batch_plan import PLAN_VERSION, BatchPlan
from data_pipeline.micro_batches import PADDING_ROW


def make_lengths(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lengths like those of image captions: about 15 tokens, source and target similar but not equal."""
    rng = np.random.default_rng(seed)
    src = np.clip(rng.gamma(9, 1.7, n).astype(int), 2, 60)
    return src, np.clip((src * rng.normal(1.05, 0.15, n)).astype(int), 2, 60)


def make_plan(n: int = 3000, **changes: int | None) -> BatchPlan:
    settings: dict[str, Any] = {"tokens_per_update": 4096, "per_update": 4, "max_buckets": 24, "seed": 1} | changes
    return BatchPlan(*make_lengths(n), **settings)


def indices_of_epoch(plan: BatchPlan, epoch: int) -> list[int]:
    steps = range(epoch * plan.updates_per_epoch, (epoch + 1) * plan.updates_per_epoch)
    return [index for k in steps for batch in plan.update(k).bucket_batches for index in batch.indices.tolist()]


@pytest.mark.parametrize("n", [1, 7, 500, 3000])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_epoch_contains_every_example_once(n: int, epoch: int) -> None:
    indices = [index for index in indices_of_epoch(make_plan(n), epoch) if index != PADDING_ROW]
    assert sorted(indices) == list(range(n))


def test_epochs_have_equal_numbers_of_bucket_batches_in_different_order() -> None:
    plan = make_plan()
    epochs = [indices_of_epoch(plan, e) for e in range(4)]
    assert len({len(indices) for indices in epochs}) == 1
    assert all(a != b for a, b in pairwise(epochs))


@pytest.mark.parametrize("shard", [3000, 999, 100])
def test_epoch_of_shards_contains_every_example_once_in_equal_shards(shard: int) -> None:
    plan = make_plan(shard=shard)
    assert plan.shards == -(-3000 // shard)
    for epoch in range(2):
        indices = np.array([index for index in indices_of_epoch(plan, epoch) if index != PADDING_ROW])
        assert sorted(indices.tolist()) == list(range(3000))
        shards = (indices % plan.shards).tolist()
        assert sum(a != b for a, b in pairwise(shards)) == plan.shards - 1, "one shard after the other"
    assert plan.shards == 1 or indices_of_epoch(plan, 0) != indices_of_epoch(plan, 1)


def test_one_shard_gives_updates_of_plan_without_shards() -> None:
    assert indices_of_epoch(make_plan(shard=3000), 1) == indices_of_epoch(make_plan(), 1)


def test_lengths_of_one_byte_give_updates_of_lengths_of_eight_bytes() -> None:
    src, tgt = (lengths.astype(np.uint8) for lengths in make_lengths())
    plan = BatchPlan(src, tgt, tokens_per_update=4096, per_update=4, max_buckets=24, seed=1)
    assert indices_of_epoch(plan, 1) == indices_of_epoch(make_plan(), 1)
    assert (plan.update(2).src_tokens, plan.padding()) == (make_plan().update(2).src_tokens, make_plan().padding())


def test_update_of_shards_depends_only_on_seed_and_step() -> None:
    plan, again = make_plan(shard=500), make_plan(shard=500)
    late = again.updates_per_epoch + 17
    again.update(late)
    for k in (0, 5, late):
        a, b = plan.update(k), again.update(k)
        assert all((x.indices == y.indices).all() for x, y in zip(a.bucket_batches, b.bucket_batches, strict=True))


def test_update_depends_only_on_seed_and_step() -> None:
    plan, again, other = make_plan(), make_plan(), make_plan(seed=2)
    late = again.updates_per_epoch + 3
    again.update(late)  # in another order
    for k in (0, 5, late):
        a, b = plan.update(k), again.update(k)
        assert all((x.indices == y.indices).all() for x, y in zip(a.bucket_batches, b.bucket_batches, strict=True))
        assert a.predicted_tokens == b.predicted_tokens
    assert indices_of_epoch(plan, 0) != indices_of_epoch(other, 0)


@pytest.mark.parametrize("tokens", [2048, 4096, 25_000])
@pytest.mark.parametrize("max_buckets", [24, 96])
def test_update_has_about_tokens_per_update_without_padding(tokens: int, max_buckets: int) -> None:
    plan = make_plan(29_000, tokens_per_update=tokens, max_buckets=max_buckets)
    updates = [plan.update(k) for k in range(plan.updates_per_epoch - 1)]
    assert np.mean([u.src_tokens + u.predicted_tokens for u in updates]) / 2 == pytest.approx(tokens, rel=0.05)


def test_examples_fit_their_bucket_batch() -> None:
    plan = make_plan()
    src, tgt = make_lengths()
    for k in range(plan.updates_per_epoch):
        for batch in plan.update(k).bucket_batches:
            indices = batch.indices[batch.indices != PADDING_ROW]
            assert src[indices].max(initial=0) <= batch.src_len
            assert tgt[indices].max(initial=0) <= batch.tgt_len
            assert len(batch.indices) % 8 == 0
            assert batch.positions <= plan.batch_positions


def test_update_counts_tokens_of_its_examples() -> None:
    update = make_plan().update(2)
    indices = [i for batch in update.bucket_batches for i in batch.indices.tolist() if i != PADDING_ROW]
    assert update.predicted_tokens == make_lengths()[1][indices].sum()
    assert update.src_tokens == make_lengths()[0][indices].sum()


def test_padding_with_24_buckets_is_below_one_twelfth() -> None:
    plan = make_plan(29_000)
    shapes = {(b.src_len, b.tgt_len) for k in range(plan.updates_per_epoch) for b in plan.update(k).bucket_batches}
    assert len(shapes) <= len(plan.buckets) <= 24
    assert plan.padding() < 1 / 12


def test_padding_decreases_with_number_of_buckets() -> None:
    padding = [make_plan(29_000, max_buckets=n).padding() for n in (1, 4, 24, 96)]
    assert padding == sorted(padding, reverse=True)
    assert padding[-1] < 0.05


@pytest.mark.parametrize("n", [1, 7, 500, 3000])
def test_padding_and_batches_of_bucket_equal_those_of_epoch(n: int) -> None:
    plan = make_plan(n)
    batches = [batch for k in range(plan.updates_per_epoch) for batch in plan.update(k).bucket_batches]
    assert len(batches) == sum(plan.batches_of_bucket)
    tokens = sum(int(lengths.sum()) for lengths in make_lengths(n))
    positions = sum(len(batch.indices) * (batch.src_len + batch.tgt_len) for batch in batches)
    assert plan.padding() == pytest.approx(1 - tokens / positions)


def test_shapes_are_those_of_bucket_batches() -> None:
    plan = make_plan()
    batches = [batch for k in range(plan.updates_per_epoch) for batch in plan.update(k).bucket_batches]
    used = {(len(batch.indices), batch.src_len, batch.tgt_len) for batch in batches}
    shapes = {(len(shape.indices), shape.src_len, shape.tgt_len) for shape in plan.shapes}
    assert used <= shapes
    assert all((shape.indices == PADDING_ROW).all() for shape in plan.shapes)


def test_batch_plan_rejects_too_long_example_with_its_index() -> None:
    src, tgt = make_lengths(50)
    src[17] = 200
    with pytest.raises(ValueError, match=r"example 17 .* has 200 tokens; .* Set data\.max_length=\d+, raise batches"):
        BatchPlan(src, tgt, tokens_per_update=4096, per_update=4, max_buckets=24, seed=1)


def test_too_long_error_gives_no_max_length_if_limit_is_1() -> None:
    """A sentence has at least a word and EOS, so no sentence could have one token."""
    with pytest.raises(ValueError, match=r"the limit is 1, .*\. Raise batches\.tokens_per_update or lower batches\."):
        make_plan(50, tokens_per_update=8, per_update=8)


def test_plan_with_other_updates_has_other_version() -> None:
    i = np.arange(3000)
    src = 2 + i * i * 7919 % 997 * i % 29
    tgt = 2 + (src * 3 + i * 31 % 11) // 3 % 37
    plan = BatchPlan(src, tgt, tokens_per_update=2048, per_update=4, max_buckets=12, seed=7)
    updates = [plan.update(k) for k in range(2 * plan.updates_per_epoch)]
    shown = [(b.src_len, b.tgt_len, b.indices.tolist()) for update in updates for b in update.bucket_batches]
    digest = hashlib.sha256("".join(map(repr, shown)).encode()).hexdigest()
    assert (PLAN_VERSION, digest) == (2, "c0d0703dddd50a141903f67a9d7401a64b2027e557c8fac29afa4a908d24d237")
