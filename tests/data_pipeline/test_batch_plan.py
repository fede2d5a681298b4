"""Idea: an update is a pure function of (lengths, seed, step); the hardware only cuts it."""

import hashlib
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from data_pipeline.batch_plan import (
    NULL_ROW,
    PLAN_VERSION,
    Cut,
    Plan,
    Slice,
    choose_cut,
    evaluation_slices,
    key,
    permutation,
)
from data_pipeline.buckets import derive_boxes


def lengths(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Lengths like those of image captions: around 15 tokens, the sides alike but not equal."""
    rng = np.random.default_rng(seed)
    src = np.clip(rng.gamma(9, 1.7, n).astype(int), 2, 60)
    return src, np.clip((src * rng.normal(1.05, 0.15, n)).astype(int), 2, 60)


def make(n: int = 3000, **changes: int) -> Plan:
    settings = {"tokens_per_update": 4096, "bricks": 4, "shapes": 24, "seed": 1} | changes
    return Plan(*lengths(n), **settings)


def rows_of_epoch(plan: Plan, epoch: int) -> list[int]:
    steps = range(epoch * plan.updates_per_epoch, (epoch + 1) * plan.updates_per_epoch)
    return [row for k in steps for brick in plan.update(k).bricks for row in brick.rows.tolist()]


@pytest.mark.parametrize("n", [1, 7, 500, 3000])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_holds_every_sentence_exactly_once(n: int, epoch: int) -> None:
    rows = [row for row in rows_of_epoch(make(n), epoch) if row != NULL_ROW]
    assert sorted(rows) == list(range(n))


def test_every_epoch_has_the_same_number_of_bricks_in_another_order() -> None:
    plan = make()
    epochs = [rows_of_epoch(plan, e) for e in range(4)]
    assert len({len(rows) for rows in epochs}) == 1
    assert all(a != b for a, b in pairwise(epochs))


def test_an_update_depends_on_seed_and_step_alone() -> None:
    plan, again, other = make(), make(), make(seed=2)
    late = again.updates_per_epoch + 3
    again.update(late)  # asked in another order
    for k in (0, 5, late):
        a, b = plan.update(k), again.update(k)
        assert all((x.rows == y.rows).all() for x, y in zip(a.bricks, b.bricks, strict=True))
        assert a.tgt_tokens == b.tgt_tokens
    assert rows_of_epoch(plan, 0) != rows_of_epoch(other, 0)


@pytest.mark.parametrize("tokens", [2048, 4096, 25_000])
@pytest.mark.parametrize("shapes", [24, 96])
def test_an_update_holds_about_the_stated_tokens_without_its_padding(tokens: int, shapes: int) -> None:
    plan = make(29_000, tokens_per_update=tokens, shapes=shapes)
    updates = [plan.update(k) for k in range(plan.updates_per_epoch - 1)]
    assert np.mean([u.src_tokens + u.tgt_tokens for u in updates]) / 2 == pytest.approx(tokens, rel=0.05)


def test_a_sentence_fits_the_shape_of_its_brick_and_the_brick_its_size() -> None:
    plan = make()
    src, tgt = lengths()
    for k in range(plan.updates_per_epoch):
        update = plan.update(k)
        for brick in update.bricks:
            rows = brick.rows[brick.rows != NULL_ROW]
            assert src[rows].max(initial=0) <= brick.src_len
            assert tgt[rows].max(initial=0) <= brick.tgt_len
            assert len(brick.rows) % 8 == 0
            assert len(brick.rows) * max(brick.src_len, brick.tgt_len) <= plan.brick_positions


def test_token_counts_are_those_of_the_sentences() -> None:
    plan = make()
    update = plan.update(2)
    rows = [row for brick in update.bricks for row in brick.rows.tolist() if row != NULL_ROW]
    assert update.tgt_tokens == lengths()[1][rows].sum()
    assert update.src_tokens == lengths()[0][rows].sum()


def test_padding_is_below_a_twelfth_with_24_shapes() -> None:
    plan = make(29_000)
    shapes = {(b.src_len, b.tgt_len) for k in range(plan.updates_per_epoch) for b in plan.update(k).bricks}
    assert len(shapes) <= len(plan.boxes) <= 24
    assert plan.padding() < 1 / 12


def test_more_shapes_mean_less_padding_and_one_shape_is_allowed() -> None:
    padding = [make(29_000, shapes=shapes).padding() for shapes in (1, 4, 24, 96)]
    assert padding == sorted(padding, reverse=True)
    assert padding[-1] < 0.05


def test_boxes_share_out_all_sentences_and_the_last_contains_every_box() -> None:
    boxes = derive_boxes(*lengths(), 10)
    assert sorted(np.concatenate([box.members for box in boxes]).tolist()) == list(range(3000))
    assert all(boxes[-1].contains(box) for box in boxes)
    for box in boxes:
        assert (lengths()[0][box.members] <= box.src_len).all()
        assert (lengths()[1][box.members] <= box.tgt_len).all()


@pytest.mark.parametrize("shapes", [1, 2, 7, 24])
def test_there_are_never_more_boxes_than_asked_for(shapes: int) -> None:
    src, tgt = lengths()
    src, tgt = np.append(src, [90, 3]), np.append(tgt, [3, 90])  # no sentence is the longest on both sides
    boxes = derive_boxes(src, tgt, shapes)
    assert len(boxes) <= shapes
    assert (boxes[-1].src_len, boxes[-1].tgt_len) == (90, 90)


def test_every_sentence_is_in_the_smallest_box_that_takes_it() -> None:
    src, tgt = lengths()
    boxes = derive_boxes(src, tgt, 12)
    for box in boxes:
        for row in box.members.tolist():
            fitting = [b for b in boxes if b.src_len >= src[row] and b.tgt_len >= tgt[row]]
            assert box.src_len + box.tgt_len == min(b.src_len + b.tgt_len for b in fitting)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 8, 16, 32])
def test_every_rank_has_the_same_number_of_slices_of_the_same_update(world: int) -> None:
    plan = make()
    cut = choose_cut(plan, world, micro_tokens=None)
    for k in (0, plan.updates_per_epoch - 1):  # the last one may be short
        update = plan.update(k)
        shares = [cut.slices_of(update, rank) for rank in range(world)]
        assert len({len(share) for share in shares}) == 1
        rows = [row for share in shares for _, _, part in share for row in part.rows.tolist()]
        whole = [row for brick in update.bricks for row in brick.rows.tolist()]
        assert sorted(r for r in rows if r != NULL_ROW) == sorted(r for r in whole if r != NULL_ROW)


def test_the_cut_is_the_coarsest_that_fits_and_gives_everyone_work() -> None:
    plan = make()
    assert choose_cut(plan, 1, None).slices == 1
    assert choose_cut(plan, 8, None).slices == 2
    assert choose_cut(plan, 32, None).slices == 8
    assert choose_cut(plan, 1, plan.brick_positions // 2).slices == 2
    assert choose_cut(plan, 1, plan.brick_positions // 4).slices == 4


def test_a_cut_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="work to at most 32 devices, not 33"):
        choose_cut(make(), 33, None)
    with pytest.raises(ValueError, match=r"batches\.micro_tokens 10 is too small"):
        choose_cut(make(), 1, 10)


def test_a_sentence_too_long_for_a_brick_is_refused_by_its_number() -> None:
    src, tgt = lengths(50)
    src[17] = 200
    with pytest.raises(ValueError, match=r"document 17 .* has 200 tokens.* lower data\.max_length to \d+"):
        Plan(src, tgt, tokens_per_update=4096, bricks=4, shapes=24, seed=1)


def test_a_limit_that_no_sentence_could_meet_is_no_advice() -> None:
    with pytest.raises(
        ValueError, match=r"it may have 1: raise batches\.tokens_per_update or lower batches\.per_update$"
    ):
        make(50, tokens_per_update=8, bricks=8)


def test_one_very_long_pair_costs_no_more_memory_than_any_other() -> None:
    src, tgt = (np.append(side, 50_001) for side in lengths())
    tracemalloc.start()
    boxes = derive_boxes(src, tgt, 24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22, "and not a table of 50,001 x 50,001"
    assert [box.members.tolist() for box in boxes if box.src_len == 50_001] == [[3000]]


def test_a_plan_that_gives_other_updates_has_another_version() -> None:
    i = np.arange(3000)
    src = 2 + i * i * 7919 % 997 * i % 29
    tgt = 2 + (src * 3 + i * 31 % 11) // 3 % 37
    plan = Plan(src, tgt, tokens_per_update=2048, bricks=4, shapes=12, seed=7)
    updates = [plan.update(k) for k in range(2 * plan.updates_per_epoch)]
    shown = [(b.src_len, b.tgt_len, b.rows.tolist()) for update in updates for b in update.bricks]
    digest = hashlib.sha256("".join(map(repr, shown)).encode()).hexdigest()
    assert (PLAN_VERSION, digest) == (2, "c0d0703dddd50a141903f67a9d7401a64b2027e557c8fac29afa4a908d24d237")


def test_slices_are_named_by_brick_and_number_whatever_the_rank() -> None:
    update = make().update(0)
    one = {(b, s): part.rows.tolist() for b, s, part in Cut(2, 1).slices_of(update, 0)}
    for rank in range(3):
        for b, s, part in Cut(2, 3).slices_of(update, rank):
            assert one.get((b, s), part.rows.tolist()) == part.rows.tolist()


def test_evaluation_covers_every_sentence_once_in_bounded_batches() -> None:
    src, tgt = lengths(500)
    slices = evaluation_slices(src, tgt, 256)
    assert sorted(np.concatenate([part.rows for part in slices]).tolist()) == list(range(500))
    for part in slices:
        assert part.src_len == src[part.rows].max()
        assert len(part.rows) * max(part.src_len, part.tgt_len) <= 256
    assert isinstance(slices[0], Slice)


def test_keys_and_permutations_are_the_same_on_every_machine() -> None:
    assert key(1, 2, "bricks") == 0x3DC10866BD50B198B9C847510728FF1F
    assert permutation(8, 1, 2).tolist() == [5, 6, 3, 1, 2, 4, 0, 7]


@pytest.mark.parametrize("n", [1, 7, 500, 3000])
def test_padding_and_updates_of_an_epoch_are_counted_without_making_it(n: int) -> None:
    plan = make(n)
    bricks = [brick for k in range(plan.updates_per_epoch) for brick in plan.update(k).bricks]
    assert len(bricks) == sum(plan.bricks_of_box)
    tokens = sum(int(side.sum()) for side in lengths(n))
    positions = sum(len(brick.rows) * (brick.src_len + brick.tgt_len) for brick in bricks)
    assert plan.padding() == pytest.approx(1 - tokens / positions)
