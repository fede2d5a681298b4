"""Idea: which blocks of the text form update k is a pure function of (text, seed, k); labels are the next tokens."""

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.batch_plan import NULL_ROW, Slice, choose_cut
from data_pipeline.block_plan import Documents, Recipe, Stream
from data_pipeline.examples import IGNORE
from data_pipeline.token_store import IdArray, IdWriter, TextIds

BLOCK = 8


def text(folder: Path, rows: list[list[int]], masks: list[list[int]] | None = None) -> TextIds:
    for name, content in (("x", rows), ("x.predicted", masks)):
        if content is not None:
            with IdWriter(folder / name, vocab_size=70000) as out:
                out.append(content)
    return TextIds(IdArray(folder / "x"), None if masks is None else IdArray(folder / "x.predicted"))


def recipe(tokens: int = 32, bricks: int = 2, seed: int = 1) -> Recipe:
    return Recipe(tokens_per_update=tokens, bricks=bricks, shapes=4, seed=seed)


def starts(stream: Stream, steps: range, seed: int = 1) -> list[int]:
    plan = stream.plan(recipe(seed=seed))
    return [row for k in steps for brick in plan.update(k).bricks for row in brick.rows.tolist()]


def test_a_label_is_the_token_after_its_position(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(100, 140))]), BLOCK)
    batch = stream.batch(Slice(np.array([3, 20]), BLOCK, BLOCK))
    assert batch.inputs[0].tolist() == [list(range(103, 111)), list(range(120, 128))]
    assert batch.labels_BL.tolist() == [list(range(104, 112)), list(range(121, 129))]


def test_blocks_of_an_epoch_do_not_overlap_and_leave_out_less_than_two(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(1003))]), BLOCK)
    plan = stream.plan(recipe())
    epoch = starts(stream, range(plan.blocks))[: plan.blocks]
    covered = sorted(p for start in epoch for p in range(start, start + BLOCK))
    assert len(covered) == len(set(covered))
    assert 1002 - len(covered) < 2 * BLOCK
    assert covered[-1] < 1002, "every position has a label"


def test_epochs_cut_the_text_at_other_places(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(1003))]), BLOCK)
    blocks = stream.plan(recipe()).blocks
    every = starts(stream, range(4 * blocks))
    epochs = [every[e * blocks : (e + 1) * blocks] for e in range(4)]
    assert len({epoch[0] % BLOCK for epoch in epochs}) > 1
    assert all(len({start % BLOCK for start in epoch}) == 1 for epoch in epochs)


def test_an_update_depends_on_seed_and_step_alone(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(500))]), BLOCK)
    plan, again = stream.plan(recipe()), stream.plan(recipe())
    late = plan.update(200)
    for k in (0, 7, 199):
        assert [b.rows.tolist() for b in again.update(k).bricks] == [b.rows.tolist() for b in plan.update(k).bricks]
    assert [b.rows.tolist() for b in again.update(200).bricks] == [b.rows.tolist() for b in late.bricks]
    assert starts(stream, range(5), seed=2) != starts(stream, range(5))


FIXED = [25, 89, 33, 17, 81, 57, 49, 65, 73, 41, 9, 17]


def test_a_plan_stays_what_it_was_between_versions(tmp_path: Path) -> None:
    """A change of these numbers needs a new BLOCKS_VERSION: runs could not be continued."""
    stream = Stream(text(tmp_path, [list(range(101))]), BLOCK)
    assert starts(stream, range(3)) == FIXED


def test_every_token_of_the_validation_text_is_predicted_once(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(5)), list(range(5, 46))]), BLOCK)
    batches = [stream.batch(part) for part in stream.slices(positions=24)]
    labels = [label for batch in batches for label in batch.labels_BL.flatten().tolist()]
    assert sorted(label for label in labels if label != IGNORE) == list(range(1, 46))
    assert stream.predicted_tokens == 45


