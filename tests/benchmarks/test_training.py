"""The programs that learn beside ours do the same work, and what is made of their answers is what they say."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.learners import PARTS, Ours, PlainTransformer, Task, Work, load_work, marian_logits, save_work, stack_of
from benchmarks.training import Batches, flame_boxes, random_ids, split, summarise
from benchmarks.training_tables import training, training_operations, training_split
from data_pipeline.micro_batches import MicroBatch, Update
from data_pipeline.tokenizers.sentence_piece import EOS_ID
from transformer.config import ModelConfig
from transformer.model import build, count_parameters

TINY = ModelConfig(vocab_size=30, d_model=16, n_layers=1, n_heads=2, d_ff=32, max_len=16)


@pytest.fixture
def work(tmp_path: Path) -> list[Work]:
    lengths = np.array([3, 5, 2, 6]), np.array([4, 4, 2, 5])
    batch = random_ids(lengths, TINY.vocab_size, tmp_path).batch(MicroBatch(np.arange(4), 6, 5, dropout_seed=3))
    return [(Update(7, (), 16, 15), [batch])]


def task(program: str) -> Task:
    return Task(program, False, "no", asdict(TINY), "", "", "cpu", 1)


def test_random_ids_have_the_lengths_that_were_asked_for(tmp_path: Path) -> None:
    ids = random_ids((np.array([3, 1]), np.array([2, 4])), 30, tmp_path)
    assert ids.src.lengths.tolist() == [3, 1]
    assert ids.tgt.lengths.tolist() == [2, 4]
    assert ids.tgt[1][-1] == EOS_ID
    assert (ids.tgt[1][:-1] > EOS_ID).all()


def test_work_comes_back_from_its_file(work: list[Work], tmp_path: Path) -> None:
    save_work(work, tmp_path / "work")
    ((update, (batch,)),) = load_work(str(tmp_path / "work"))
    assert (update.step, update.src_tokens, update.predicted_tokens, batch.dropout_seed) == (7, 16, 15, 3)
    assert torch.equal(batch.labels_BL, work[0][1][0].labels_BL)
    assert all(torch.equal(a, b) for a, b in zip(batch.inputs, work[0][1][0].inputs, strict=True))


def test_the_plain_transformer_has_as_many_parameters_as_ours_and_two_norms() -> None:
    assert count_parameters(PlainTransformer(TINY)) == count_parameters(build(TINY)) + 2 * 2 * TINY.d_model


def test_marian_has_as_many_parameters_as_ours() -> None:
    pytest.importorskip("transformers")
    model, _ = marian_logits(TINY)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) - count_parameters(build(TINY)) in (
        0,
        2 * TINY.max_len * TINY.d_model,  # a version that counts its table of positions
    )


@pytest.mark.parametrize("program", ["marian", "torch"])
def test_a_peer_sees_no_target_token_before_it_is_due_and_no_padding(program: str, work: list[Work]) -> None:
    if program == "marian":
        pytest.importorskip("transformers")
        model, logits = marian_logits(TINY)
    else:
        logits = model = PlainTransformer(TINY)
    model.eval()
    src_BM, mask_BM, tgt_BL = work[0][1][0].inputs
    other_BL, other_BM = tgt_BL.clone(), src_BM.masked_fill(~mask_BM, 9)
    other_BL[:, 3:] = 8
    with torch.no_grad():
        first, second = logits(src_BM, mask_BM, tgt_BL), logits(other_BM, mask_BM, other_BL)
    assert first.shape == (4, 5, TINY.vocab_size)
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3:], second[:, 3:])


def test_the_parts_of_our_update_are_all_there_and_do_not_exceed_it(work: list[Work]) -> None:
    ours = Ours(task("ours"))
    answer = ours.split(work)
    assert set(answer["parts"]) == set(PARTS)
    assert 0 < sum(answer["parts"].values()) <= answer["seconds"]


def test_the_profile_of_our_update_knows_parts_and_modules(work: list[Work]) -> None:
    profile = Ours(task("ours")).profile(work[0])
    assert {stack.split(";")[0] for stack in profile["stacks"]} <= {*PARTS, "rest"}
    assert any(stack.startswith("forward;decoder;cross_attention") for stack in profile["stacks"])
    assert sum(profile["operations"].values()) <= 1.001
    assert len(profile["operations"]) == 15


def test_a_node_of_the_graph_in_a_thread_of_its_own_belongs_to_backward() -> None:
    node = SimpleNamespace(name="autograd::engine::evaluate_function: MmBackward0", cpu_parent=None)
    assert stack_of(SimpleNamespace(name="aten::mm", cpu_parent=node)) == "backward;MmBackward0;aten::mm"
    assert stack_of(SimpleNamespace(name="aten::to", cpu_parent=None)) == "rest;aten::to"


def test_boxes_of_the_flame_picture_stand_within_their_parents() -> None:
    boxes = flame_boxes({"backward;b": 2.0, "forward;a": 5.0, "forward;a;c": 1.0, "forward": 2.0})
    assert boxes == [
        (0, 0.0, 0.8, "forward", "forward"),
        (1, 0.0, 0.6, "a", "forward"),
        (2, 0.0, 0.1, "c", "forward"),
        (0, 0.8, 0.2, "backward", "backward"),
        (1, 0.8, 0.2, "b", "backward"),
    ]


def test_the_rest_of_an_update_is_what_no_part_of_it_is() -> None:
    passes = [{"seconds": 1.0, "parts": {"forward": 0.3, "loss": 0.1, "backward": 0.4, "optimizer": 0.1}}]
    assert split(passes)["rest"] == pytest.approx(0.1)


def answers(seconds: list[float]) -> list[dict[str, Any]]:
    return [{"graphs": 2}, *({"seconds": own, "peak_mb": 10.0, "graphs": 3} for own in seconds)]


def test_programs_are_compared_round_by_round() -> None:
    batches = Batches(Path(), Path(), Path(), 60, 40, {})
    told = {"ours": answers([1.0, 2.0, 1.0]), "other": answers([2.0, 2.0, 3.0])}
    result = summarise(told, batches, 1e9, {"first": 2.0, "best": 4.0})
    assert result["other"]["ours_is_times_as_fast"] == [2.0, 1.0, 3.0]
    assert result["ours"]["median"] == 100.0
    assert result["ours"]["target_tokens_per_second"] == 40.0
    assert result["ours"]["mfu"] == 0.25
    assert result["ours"]["share_of_the_first_product"] == 0.5
    assert result["ours"]["recompiles"] == 1


def test_tables_have_a_row_for_every_program() -> None:
    batches = Batches(Path(), Path(), Path(), 60, 40, {})
    cell = summarise({"ours": answers([1.0]), "other": answers([2.0])}, batches, 1e9, {"first": 2.0})
    cell |= {"limits": {"first": 2.0}, "our_operations": {"aten::mm": 0.5}}
    cell["seconds_of_our_update"] = dict.fromkeys((*PARTS, "rest", "data", "update"), 0.1)
    about = {"tokens_per_update": 50, "shapes_of_the_plan": 3, "padding_of_an_epoch": 0.05}
    size = {"model": asdict(TINY), "batches": about, "bf16": cell}
    results = {"training": {"lengths": "of a corpus", "threads": 2, "small": size}}
    assert "| small | bf16 | other | 50 | 20 | 2.00 (2.00 to 2.00) |" in training(results)
    assert "| small | bf16 | 0.100 | 100.0% |" in training_split(results)
    assert "`aten::mm` 50.0%" in training_operations(results)