def test_given_tokens_are_read_and_not_predicted(tmp_path: Path) -> None:
    ids, mask = list(range(100, 120)), [0, 0, 0, 1, 1] * 4
    stream = Stream(text(tmp_path, [ids], [mask]), BLOCK)
    batch = stream.batch(Slice(np.array([0]), BLOCK, BLOCK))
    assert batch.inputs[0].tolist() == [ids[:8]]
    assert batch.labels_BL.tolist() == [[IGNORE, IGNORE, 103, 104, IGNORE, IGNORE, IGNORE, 108]]


@pytest.mark.parametrize("kind", ["stream", "documents"])
def test_an_update_counts_what_it_predicts(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    rows = [list(range(rng.integers(3, 9))) for _ in range(60)]
    masks = [rng.integers(0, 2, len(row)).tolist() for row in rows]
    data = text(tmp_path, rows, masks)
    source = Stream(data, BLOCK) if kind == "stream" else Documents(data, BLOCK, start_id=0)
    plan = source.plan(recipe(tokens=160))
    for k in range(6):
        update = plan.update(k)
        labels = sum(int((source.batch(brick).labels_BL != IGNORE).sum()) for brick in update.bricks)
        assert labels == update.tgt_tokens


def test_a_cut_changes_no_row_and_gives_every_rank_as_much(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(1003))]), BLOCK)
    plan = stream.plan(recipe(tokens=96, bricks=1))  # 12 rows, which 8 slices do not divide
    whole = [row for brick in plan.update(3).bricks for row in brick.rows.tolist()]
    for world, micro in ((1, None), (2, None), (8, None), (1, 16)):
        cut = choose_cut(plan, world, micro)
        parts = [[part for *_, part in cut.slices_of(plan.update(3), rank)] for rank in range(world)]
        assert len({len(mine) for mine in parts}) == 1
        rows = [row for mine in parts for part in mine for row in part.rows.tolist() if row != NULL_ROW]
        assert sorted(rows) == sorted(whole)
        assert all(len(part.rows) <= len(plan.largest(cut.slices).rows) for mine in parts for part in mine)


def test_a_null_row_predicts_nothing(tmp_path: Path) -> None:
    data = text(tmp_path, [list(range(8))] * 3)
    for source in (Stream(data, BLOCK), Documents(data, BLOCK, start_id=0)):
        batch = source.batch(source.plan(recipe(tokens=256)).largest(1))
        assert (batch.labels_BL == IGNORE).all()


def test_a_text_shorter_than_a_block_is_refused(tmp_path: Path) -> None:
    short = text(tmp_path, [list(range(8))])
    with pytest.raises(ValueError, match=r"has 8 tokens, and a block needs 9: add text, or lower model.max_len"):
        Stream(short, BLOCK).plan(recipe())


def test_the_shortest_text_that_can_be_learned_is_one_block(tmp_path: Path) -> None:
    stream = Stream(text(tmp_path, [list(range(9))]), BLOCK)
    assert set(starts(stream, range(3))) == {0}


def test_documents_stay_whole_and_begin_their_rows_after_the_end_of_another(tmp_path: Path) -> None:
    documents = Documents(text(tmp_path, [[5, 6, 3], [8, 3]], [[1, 1, 1], [0, 1]]), BLOCK, start_id=3)
    batch = documents.batch(Slice(np.array([0, 1]), 3, 3))
    assert batch.inputs[0].tolist() == [[3, 5, 6], [3, 8, 0]]
    assert batch.labels_BL.tolist() == [[5, 6, 3], [IGNORE, 3, IGNORE]]
    assert documents.predicted_tokens == 4


def test_a_document_longer_than_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a document has 9 tokens, and a row 8 .* data.layout=stream"):
        Documents(text(tmp_path, [list(range(9))]), BLOCK, start_id=0)


def test_documents_of_one_length_that_fit_an_update_are_planned(tmp_path: Path) -> None:
    documents = Documents(text(tmp_path, [list(range(90))] * 60), 96, start_id=0)
    assert len(documents.plan(recipe(tokens=768, bricks=1)).update(0).bricks[0].rows) == 8
